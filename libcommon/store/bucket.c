#include "store/bucket.h"

#define MINUTE_US 60e6

static struct bucket *find(struct bucket *set, uint64_t key, double burst, int64_t now_us)
{
	struct bucket *oldest = set;
	for (size_t i = 0; i < BUCKET_WAYS; i++) {
		if (set[i].key == key)
			return &set[i];
		if (set[i].key == 0 || (oldest->key != 0 && set[i].at_us < oldest->at_us))
			oldest = &set[i];
	}
	*oldest = (struct bucket){.key = key, .tokens = burst, .at_us = now_us};
	return oldest;
}

bool bucket_take(struct bucket_table *t, uint64_t key, double rate_per_minute, double burst, int64_t now_us,
		 int64_t *ret_wait_ms)
{
	key = key ? key : 1;
	struct bucket *b = find(t->buckets[key % BUCKET_SETS], key, burst, now_us);
	double flown = (double)MAX(now_us - b->at_us, 0) * rate_per_minute / MINUTE_US;
	b->tokens = MIN(burst, b->tokens + flown);
	b->at_us = now_us;
	*ret_wait_ms = 0;
	if (b->tokens >= 1) {
		b->tokens -= 1;
		return true;
	}
	*ret_wait_ms = (int64_t)((1 - b->tokens) * MINUTE_US / rate_per_minute / 1000) + 1;
	return false;
}
