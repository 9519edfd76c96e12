/* The service's side of deliveries: child processes, each for one account and one target, that work off a batch of jobs
 * and end when it is over. Jobs of the same account and target that follow each other share a child; at the same time
 * they get one each. */
#ifndef RUSHES_PUSHER_DELIVERY_H
#define RUSHES_PUSHER_DELIVERY_H

#include "base/loop.h"

#include <jansson.h>
#include <stdbool.h>

/* A child without work ends after this; and after this many jobs or this age, so that credentials are read anew. */
#define DELIVERY_IDLE_MS  2000
#define DELIVERY_JOBS_MAX 100
#define DELIVERY_AGE_MS	  300000
/* A child tells how far it is every second; one that is silent for so long hangs. A flush of a large file may take
 * minutes on a slow disk. */
#define DELIVERY_SILENCE_MS 600000
/* What was stopped gets this long to abort its upload. */
#define DELIVERY_STOP_MS 30000

struct delivery_pool;

/* `settings` (names of key files, never keys) goes to every child as it is; a reference is taken. The loop's thread. */
int delivery_pool_new(struct loop *l, json_t *settings, struct delivery_pool **ret, struct error *e) _must_check_;

/* Ends all children; none may be running a job. The loop's thread. */
void delivery_pool_free(struct delivery_pool *p);
DEFINE_CLEANUP(struct delivery_pool, delivery_pool_free)

/* What a job does while its child works; called on the job's thread. */
struct delivery_watch {
	/* Records the upload before its first byte leaves. */
	int (*upload_begun)(void *arg, const char *upload, struct error *e);
	/* Whether to stop. */
	bool (*stop)(void *arg);
	void *arg;
};

/* Hands `message` to a child of (account, target) and waits for its answer, which is the caller's: "delivered" or
 * "removed". Consumes `message`. Negative: the child's error, or that it died (ERR_RETRY); *ret_clean: nothing is left
 * at the target. Blocks; a thread of its own per call. */
int delivery_run(struct delivery_pool *p, const char *account, json_t *target, json_t *message,
		 const struct delivery_watch *watch, json_t **ret_answer, bool *ret_clean,
		 struct error *e) _must_check_;

/* Children, as an array for /debug/state; a new reference. Any thread. */
json_t *delivery_debug(void *pool);

/* How many children there are. Any thread. */
unsigned delivery_children(struct delivery_pool *p);

#endif
