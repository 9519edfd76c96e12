/* API keys of accounts. Blocks: off the loop. The key itself (domain/access_code.h) is shown once by who makes it; the
 * database gets its hash. */
#ifndef RUSHES_DOMAIN_API_KEY_H
#define RUSHES_DOMAIN_API_KEY_H

#include "crypto/hmac.h"
#include "store/db.h"

#include <jansson.h>

/* What a key may do in its account; enforced by linkgen. */
#define API_KEY_SCOPES "links:write", "links:read", "recordings:read", "recordings:delete"

/* `scopes`: words of API_KEY_SCOPES, separated by commas without spaces. */
int api_key_create(struct db *d, const char *actor, const struct uuid *account, const struct uuid *id, const char *name,
		   const uint8_t hash[HMAC_BYTES], const char *scopes, struct error *e) _must_check_;
int api_key_revoke(struct db *d, const char *actor, const struct uuid *id, struct error *e) _must_check_;

/* `account` NULL: all. The value is the caller's. */
int api_key_list(struct db *d, const struct uuid *account, json_t **ret, struct error *e) _must_check_;

#endif
