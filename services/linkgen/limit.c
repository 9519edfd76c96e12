#include "limit.h"

#include "base/clock.h"
#include "store/bucket.h"

#include <string.h>

static const struct redis_limit limits[LIMIT_MAX] = {
    [LIMIT_PAGE] = {"link-page", 240, 120, 1},
    [LIMIT_REQUEST] = {"link-request", 120, 60, 1},
    [LIMIT_SESSION] = {"link-session", 60, 30, 1},
    [LIMIT_API] = {"api", 1200, 300, 1},
};

struct limiter {
	struct redis *redis;
	struct redis_limit limits[LIMIT_MAX];
	struct bucket_table buckets;
};

int limiter_new(struct redis *redis, unsigned instances, struct limiter **ret, struct error *e)
{
	struct limiter *l = calloc(1, sizeof(*l));
	if (!l)
		return error_nomem(e);
	l->redis = redis;
	memcpy(l->limits, limits, sizeof(limits));
	for (size_t i = 0; i < LIMIT_MAX; i++)
		l->limits[i].instances = instances;
	*ret = l;
	return 0;
}

void limiter_free(struct limiter *l)
{
	free(l);
}

/* FNV-1a: two addresses that fall together share a bucket, which costs precision only. */
static uint64_t bucket_key(enum limit limit, const char *address)
{
	uint64_t hash = UINT64_C(14695981039346656037) ^ (uint64_t)limit;
	for (const char *p = address; *p; p++)
		hash = (hash ^ (uint8_t)*p) * UINT64_C(1099511628211);
	return hash ? hash : 1;
}

void limiter_take(struct limiter *l, enum limit limit, const char *address, redis_limit_done *done, void *arg)
{
	const struct redis_limit *r = &l->limits[limit];
	int64_t wait_ms = 0;
	if (l->redis) {
		redis_limit_take(l->redis, r, address, done, arg);
		return;
	}
	bool allowed = bucket_take(&l->buckets, bucket_key(limit, address), (double)r->rate_per_minute / r->instances,
				   MAX((double)r->burst / r->instances, 1), clock_monotonic_us(), &wait_ms);
	done(arg, allowed, wait_ms);
}
