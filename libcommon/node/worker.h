/* The job engine of a process: slots (threads) that claim jobs of some kinds, work and beat.
 *
 * A message only hints at a row. A free slot claims that row, or else the next due one of the account with the fewest
 * running, by compare-and-set with a lease; the message is acknowledged when the claim is committed. A beat thread
 * extends all leases of the process with one statement; a row that it doesn't find any more was cancelled or taken
 *over: that job's stop flag becomes JOB_CANCELLED. Without a broker idle slots claim due rows by a slow poll, so that a
 *dead broker costs delay only.
 *
 *	static int run_push(struct job *j, void *state, struct error *e)
 *	{
 *		while (more) {
 *			if (job_stop(j) != JOB_GO_ON)
 *				return error_set(e, ERR_CANCELLED, "stopped");
 *			...
 *		}
 *		return push_commit(db, j, ..., e);	// the outcome, fenced by the attempt
 *	}
 *
 *	worker_add(w, &(struct worker_kind){.kind = JOB_PUSH, .slots = 4, .run = run_push, .state = st}, e);
 */
#ifndef RUSHES_NODE_WORKER_H
#define RUSHES_NODE_WORKER_H

#include "base/loop.h"
#include "bus/bus.h"
#include "domain/job.h"

#include <jansson.h>

/* A lease is this long and beaten three times in it. */
#define WORKER_LEASE_MS 30000
#define WORKER_BEAT_MS	10000

/* A drain lets jobs finish for this long, then asks them to hand back; below SERVICE_DRAIN_LIMIT_MS. */
#define WORKER_FINISH_MS 30000

#define WORKER_SLOTS_MAX 64

/* Does one job on a slot's thread; may block. 0: the handler committed the outcome itself (job → done), fenced by id
 * and attempt. Otherwise nothing was committed and the engine records it: ERR_CANCELLED and ERR_CONFLICT while
 * job_stop() is JOB_CANCELLED: nothing, the job is no longer ours; any while job_stop() is JOB_HAND_BACK: handed back,
 * no attempt lost; ERR_REJECT: failed for good, the input can never work; others: a failed attempt with class and
 * message of `e`; tried again after the schedule of 13. `e` is for people and must not hold secrets or personal data.
 */
typedef int worker_run(struct job *j, void *state, struct error *e);

struct worker_kind {
	enum job_kind kind;
	unsigned slots; /* at once, 1 to WORKER_SLOTS_MAX */
	worker_run *run;
	/* Asked on a slot's thread before each claim: false leaves the work to others and is asked again after some
	 * seconds (a spool without room, enough prefetched). NULL: always. */
	bool (*may_take)(void *state);
	/* The same for copy jobs whose recordings are still open (job.is_early). A drain asks for these back at once.
	 * NULL: never. */
	bool (*may_take_early)(void *state);
	void *state;
};

struct worker_options {
	struct loop *loop;
	struct db_pool *db; /* needs a connection per slot that talks to it, and two more */
	struct bus *bus;    /* NULL: by polls only */
	const char
	    *identity; /* "transcoder/<spool>", the certificate's; with "#<process>" it is the leases' worker; copied */
	const char *region;
	struct uuid node; /* the own spool, where kinds are bound to it; zero: none */
	int64_t poll_ms;  /* between polls of idle slots; 0: 2000, with jitter */
};

struct worker;

int worker_new(const struct worker_options *o, struct worker **ret, struct error *e) _must_check_;

/* Starts the slots of a kind, its consumer and its turn as publisher of due rows. Each kind once. */
int worker_add(struct worker *w, const struct worker_kind *k, struct error *e) _must_check_;

/* Stops taking; jobs finish, or are handed back after WORKER_FINISH_MS. `done` runs on the loop when all slots are
 * empty. The loop's thread. */
void worker_drain(struct worker *w, loop_function *done, void *arg);

/* Asks running jobs to stop, runs the loop until their handlers have ended, hands back, ends all threads. The loop's
 * thread, when the loop itself has ended. What handlers use must live until this returned. */
void worker_free(struct worker *w);
DEFINE_CLEANUP(struct worker, worker_free)

/* Hints right after a commit that inserted a job: publishes it without waiting. Lost hints are repeated by the
 * publisher's sweep. Any thread. `bus` NULL does nothing. */
void worker_hint(struct bus *bus, const char *region, enum job_kind kind, const struct uuid *node,
		 const struct uuid *job, const struct trace *trace);

/* The same when a segment of a recording was opened: its copy job may be claimed early, by whoever follows. */
void worker_hint_early(struct bus *bus, const char *region, const struct uuid *job, unsigned segment,
		       const struct trace *trace);

/* The same for the rows (job, kind, node) that a step's function returned. */
void worker_hint_rows(struct bus *bus, const char *region, const struct db_result *rows, const struct trace *trace);

struct worker_stats {
	unsigned slots, running;
	/* a stale hint named a job that was no longer there to claim */
	uint64_t claimed_by_hint, claimed_by_poll, done, failed, handed_back, cancelled, hints_stale, claim_failures;
};

/* Of one kind. Any thread. */
void worker_stats(struct worker *w, enum job_kind kind, struct worker_stats *ret);

/* What every slot holds now, as an array for /debug/state; a new reference. Any thread. */

json_t *worker_debug(struct worker *w);

#endif
