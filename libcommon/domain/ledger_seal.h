/* Sealing the ledger and bringing its batches to the ledger target: the janitor's side. Every step may be repeated, and
 * done by two at once: one of them is refused or finds it done. Blocks; off the loop. */
#ifndef RUSHES_DOMAIN_LEDGER_SEAL_H
#define RUSHES_DOMAIN_LEDGER_SEAL_H

#include "crypto/keyring.h"
#include "domain/ledger_target.h"
#include "store/db.h"

/* Seals up to LEDGER_BATCH_LEAVES_MAX entries as one batch, signed with the current key of `secret`. *ret_n: how many;
 * 0: all are sealed. ERR_CONFLICT when somebody else sealed meanwhile. */
int ledger_seal_next(struct db_pool *p, const struct keyring *secret, unsigned *ret_n, struct error *e) _must_check_;

/* Brings the oldest batch that the target does not have there, and marks it. *ret_n: 1, or 0 when none is left. A batch
 * whose entries no longer give its root is not brought: ERR_CORRUPT. */
int ledger_publish_next(struct db_pool *p, struct ledger_target *t, unsigned *ret_n, struct error *e) _must_check_;

/* What waits. Ages in seconds, 0 when nothing does. */
struct ledger_backlog {
	double unsealed_s;
	double unpublished_s;
	uint64_t unpublished;
};

int ledger_backlog(struct db_pool *p, struct ledger_backlog *ret, struct error *e) _must_check_;

#endif
