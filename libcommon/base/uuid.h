/* UUIDs (RFC 9562): version 7 for what is ordered by time, version 4 for what must not tell it. */
#ifndef RUSHES_BASE_UUID_H
#define RUSHES_BASE_UUID_H

#include "base/error.h"

#include <stdbool.h>

#define UUID_BYTES	16
#define UUID_TEXT_BYTES 37 /* 36 characters and the end */

struct uuid {
	uint8_t b[UUID_BYTES];
};

/* Fresh UUIDs from getrandom(2); aborts when the kernel refuses randomness. Any thread. */
struct uuid uuid_v7(void);
struct uuid uuid_v4(void);

/* Lower-case canonical text. */
void uuid_format(const struct uuid *u, char ret[UUID_TEXT_BYTES]);

/* Reads exactly the canonical 36 characters, either case. Returns false and leaves *ret alone on anything else. */
bool uuid_parse(const char *text, struct uuid *ret) _must_check_;

bool uuid_equal(const struct uuid *a, const struct uuid *b);
bool uuid_is_zero(const struct uuid *u);

#endif
