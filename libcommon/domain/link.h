/* Links: recording requests. Blocks: off the loop. The code (domain/access_code.h) is shown once by who makes it; the
 * database gets its hash. Changes are audited in the same transaction under `actor`. */
#ifndef RUSHES_DOMAIN_LINK_H
#define RUSHES_DOMAIN_LINK_H

#include "crypto/hmac.h"
#include "store/db.h"

#include <jansson.h>

/* Longest and usual life of a link. */
#define LINK_LIFE_MS_MAX     ((int64_t)366 * 86400000)
#define LINK_LIFE_MS_DEFAULT ((int64_t)7 * 86400000)
#define LINK_USES_MAX	     10000

struct link_new {
	struct uuid id; /* uuid_v7() */
	const struct uuid *account;
	const struct uuid *environment;
	const uint8_t *code_hash; /* HMAC_BYTES */
	int64_t life_ms;	  /* from now */
	unsigned uses_max;
	json_t *requester;	 /* borrowed; {"agent", "subject", "ticket", "customer"}, all optional; NULL: {} */
	const char *idempotency; /* NULL: none. The same key of the same account yields the first link */
};

struct link_made {
	struct uuid id;
	bool is_new; /* false: the idempotency key was used before; this link's code is another one */
	char expires_at[40];
};

/* ERR_DENIED when the account is closed or has expired. */
int link_create(struct db *d, const char *actor, const struct link_new *l, struct link_made *ret,
		struct error *e) _must_check_;
int link_revoke(struct db *d, const char *actor, const struct uuid *account, const struct uuid *id,
		struct error *e) _must_check_;

/* `account` NULL: any. Values are the caller's; the code is in none. */
int link_get(struct db *d, const struct uuid *account, const struct uuid *id, json_t **ret,
	     struct error *e) _must_check_;
int link_list(struct db *d, const struct uuid *account, unsigned limit, json_t **ret, struct error *e) _must_check_;

#endif
