/* The database compared with the ledger target: a target that has more than the database, or something else, means that
 * the database is an older copy of itself, and closes the gate (deploy/schema/0090_gate.sql). After a failover it is
 * part of the proof that nothing was lost. */
#ifndef RUSHES_JANITOR_COMPARE_H
#define RUSHES_JANITOR_COMPARE_H

#include "domain/ledger_target.h"
#include "node/platform.h"

struct compare {
	struct db_pool *db;		    /* borrowed, as the target's texts */
	struct ledger_target_config target; /* where "": none */
	int64_t due_us;			    /* monotonic: of the next look that nobody waits for */
};

/* Compares after a start of PostgreSQL, as sweeps wait for it, and every ten minutes. Blocks. */
int compare_run(struct compare *c, struct error *e) _must_check_;

/* Compares now, with the struct compare `arg`, and tries to open a closed gate: for platform_gate(). Blocks. */
int compare_at_gate(void *arg, struct error *e);

#endif
