/* Legal holds: while a recording is held, no rule takes anything of it but a person's deletion. Blocks: off the loop.
 */
#ifndef RUSHES_DOMAIN_HOLD_H
#define RUSHES_DOMAIN_HOLD_H

#include "store/db.h"

/* Sets (`on`) or lifts the hold, with its ledger entry and audit; nothing changes when it is so already. Due dates are
 * derived again in the same transaction. `reason` is kept in the audit. ERR_NOTFOUND; ERR_CANCELLED when the recording
 * is being deleted. */
int hold_set(struct db *d, const char *actor, const struct uuid *recording, bool on, const char *reason,
	     struct error *e) _must_check_;

#endif
