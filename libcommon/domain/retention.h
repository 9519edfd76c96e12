/* The rules of retention as people and the janitor meet them: the table of rules, pauses, and what follows from changed
 * facts. Due dates are derived by the schema's retention_recompute alone. Blocks: off the loop. */
#ifndef RUSHES_DOMAIN_RETENTION_H
#define RUSHES_DOMAIN_RETENTION_H

#include "store/db.h"

#include <jansson.h>

/* Recomputes one batch of recordings, up to `limit`, of the oldest changed fact of an account or environment. `*ret_n`:
 * how many; 0 when nothing waits. Several processes share the queue, a change at a time. */
int retention_change_work(struct db_pool *p, unsigned limit, unsigned *ret_n, struct error *e) _must_check_;

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

#endif
