/* What the owner of a spool does all the time, on a thread of its own: beats (node_beat), removes what is `going` and
 * confirms it with evidence, brings rows and files into agreement, and sweeps its service's slice of the retention
 * rules (DESIGN sections 6 and 7). A database that is away is waited for: nothing is ever removed without its positive
 * answer. */
#ifndef RUSHES_NODE_KEEPER_H
#define RUSHES_NODE_KEEPER_H

#include "base/metrics.h"
#include "base/service.h"
#include "node/spool.h"
#include "store/db.h"

#include <jansson.h>

struct keeper_options {
	struct spool *spool; /* borrowed, as all here */
	struct db_pool *db;
	const char *peer_url; /* where peers reach this spool */
	struct metrics *metrics;
	struct service *service; /* fails when the spool turns out to be retired; NULL: keeper_start() alone says so */
	/* Whether this process is writing the `incoming` copy now, so that it is not abandoned. NULL: jobs alone tell.
	 * Called on the keeper's thread. */
	bool (*is_live)(void *arg, const struct uuid *copy);
	void *arg;
};

struct keeper;

/* Registers the node (ERR_FATAL: it was retired) and brings rows and files into agreement once before it returns
 * (blocking; retries for up to a minute while the database is away), then starts the thread. */
int keeper_start(const struct keeper_options *o, struct keeper **ret, struct error *e) _must_check_;

/* Ends the thread; waits for what it is doing. */
void keeper_free(struct keeper *k);
DEFINE_CLEANUP(struct keeper, keeper_free)

/* Something became `going`: look now rather than at the next turn. Any thread. */
void keeper_wake(struct keeper *k);

/* What it did and holds, for /debug/state: a new reference. Any thread. */
json_t *keeper_debug(void *keeper);

#endif
