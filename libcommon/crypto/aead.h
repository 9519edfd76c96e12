/* AES-256-GCM (NIST SP 800-38D, by OpenSSL) with a context that is set up once per key. */
#ifndef RUSHES_CRYPTO_AEAD_H
#define RUSHES_CRYPTO_AEAD_H

#include "base/error.h"

#define AEAD_KEY_BYTES	 32
#define AEAD_NONCE_BYTES 12
#define AEAD_TAG_BYTES	 16

/* A key ready for sealing and opening. One thread at a time. */
struct aead;

/* Copies the key; it is wiped when freed. ERR_NOMEM, ERR_FATAL when the library refuses the cipher. */
int aead_new(const uint8_t key[AEAD_KEY_BYTES], struct aead **ret, struct error *e) _must_check_;
void aead_free(struct aead *a);
DEFINE_CLEANUP(struct aead, aead_free)

/* One run of bytes of a message that is given in pieces. */
struct aead_piece {
	const void *data;
	size_t size;
};

/* Seals the pieces, in order, as one message: writes as many bytes as they hold to `ret` (which must not overlap them)
 * and the tag. `nonce` must never have been used with this key: random 96 bits for at most 2^32 messages. */
int aead_seal(struct aead *a, const uint8_t nonce[AEAD_NONCE_BYTES], const void *ad, size_t ad_n,
	      const struct aead_piece *pieces, size_t n_pieces, uint8_t *ret, uint8_t ret_tag[AEAD_TAG_BYTES],
	      struct error *e) _must_check_;

/* Opens `n` bytes into `ret` (may be `data` itself). ERR_CORRUPT when tag, nonce, associated data or bytes do not
 * belong together; `ret` is then wiped. */
int aead_open(struct aead *a, const uint8_t nonce[AEAD_NONCE_BYTES], const void *ad, size_t ad_n, const uint8_t *data,
	      size_t n, const uint8_t tag[AEAD_TAG_BYTES], uint8_t *ret, struct error *e) _must_check_;

#endif
