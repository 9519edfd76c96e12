/* `restore reconcile`: reads the ledger target, takes what the restored database does not know into its ledger, applies
 * it, and opens the gate. Killed anywhere it goes on where it stopped. */
#ifndef RUSHES_CTL_RESTORE_RECONCILE_H
#define RUSHES_CTL_RESTORE_RECONCILE_H

#include "ctl.h"

#include "crypto/keyring.h"
#include "domain/ledger_target.h"

struct restore_reconcile {
	struct ctl *ctl; /* borrowed, as all here */
	struct ledger_target *target;
	const struct keyring *public_keys;
	const char *reason;
	bool is_dry;	     /* all in one transaction, which is rolled back */
	bool override;	     /* past a target that is shorter, damaged or another one */
	bool without_silent; /* spools that have not reported need not */
	int64_t wait_ms;     /* for the spools' reports */
};

/* `*ret`: {"status", "findings"} as it stands at the end, or would; the caller's. */
int restore_reconcile(const struct restore_reconcile *o, json_t **ret, struct error *e) _must_check_;

#endif
