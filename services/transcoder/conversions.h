/* What is being converted now and how far it is, for /debug/state. */
#ifndef RUSHES_TRANSCODER_CONVERSIONS_H
#define RUSHES_TRANSCODER_CONVERSIONS_H

#include "domain/job.h"

#include <pthread.h>

struct conversion_state {
	const struct job *job;
	int64_t since_us;
	double seconds, fraction;
	struct conversion_state *next;
};

struct conversions {
	pthread_mutex_t lock;
	struct conversion_state *first;
};

void conversions_init(struct conversions *c);

/* `s` and its job live until conversions_remove(). Any thread. */
void conversions_add(struct conversions *c, struct conversion_state *s, const struct job *j);
void conversions_update(struct conversions *c, struct conversion_state *s, double seconds, double fraction);
void conversions_remove(struct conversions *c, struct conversion_state *s);

/* An array; a new reference. */
json_t *conversions_debug(void *conversions);

#endif
