/* The rules of retention as people and the janitor meet them: the table of rules, pauses, and what follows from changed
 * facts. Due dates are derived by the schema's retention_recompute alone. Blocks: off the loop. */
#ifndef RUSHES_DOMAIN_RETENTION_H
#define RUSHES_DOMAIN_RETENTION_H

#include "store/db.h"

#include <jansson.h>

/* Recomputes one batch of recordings, up to `limit`, of the oldest changed fact of an account or environment. `*ret_n`:
 * how many; 0 when nothing waits. Several processes share the queue, a change at a time. */
int retention_change_work(struct db_pool *p, unsigned limit, unsigned *ret_n, struct error *e) _must_check_;

/* Looks whether the database's zone data say something else of the clocks of accounts and installation than before, and
 * queues what follows for retention_change_work(). `*ret_n`: how many zones changed. */
int retention_zones_watch(struct db_pool *p, unsigned *ret_n, struct error *e) _must_check_;

/* The table of rules: [{"name", "slice", "precedence", "takes", "due", "delay", "calendar", "braked", "paused_on":
 * [places], "due_now": copies and whole recordings}], in the order in which they win. */
int retention_rules(struct db *d, json_t **ret, struct error *e) _must_check_;

/* For each copy of a recording where it is, which rule takes it and when, and what holds it (rushes.recording_explain):
 * {"recording", "state", "held", "whole", "personal_due_at", "copies": [{"copy", "of", "place", "name", "state",
 * "due_at", "by", "paused", "because"}]}. ERR_NOTFOUND. */
int retention_explain(struct db *d, const struct uuid *recording, json_t **ret, struct error *e) _must_check_;

/* Whether a place can be paused: "node/UUID", "target/UUID", "recordings" (rules that take whole ones), "*"
 * (everywhere), "clock" (everywhere, because the clock is not trusted; only every rule). */
bool retention_place_valid(const char *place) _must_check_;

/* Pauses a rule ("*": every one) at a place until it is confirmed; audited with the reason. ERR_REJECT: no such rule.
 */
int retention_pause_set(struct db *d, const char *actor, const char *rule, const char *place, const char *reason,
			struct error *e) _must_check_;

/* Lets a paused rule go on there; no brake pauses it there again for a day. ERR_NOTFOUND when it is not paused there.
 */
int retention_pause_confirm(struct db *d, const char *actor, const char *rule, const char *place, const char *reason,
			    struct error *e) _must_check_;

/* Pauses told by one look. */
#define RETENTION_PAUSES_MAX 400

/* A pause in force: its rule takes nothing at its place until a person confirms. "*" is every rule, or every place. */
struct retention_pause {
	char rule[64];
	char place[64];
	char since[40]; /* RFC 3339, UTC */
	char by[100];	/* "brake", or who paused it */
	char reason[1024];
};

/* The oldest pauses in force, up to RETENTION_PAUSES_MAX. `*ret` is the caller's to free; NULL when there is none. */
int retention_paused(struct db_pool *p, struct retention_pause **ret, size_t *ret_n, struct error *e) _must_check_;

/* All of them: [{"rule", "place", "since", "by", "reason"}]. */
int retention_paused_list(struct db *d, json_t **ret, struct error *e) _must_check_;

#endif
