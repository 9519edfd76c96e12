/* Deletion of whole recordings, and its way to the end. The decision destroys the recording's key in its transaction;
 * the owners of the places remove the copies; the ledger's entry `complete` ends it. Blocks: off the loop. */
#ifndef RUSHES_DOMAIN_DELETION_H
#define RUSHES_DOMAIN_DELETION_H

#include "store/db.h"

#include <jansson.h>

/* An operator's decision. `reason` is kept in the audit. `*ret_state` is the literal "deleting", or "deleted" when it
 * was so before. ERR_NOTFOUND. */
int deletion_by_user(struct db *d, const char *actor, const struct uuid *recording, const char *reason,
		     const char **ret_state, struct error *e) _must_check_;

/* What is left of a recording that is being deleted: {"state", "copies": [{"id", "place", "state", "since", "error"}]}.
 * The value is the caller's. */
int deletion_progress(struct db *d, const struct uuid *recording, json_t **ret, struct error *e) _must_check_;

#endif
