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

/* How far the deletion of a recording is (rushes.recording_deletion): {"id", "state", "rule", "decided_at", "deadline",
 * "completed_at", "overdue", "left": [{"copy", "of", "place", "name", "state", "since", "failures", "next_attempt_at",
 * "reason"}], "left_with_the_client", "personal_metadata", "evidence", "second_looks"}. ERR_NOTFOUND while none was
 * decided. The value is the caller's. */
int deletion_progress(struct db *d, const struct uuid *recording, json_t **ret, struct error *e) _must_check_;

/* The rule personal-metadata: removes what is due, up to `limit` recordings, each with its ledger entry. `*ret_n`: from
 * how many. */
int deletion_personal_sweep(struct db_pool *p, unsigned limit, unsigned *ret_n, struct error *e) _must_check_;

/* A copy, or personal metadata, that is left of a deletion decided more than `age_ms` ago. */
struct deletion_overdue {
	char recording[UUID_TEXT_BYTES];
	char copy[UUID_TEXT_BYTES]; /* "": none is left, but the personal metadata is */
	char place[64];
	char reason[256];
};

/* The same, for people: [{"recording", "copy", "place", "reason", "deleting_at"}], the oldest first. */
int deletion_overdue_list(struct db *d, int64_t age_ms, json_t **ret, struct error *e) _must_check_;

/* Calls `found` for each of them. `*ret_recordings`: how many recordings. */
int deletion_overdue(struct db_pool *p, int64_t age_ms, void (*found)(void *arg, const struct deletion_overdue *o),
		     void *arg, unsigned *ret_recordings, struct error *e) _must_check_;

#endif
