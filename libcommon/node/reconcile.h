/* Rows and files brought into agreement (DESIGN section 6, "At start"; rule `unknown` of section 7): a row without a
 * file was `incoming` (abandoned: gone) or `present` (lost: an alarm); a file without a row is gone by the ledger
 * (removed), names a copy that nobody knows (`lost-row`: kept, an alarm) or never had a row (removed 6 hours after
 * PostgreSQL first answered that it knows none). A database that does not answer is not an answer. Blocks: off the
 * loop. */
#ifndef RUSHES_NODE_RECONCILE_H
#define RUSHES_NODE_RECONCILE_H

#include "base/metrics.h"
#include "node/spool.h"
#include "store/db.h"

struct reconcile_options {
	struct spool *spool; /* borrowed, as all here */
	struct db_pool *db;
	struct metrics *metrics;
	/* Whether this process writes the `incoming` copy now; NULL: only the job decides. */
	bool (*is_live)(void *arg, const struct uuid *copy);
	void *arg;
	bool with_files; /* also look for lost copies and walk over the files; false: abandoned copies alone */
};

struct reconcile_result {
	uint64_t files;	    /* seen */
	uint64_t abandoned; /* incoming copies that nobody worked on: removed */
	uint64_t lost;	    /* present copies without a file */
	uint64_t removed;   /* files that the ledger or a tombstone calls gone */
	uint64_t lost_rows; /* files of copies that neither tables nor ledger know: kept */
	uint64_t unknown;   /* files that never had a row, removed or still waiting */
};

int reconcile_run(const struct reconcile_options *o, struct reconcile_result *ret, struct error *e) _must_check_;

/* Removes a copy's file, flushes its folder, and confirms it to the database with the evidence {"<how>": true} or, when
 * there was no file, {"absent": true}. */
int reconcile_remove(struct spool *s, struct db_pool *db, const struct uuid *copy, const char *how,
		     struct error *e) _must_check_;

#endif
