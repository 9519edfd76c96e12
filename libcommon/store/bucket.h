/* Token buckets of this process, for rate limits while Redis is unknown. A table of fixed size: a flood of keys costs
 * precision, not memory. Pure; one thread at a time. */
#ifndef RUSHES_STORE_BUCKET_H
#define RUSHES_STORE_BUCKET_H

#include "base/macros.h"

#include <stdbool.h>

#define BUCKET_SETS 1024
#define BUCKET_WAYS 4

struct bucket {
	uint64_t key; /* 0: free */
	double tokens;
	int64_t at_us;
};

struct bucket_table {
	struct bucket buckets[BUCKET_SETS][BUCKET_WAYS];
};

/* Takes a token of bucket `key` (any 64-bit hash), into which `rate_per_minute` flow up to `burst`, both above 0.
 * False: none is left; *ret_wait_ms says when one will be. A new key begins full; it takes the place of the one of its
 * set that was used longest ago. */
bool bucket_take(struct bucket_table *t, uint64_t key, double rate_per_minute, double burst, int64_t now_us,
		 int64_t *ret_wait_ms) _must_check_;

#endif
