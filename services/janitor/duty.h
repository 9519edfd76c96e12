/* A duty: work that comes again after a while, on a thread of the pool, never twice at once in a process. The other
 * replicas do the same; the database's row locks keep them apart. The loop's thread, unless said. */
#ifndef RUSHES_JANITOR_DUTY_H
#define RUSHES_JANITOR_DUTY_H

#include "node/platform.h"

struct duty_definition {
	const char *name; /* label of the metrics, key of /debug/state */
	int64_t every_ms; /* from one end to the next begin */
	int64_t first_ms; /* after the start */
	/* On a thread of the pool; may block. `*ret_n`: how many things were done, for metrics and state. */
	int (*run)(void *arg, uint64_t *ret_n, struct error *e);
	void *arg;
};

struct duty;

/* Begins with the loop. `d` is a literal. */
int duty_new(struct platform *p, const struct duty_definition *d, struct duty **ret, struct error *e) _must_check_;

/* No further run. */
void duty_stop(struct duty *d);
bool duty_is_running(const struct duty *d);

/* {"runs", "failures", "done", "last_run_s", "last_error"}; a new reference. */
json_t *duty_state(const struct duty *d);

/* After the platform's pool has ended. NULL is accepted. */
void duty_free(struct duty *d);

#endif
