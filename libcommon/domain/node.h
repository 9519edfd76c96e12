/* Acts of the operator on spools. Blocks: off the loop. */
#ifndef RUSHES_DOMAIN_NODE_H
#define RUSHES_DOMAIN_NODE_H

#include "store/db.h"

/* A person attests that the spool's disk is destroyed: nothing waits for it any more, and it may not come back.
 * ERR_CONFLICT while it beats. Doing it again changes nothing. */
int node_retire(struct db *d, const char *actor, const struct uuid *node, const char *attested_by, const char *reason,
		struct error *e) _must_check_;

/* The copies of at most `limit` recordings on a retired spool are gone, on that person's word. *ret_left: copies left.
 */
int node_retire_work(struct db *d, const char *actor, const struct uuid *node, unsigned limit, uint64_t *ret_left,
		     struct error *e) _must_check_;

/* Gives up a file whose row is lost. ERR_NOTFOUND when the spool has reported none of this copy. */
int node_discard(struct db *d, const char *actor, const struct uuid *node, const struct uuid *copy, const char *reason,
		 struct error *e) _must_check_;

#endif
