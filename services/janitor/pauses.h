/* The alarm for rules that are paused on a place, by a brake or by a person: a gauge while the pause is in force, an
 * error line when a new one appears, a line when it ends. */
#ifndef RUSHES_JANITOR_PAUSES_H
#define RUSHES_JANITOR_PAUSES_H

#include "base/metrics.h"
#include "store/db.h"

#include <jansson.h>

struct pauses;

/* `m` outlives it. */
int pauses_new(struct metrics *m, struct pauses **ret, struct error *e) _must_check_;
void pauses_free(struct pauses *p);

/* Asks which pauses are in force and tells what changed since the last look. Blocks: off the loop, one thread at a
 * time. */
int pauses_look(struct pauses *p, struct db_pool *db, struct error *e) _must_check_;

/* [{"rule", "place", "since", "by", "reason"}] as of the last look; a new reference. Any thread. */
json_t *pauses_state(struct pauses *p);

#endif
