/* The ledger: what was decided and what is gone, written by the schema's functions in the transactions that do it. Each
 * entry has the RFC 6962 leaf hash of its canonical text. Blocks: off the loop. */
#ifndef RUSHES_DOMAIN_LEDGER_H
#define RUSHES_DOMAIN_LEDGER_H

#include "store/db.h"

#include <jansson.h>

/* The entries of a recording in their order: [{"id", "at", "kind", "copy", "rule", "place", "evidence", "hash",
 * "intact"}]. "intact": the hash is computed again from the row. The value is the caller's. */
int ledger_list(struct db *d, const struct uuid *recording, json_t **ret, struct error *e) _must_check_;

/* Text of the entry's hash that says that the recording is completely removed. ERR_NOTFOUND while it is not. */
#define LEDGER_HASH_BYTES 65
int ledger_certificate(struct db *d, const struct uuid *recording, char ret[LEDGER_HASH_BYTES],
		       struct error *e) _must_check_;

#endif
