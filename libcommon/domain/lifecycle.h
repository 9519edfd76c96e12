/* Lifecycle rules of an environment: what goes by age, of which kind of recording, the whole or one kind of file.
 * Changes are audited under `actor`; recordings that are there follow. Blocks: off the loop. JSON values are the
 * caller's. */
#ifndef RUSHES_DOMAIN_LIFECYCLE_H
#define RUSHES_DOMAIN_LIFECYCLE_H

#include "store/db.h"

#include <jansson.h>

#define LIFECYCLE_AGE_DAYS_MAX 36500

struct lifecycle_rule {
	unsigned age_days;	    /* 1 to LIFECYCLE_AGE_DAYS_MAX, from the saving */
	const char *recording_kind; /* "received", "sent", "call"; NULL: every kind */
	const char *file_kind;	    /* "raw", "main", "snapshot", "filmstrip"; NULL: the whole recording */
	bool enabled;
};

/* [{"name", "age_days", "recording_kind", "file_kind", "enabled", "created_at"}] */
int lifecycle_list(struct db *d, const struct uuid *account, const struct uuid *environment, json_t **ret,
		   struct error *e) _must_check_;

/* One of them by its name. ERR_NOTFOUND. */
int lifecycle_get(struct db *d, const struct uuid *account, const struct uuid *environment, const char *name,
		  json_t **ret, struct error *e) _must_check_;

/* Makes the rule, or replaces it wholly. */
int lifecycle_set(struct db *d, const char *actor, const struct uuid *account, const struct uuid *environment,
		  const char *name, const struct lifecycle_rule *rule, struct error *e) _must_check_;

/* ERR_NOTFOUND. */
int lifecycle_remove(struct db *d, const char *actor, const struct uuid *account, const struct uuid *environment,
		     const char *name, struct error *e) _must_check_;

/* What the rule would take if it were on; changes nothing, and `enabled` does not matter. `until`: dates up to then (as
 * domain/moment.h reads it; NULL: all). {"recordings": the first `limit` by date [{"recording", "file_kind", "due_at",
 * "bytes", "held"}], "total": {"recordings", "bytes", "held", "due_now", "due_now_bytes"}}; what is held is not due. */
int lifecycle_preview(struct db *d, const struct uuid *account, const struct uuid *environment,
		      const struct lifecycle_rule *rule, const char *until, unsigned limit, json_t **ret,
		      struct error *e) _must_check_;

#endif
