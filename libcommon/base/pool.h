/* A pool of threads for what blocks (libpq, fsync, name look-ups): work runs on a pool thread, its end on the loop. */
#ifndef RUSHES_BASE_POOL_H
#define RUSHES_BASE_POOL_H

#include "base/loop.h"

struct pool;

/* `threads` workers; at most `queue_limit` pieces of work wait. `l` must outlive the pool. */
int pool_new(struct loop *l, const char *name, unsigned threads, unsigned queue_limit, struct pool **ret,
	     struct error *e) _must_check_;

/* Runs work(arg) on a pool thread, then done(arg) on the loop (done may be NULL). The owner of `arg` is the work until
 * done. Any thread. ERR_FULL when the queue is full or the pool is ending: neither function is then called. */
int pool_submit(struct pool *p, loop_function *work, loop_function *done, void *arg) _must_check_;

/* Pieces waiting and running: for /debug/state and metrics. */
void pool_load(struct pool *p, unsigned *ret_waiting, unsigned *ret_running);

/* Waits for all submitted work, ends the threads. Their done functions are posted to the loop, which must run or be
 * freed after this. The loop's thread. */
void pool_free(struct pool *p);
DEFINE_CLEANUP(struct pool, pool_free)

#endif
