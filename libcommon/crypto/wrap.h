/* Keys wrapped by other keys: AES-256-GCM with a random nonce. What the wrapped key is for (account, recording, id of
 * the wrapping key, purpose) is associated data, so a row moved to another account or recording does not open. */
#ifndef RUSHES_CRYPTO_WRAP_H
#define RUSHES_CRYPTO_WRAP_H

#include "base/uuid.h"
#include "crypto/keyring.h"

/* version (1 byte: 1), nonce (12), sealed key (32), tag (16) */
#define WRAPPED_KEY_BYTES 61

struct wrap_context {
	enum key_purpose purpose;
	const char *key_id; /* of the wrapping key */
	const struct uuid *account;
	const struct uuid *recording; /* NULL: an account's key */
};

/* Wraps a 32-byte key. Any thread. */
int wrap_key(const uint8_t wrapping[KEY_BYTES], const struct wrap_context *ctx, const uint8_t key[KEY_BYTES],
	     uint8_t ret[WRAPPED_KEY_BYTES], struct error *e) _must_check_;

/* Opens it again. `n` is what the database gave: another length or version is ERR_REJECT, ERR_CORRUPT when it was made
 * by another key or for another context. The caller wipes `ret` (sodium_memzero) after use. */
int unwrap_key(const uint8_t wrapping[KEY_BYTES], const struct wrap_context *ctx, const uint8_t *wrapped, size_t n,
	       uint8_t ret[KEY_BYTES], struct error *e) _must_check_;

#endif
