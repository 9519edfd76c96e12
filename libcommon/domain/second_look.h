/* Second looks: what was removed at a target is looked for again after an hour and after a day, because an object store
 * may show a write after it has confirmed the removal (rushes.second_look). Blocks: off the loop. */
#ifndef RUSHES_DOMAIN_SECOND_LOOK_H
#define RUSHES_DOMAIN_SECOND_LOOK_H

#include "store/db.h"

#include <jansson.h>

/* A look without an end is another's after this: longer than the deliveries' own limit, so that never two look. */
#define SECOND_LOOK_LEASE_MS ((int64_t)15 * 60000)

/* Takes the next one that is due in the region: {"recording", "account", "attempt", "number", "copy": {"id",
 * "location", "temporary", "upload_id", "evidence"}, "target": {...}}, the caller's. ERR_NOTFOUND: none is. */
int second_look_take(struct db_pool *p, const char *region, const char *worker, json_t **ret,
		     struct error *e) _must_check_;

/* Nothing is left there; `found`: something was, and is removed. `look` is what second_look_take() gave. */
int second_look_done(struct db_pool *p, const json_t *look, bool found, const json_t *evidence,
		     struct error *e) _must_check_;

/* The target gave no proof: it is tried again. */
int second_look_failed(struct db_pool *p, const json_t *look, const struct error *reason, struct error *e) _must_check_;

/* How many looks are open, and how long the oldest one is overdue. */
int second_look_backlog(struct db_pool *p, uint64_t *ret_open, double *ret_overdue_s, struct error *e) _must_check_;

#endif
