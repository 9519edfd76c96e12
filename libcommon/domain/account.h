/* Accounts and their environments. Everything here asks the database and blocks: off the loop. Changes are audited in
 * the same transaction under `actor`. JSON values are the caller's. */
#ifndef RUSHES_DOMAIN_ACCOUNT_H
#define RUSHES_DOMAIN_ACCOUNT_H

#include "store/db.h"

#include <jansson.h>

struct account_new {
	const char *name;
	const char *region;
	const char *zone;   /* IANA name: daily rules run at this zone's midnight */
	const char *plan;   /* "trial" or "paid" */
	int64_t expires_ms; /* from now; 0: never */
};

int account_create(struct db *d, const char *actor, const struct account_new *a, struct uuid *ret,
		   struct error *e) _must_check_;
int account_list(struct db *d, json_t **ret, struct error *e) _must_check_;
int account_get(struct db *d, const struct uuid *id, json_t **ret, struct error *e) _must_check_;

/* By id or by name. ERR_NOTFOUND, ERR_CONFLICT when several have the name. */
int account_find(struct db *d, const char *text, struct uuid *ret, struct error *e) _must_check_;

/* Sets columns of an environment by name; makes it when it does not exist. `settings`: {"conversion": "never", ...}.
 * Living recordings follow the changed rules. ERR_REJECT for unknown settings and values. */
int environment_set(struct db *d, const char *actor, const struct uuid *account, const char *name, json_t *settings,
		    struct uuid *ret, struct error *e) _must_check_;

/* Renews, changes or ends a plan ("trial", "paid"). `expires` as domain/moment.h reads it; NULL: without an end. The
 * due dates of what is there follow. ERR_NOTFOUND when the account is closed or does not exist. */
int account_plan_set(struct db *d, const char *actor, const struct uuid *id, const char *plan, const char *expires,
		     struct error *e) _must_check_;

/* Ends an account: its links and sessions open nothing any more, its recordings go at once, and behind the last one its
 * key. `reason` is kept in the audit. ERR_NOTFOUND as above. */
int account_close(struct db *d, const char *actor, const struct uuid *id, const char *reason,
		  struct error *e) _must_check_;

/* Destroys the keys of accounts that ended (closed, or expired and past their 28 days) and hold no recording any more,
 * up to `limit`, each with its ledger entry. `*ret_n`: how many. */
int account_keys_sweep(struct db_pool *p, unsigned limit, unsigned *ret_n, struct error *e) _must_check_;

/* Whether the environment's files go to this target of the client. */
int environment_target_set(struct db *d, const char *actor, const struct uuid *account, const struct uuid *environment,
			   const struct uuid *target, bool on, struct error *e) _must_check_;

/* `account` NULL: all. */
int environment_list(struct db *d, const struct uuid *account, json_t **ret, struct error *e) _must_check_;
int environment_get(struct db *d, const struct uuid *account, const struct uuid *id, json_t **ret,
		    struct error *e) _must_check_;
int environment_find(struct db *d, const struct uuid *account, const char *text, struct uuid *ret,
		     struct error *e) _must_check_;

#endif
