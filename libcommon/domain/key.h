/* Keys of accounts and recordings (DESIGN section 5): a key of the ring spool-root wraps one key per account, which
 * wraps one data key per recording. Everything here blocks on the database, except where said. The caller wipes keys
 * (sodium_memzero) as soon as its job or stream ends. */
#ifndef RUSHES_DOMAIN_KEY_H
#define RUSHES_DOMAIN_KEY_H

#include "base/json.h"
#include "crypto/keyring.h"
#include "crypto/wrap.h"
#include "store/db.h"

/* A recording's data key as its row holds it. */
struct recording_key {
	struct uuid account_key;
	uint8_t wrapped[WRAPPED_KEY_BYTES];
};

/* A fresh data key for a new recording. The account's key is made when it has none; on a conflict the stored one wins.
 * `ret` goes into the row with the recording's first segment. */
int recording_key_make(struct db_pool *p, const struct keyring *root, const struct uuid *account,
		       const struct uuid *recording, uint8_t ret_key[KEY_BYTES], struct recording_key *ret,
		       struct error *e) _must_check_;

/* The data key of a recording that has one. ERR_NOTFOUND when there is none: never made, or shredded. ERR_DENIED when
 * the account's key was wrapped by a key that this ring does not hold. `ret` may be NULL. */
int recording_key_get(struct db_pool *p, const struct keyring *root, const struct uuid *recording,
		      uint8_t ret_key[KEY_BYTES], struct recording_key *ret, struct error *e) _must_check_;

/* The same from the object `key` of a job's context: {"account_key","root_key","account_wrapped","wrapped"}, the last
 * two in hexadecimal digits. NULL or null is ERR_NOTFOUND. Does not block. */
int recording_key_from_context(const struct keyring *root, const struct uuid *account, const struct uuid *recording,
			       json_t *key, uint8_t ret_key[KEY_BYTES], struct error *e) _must_check_;

#endif
