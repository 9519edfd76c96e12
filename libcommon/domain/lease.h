/* Named leases: one holder at a time, for work that is to be done once in the installation. Blocks; off the loop. */
#ifndef RUSHES_DOMAIN_LEASE_H
#define RUSHES_DOMAIN_LEASE_H

#include "store/db.h"

/* Takes or extends `name` for `holder`. *ret_held: whether it is ours for `for_ms` from now. A holder that was slow may
 * overlap the next one: what is done under a lease must bear that. */
int lease_take(struct db_pool *p, const char *name, const char *holder, int64_t for_ms, bool *ret_held,
	       struct error *e) _must_check_;

/* Gives it up at once; without it the lease just runs out. */
int lease_drop(struct db_pool *p, const char *name, const char *holder, struct error *e) _must_check_;

#endif
