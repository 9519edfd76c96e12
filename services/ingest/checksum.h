/* Checksums that clients give with what they send: computed as the bytes pass, compared at their end. */
#ifndef RUSHES_INGEST_CHECKSUM_H
#define RUSHES_INGEST_CHECKSUM_H

#include "base/error.h"

#include <stdbool.h>

#define CHECKSUM_BYTES_MAX 64

enum checksum_kind {
	CHECKSUM_CRC32, /* the one of gzip and zlib, most significant byte first */
	CHECKSUM_SHA1,
	CHECKSUM_SHA256,
	CHECKSUM_SHA512,
	CHECKSUM_KIND_MAX
};

size_t checksum_bytes(enum checksum_kind k);

/* What a client says. */
struct checksum_value {
	enum checksum_kind kind;
	uint8_t bytes[CHECKSUM_BYTES_MAX]; /* the first checksum_bytes() */
};

/* Reads standard base64 of `n` characters, its padding present or not: nothing else may be there. */
bool base64_read(const char *text, size_t n, uint8_t *ret, size_t max, size_t *ret_n) _must_check_;

/* Reads standard base64 of exactly a checksum's length, its padding present or not. */
bool checksum_decode(const char *text, size_t n, enum checksum_kind k, struct checksum_value *ret) _must_check_;

/* One that is being computed, to be compared with `expected`. */
struct checksum;

int checksum_new(const struct checksum_value *expected, struct checksum **ret, struct error *e) _must_check_;
void checksum_free(struct checksum *c);
DEFINE_CLEANUP(struct checksum, checksum_free)

/* Adds bytes. Aborts when OpenSSL fails here: it only could by a programming error. */
void checksum_update(struct checksum *c, const void *data, size_t n);

/* Whether what was added is what was expected. Once, at the end. */
bool checksum_matches(struct checksum *c) _must_check_;

#endif
