/* SHA-256 (FIPS 180-4, by OpenSSL: SHA-NI) and CRC-32 (ISO-HDLC, the one of gzip and zlib, by ISA-L). */
#ifndef RUSHES_CRYPTO_DIGEST_H
#define RUSHES_CRYPTO_DIGEST_H

#include "base/error.h"

#include <sys/types.h>

#define SHA256_BYTES	  32
#define SHA256_TEXT_BYTES 65 /* lower-case digits and the end */

/* A running SHA-256. One thread at a time. */
struct sha256;

/* ERR_NOMEM; ERR_FATAL when the library offers no SHA-256. The context may be used for many messages. */
int sha256_new(struct sha256 **ret, struct error *e) _must_check_;
void sha256_free(struct sha256 *s);
DEFINE_CLEANUP(struct sha256, sha256_free)

/* Adds bytes. Aborts when OpenSSL fails here: it only could by a programming error. */
void sha256_update(struct sha256 *s, const void *data, size_t n);

/* The digest of what was added so far; more may be added. */
void sha256_peek(const struct sha256 *s, uint8_t ret[SHA256_BYTES]);

/* The digest; the context then begins a new message. */
void sha256_finish(struct sha256 *s, uint8_t ret[SHA256_BYTES]);

/* Digest of one buffer, and its text. */
int sha256_of(const void *data, size_t n, uint8_t ret[SHA256_BYTES], struct error *e) _must_check_;
void sha256_format(const uint8_t digest[SHA256_BYTES], char ret[SHA256_TEXT_BYTES]);

/* Goes on from `crc` (0 at the beginning). Any thread. */
uint32_t crc32_update(uint32_t crc, const void *data, size_t n);

/* CRC-32 of A followed by B from crc(A), crc(B) and the length of B. Any thread. */
uint32_t crc32_join(uint32_t crc_a, uint32_t crc_b, uint64_t n_b);

#endif
