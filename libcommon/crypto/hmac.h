/* HMAC-SHA-256 (RFC 2104) and HKDF-SHA-256 (RFC 5869). */
#ifndef RUSHES_CRYPTO_HMAC_H
#define RUSHES_CRYPTO_HMAC_H

#include "base/error.h"

#define HMAC_BYTES 32

/* Any thread. ERR_FATAL when the library refuses. */
int hmac_sha256(const void *key, size_t key_n, const void *data, size_t n, uint8_t ret[HMAC_BYTES],
		struct error *e) _must_check_;

/* Derives `ret_n` bytes (at most 255 * 32) from a uniform key. Any thread. */
int hkdf_sha256(const void *key, size_t key_n, const void *salt, size_t salt_n, const void *info, size_t info_n,
		void *ret, size_t ret_n, struct error *e) _must_check_;

#endif
