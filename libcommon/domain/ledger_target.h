/* The ledger target: where sealed batches are kept outside PostgreSQL, one object each, never changed. The janitor
 * appends, rushesctl reads. proto/ledger-format.md says what an object holds. Blocks; one thread at a time. */
#ifndef RUSHES_DOMAIN_LEDGER_TARGET_H
#define RUSHES_DOMAIN_LEDGER_TARGET_H

#include "base/buffer.h"

#include <stdbool.h>

/* A batch's largest object: LEDGER_BATCH_LEAVES_MAX entries of 25 KiB. */
#define LEDGER_TARGET_BYTES_MAX (256 * MIB)

struct ledger_target;

/* Where it is, and how to get in. Borrowed for the opening. */
struct ledger_target_config {
	const char *where;	     /* "file:/folder", or "s3:https://host[:port]/bucket[/prefix]" */
	const char *credential_file; /* s3: {"access_key", "secret_key"[, "session_token"]}, readable by nobody else */
	const char *region;	     /* s3; "" or NULL: us-east-1 */
	const char *ca_file;	     /* s3: PEM; "" or NULL: the system's */
	bool allow_private;	     /* s3: may lie at loopback and private addresses */
};

/* Does not connect. ERR_REJECT for what cannot be one, ERR_RETRY while the folder or credential file is not there. */
int ledger_target_open(const struct ledger_target_config *c, struct ledger_target **ret, struct error *e) _must_check_;
void ledger_target_free(struct ledger_target *t);
DEFINE_CLEANUP(struct ledger_target, ledger_target_free)

/* Keeps a batch's object, durable with its name, and reads it back. The same content again is fine; ERR_CORRUPT when
 * there is another one of this batch: it stays as it is. */
int ledger_target_put(struct ledger_target *t, uint64_t batch, const void *data, size_t n,
		      struct error *e) _must_check_;

/* Reads a batch's object into `ret`, which it initialises. ERR_NOTFOUND when there is none. */
int ledger_target_get(struct ledger_target *t, uint64_t batch, struct buffer *ret, struct error *e) _must_check_;

/* The highest batch that is there; 0: none. */
int ledger_target_last(struct ledger_target *t, uint64_t *ret, struct error *e) _must_check_;

#endif
