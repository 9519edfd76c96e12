/* The ledger: what was decided and what is gone, written by the schema's functions in the transactions that do it. Each
 * entry has the RFC 6962 leaf hash of its canonical text. Blocks: off the loop. */
#ifndef RUSHES_DOMAIN_LEDGER_H
#define RUSHES_DOMAIN_LEDGER_H

#include "domain/ledger_head.h"
#include "store/db.h"

#include <jansson.h>
#include <stdbool.h>

/* The entries of a recording in their order: [{"id", "at", "kind", "copy", "rule", "place", "evidence", "hash",
 * "intact"}]. "intact": the hash is computed again from the row. The value is the caller's. */
int ledger_list(struct db *d, const struct uuid *recording, json_t **ret, struct error *e) _must_check_;

/* Text of the entry's hash that says that the recording is completely removed. ERR_NOTFOUND while it is not. */
#define LEDGER_HASH_BYTES 65
int ledger_certificate(struct db *d, const struct uuid *recording, char ret[LEDGER_HASH_BYTES],
		       struct error *e) _must_check_;

/* The head in a row of a result whose columns from `column` are batch, leaves, root, previous, at (as the head's text
 * has it), key_id, signature. ERR_CORRUPT for hashes of another length. */
int ledger_head_of_row(const struct db_result *rows, size_t row, size_t column, struct ledger_head *ret,
		       struct error *e) _must_check_;

/* A sealed batch. ERR_NOTFOUND when the database has none of this number. */
struct ledger_batch {
	struct ledger_head head;
	bool is_published; /* the ledger target had it */
};
int ledger_batch_get(struct db *d, uint64_t batch, struct ledger_batch *ret, struct error *e) _must_check_;

/* The highest number of a batch that a row of batches or entries names; 0: none. */
int ledger_last_batch(struct db *d, uint64_t *ret, struct error *e) _must_check_;

/* The entries of a batch by position, or at most `limit` unsealed ones behind entry `after` by id, each with its hash
 * as stored: [{"id", "position", "at", "text", "hash"}]. */
int ledger_batch_entries(struct db *d, uint64_t batch, json_t **ret, struct error *e) _must_check_;
int ledger_unsealed_entries(struct db *d, int64_t after, unsigned limit, json_t **ret, struct error *e) _must_check_;

/* Every entry of a recording by id: [{"id", "kind", "at", "account", "copy", "rule", "place", "evidence", "text",
 * "batch", "position"}], the last two null while it is not sealed. */
int ledger_recording_entries(struct db *d, const struct uuid *recording, json_t **ret, struct error *e) _must_check_;

/* Recordings that are deleted, but whose closing entry is not there: [id], at most `limit`. */
int ledger_unproven(struct db *d, unsigned limit, json_t **ret, struct error *e) _must_check_;

#endif
