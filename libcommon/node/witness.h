/* What a spool remembers of the database, outside of it: the number of its beats that were written down. A database
 * that knows fewer is an older copy of itself, and closes its gate (deploy/schema/0090_gate.sql). While the gate is
 * closed the spool reports which sealed files it holds, for `rushesctl restore reconcile`. Blocks: off the loop. */
#ifndef RUSHES_NODE_WITNESS_H
#define RUSHES_NODE_WITNESS_H

#include "node/platform.h"
#include "node/spool.h"

/* Lives as long as the platform. */
struct witness {
	struct spool *spool;  /* borrowed, as all here */
	const char *peer_url; /* where peers reach this spool */
	struct db_pool *db;   /* set by witness_pass_gate() */
};

/* Tells the database what was seen, and keeps its answer. ERR_RETRY while the gate is closed or the database is away.
 */
int witness_tell(const struct witness *w, struct error *e) _must_check_;

/* A service's start with a spool passes the gate here (platform_gate). */
int witness_pass_gate(struct witness *w, struct platform *p, struct error *e) _must_check_;

#endif
