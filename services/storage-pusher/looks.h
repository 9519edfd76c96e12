/* The second looks at targets: threads that take what is due, remove what came late and say what they found. The
 * loop's thread, unless said. */
#ifndef RUSHES_PUSHER_LOOKS_H
#define RUSHES_PUSHER_LOOKS_H

#include "delivery.h"
#include "node/platform.h"

struct looks_options {
	struct platform *platform; /* borrowed, as all here */
	struct delivery_pool *deliveries;
	unsigned slots;	  /* at once, at most LOOKS_SLOTS_MAX */
	int64_t every_ms; /* between two questions for due ones while there are none */
};

#define LOOKS_SLOTS_MAX 16

struct looks;

/* Starts the threads. */
int looks_new(const struct looks_options *o, struct looks **ret, struct error *e) _must_check_;

/* No further look; one that runs is given up, and tried again later. */
void looks_stop(struct looks *l);

/* Whether a thread still works. */
bool looks_are_running(struct looks *l);

/* {"running", "looked", "found", "failed", "trouble"} for /debug/state; a new reference. Any thread. */
json_t *looks_debug(void *looks);

/* Waits for the threads. NULL is accepted. Before the deliveries and the platform's pool of connections end. */
void looks_free(struct looks *l);

#endif
