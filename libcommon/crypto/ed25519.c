#include "crypto/ed25519.h"

#include <sodium.h>

void ed25519_sign(const uint8_t seed[ED25519_KEY_BYTES], const void *message, size_t n,
		  uint8_t ret[ED25519_SIGNATURE_BYTES])
{
	uint8_t public_key[crypto_sign_PUBLICKEYBYTES], secret[crypto_sign_SECRETKEYBYTES];
	/* neither can fail by its arguments */
	(void)crypto_sign_seed_keypair(public_key, secret, seed);
	(void)crypto_sign_detached(ret, NULL, message, n, secret);
	sodium_memzero(secret, sizeof(secret));
}

bool ed25519_verify(const uint8_t public_key[ED25519_KEY_BYTES], const void *message, size_t n,
		    const uint8_t signature[ED25519_SIGNATURE_BYTES])
{
	return crypto_sign_verify_detached(signature, message, n, public_key) == 0;
}
