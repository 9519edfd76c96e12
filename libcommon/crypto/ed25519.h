/* Ed25519 (RFC 8032), by libsodium. Keys as the keyring holds them: the 32-byte seed, or its public half. Any thread.
 */
#ifndef RUSHES_CRYPTO_ED25519_H
#define RUSHES_CRYPTO_ED25519_H

#include "base/macros.h"

#include <stdbool.h>

#define ED25519_KEY_BYTES	32
#define ED25519_SIGNATURE_BYTES 64

void ed25519_sign(const uint8_t seed[ED25519_KEY_BYTES], const void *message, size_t n,
		  uint8_t ret[ED25519_SIGNATURE_BYTES]);

/* False for a signature of another message, another key, or none at all. */
bool ed25519_verify(const uint8_t public_key[ED25519_KEY_BYTES], const void *message, size_t n,
		    const uint8_t signature[ED25519_SIGNATURE_BYTES]) _must_check_;

#endif
