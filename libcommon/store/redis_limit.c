#include "base/clock.h"
#include "base/hex.h"
#include "store/redis_internal.h"

#include <assert.h>
#include <openssl/evp.h>
#include <string.h>

#define DIGEST_BYTES 32
#define KEY_BYTES    (REDIS_KEY_BYTES_MAX + 32)

/* A token bucket by Redis' own clock; answers how many milliseconds to wait, 0: a token was taken. */
static const char script[] =
    "local t = redis.call('TIME')\n"
    "local now = t[1] * 1000 + math.floor(t[2] / 1000)\n"
    "local rate, burst = tonumber(ARGV[1]), tonumber(ARGV[2])\n"
    "local b = redis.call('HMGET', KEYS[1], 'tokens', 'at')\n"
    "local tokens, at = tonumber(b[1]) or burst, tonumber(b[2]) or now\n"
    "tokens = math.min(burst, tokens + math.max(0, now - at) * rate / 60000)\n"
    "local wait = 0\n"
    "if tokens >= 1 then tokens = tokens - 1 else wait = math.ceil((1 - tokens) * 60000 / rate) end\n"
    "redis.call('HSET', KEYS[1], 'tokens', tostring(tokens), 'at', string.format('%.0f', now))\n"
    "redis.call('PEXPIRE', KEYS[1], math.ceil(burst * 60000 / rate) + 1000)\n"
    "return wait\n";

struct limit_call {
	struct redis *redis;
	const struct redis_limit *limit;
	redis_limit_done *done;
	void *arg;
	uint64_t local_key;
	char key[KEY_BYTES];
	char rate[24], burst[24];
	bool is_loaded;	     /* the script itself was sent */
	bool is_shared_only; /* without Redis there is no limit */
};

static void decide_here(struct limit_call *c)
{
	struct redis *r = c->redis;
	int64_t wait = 0;
	if (c->is_shared_only) {
		c->done(c->arg, true, 0);
		free(c);
		return;
	}
	double rate = (double)c->limit->rate_per_minute / MAX(c->limit->instances, 1U);
	r->stats.limits_local++;
	bool allowed =
	    bucket_take(r->buckets, c->local_key, rate, (double)c->limit->burst, clock_monotonic_us(), &wait);
	c->done(c->arg, allowed, wait);
	free(c);
}

static void ask(struct limit_call *c);

static void on_answer(void *arg, enum redis_outcome outcome, const struct redisReply *reply)
{
	struct limit_call *c = arg;
	if (outcome == REDIS_ANSWERED && reply->type == REDIS_REPLY_INTEGER) {
		c->done(c->arg, reply->integer == 0, reply->integer);
		free(c);
	} else if (outcome == REDIS_REFUSED && !c->is_loaded && strncmp(reply->str, "NOSCRIPT", 8) == 0) {
		c->is_loaded = true;
		ask(c);
	} else {
		decide_here(c);
	}
}

static void ask(struct limit_call *c)
{
	const char *argv[] = {c->is_loaded ? "EVAL" : "EVALSHA",
			      c->is_loaded ? script : c->redis->script_sha1,
			      "1",
			      c->key,
			      c->rate,
			      c->burst};
	redis_command(c->redis, ARRAY_SIZE(argv), argv, NULL, on_answer, c);
}

static void prepare_script(struct redis *r)
{
	uint8_t digest[20];
	if (*r->script_sha1 || EVP_Digest(script, sizeof(script) - 1, digest, NULL, EVP_sha1(), NULL) != 1)
		return;
	hex_encode(digest, sizeof(digest), r->script_sha1);
}

static void take(struct redis *r, const struct redis_limit *limit, const char *key, bool is_shared_only,
		 redis_limit_done *done, void *arg)
{
	assert(limit->rate_per_minute > 0 && limit->burst > 0);
	prepare_script(r);
	struct limit_call *c = calloc(1, sizeof(*c));
	uint8_t digest[DIGEST_BYTES] = {0};
	if (!c || EVP_Digest(key, strlen(key), digest, NULL, EVP_sha256(), NULL) != 1)
		abort();
	char hashed[2 * DIGEST_BYTES + 1];
	hex_encode(digest, sizeof(digest), hashed);
	c->redis = r;
	c->limit = limit;
	c->is_shared_only = is_shared_only;
	c->done = done;
	c->arg = arg;
	for (const char *p = limit->name; *p; p++)
		c->local_key = c->local_key * 31 + (uint8_t)*p;
	for (size_t i = 0; i < 8; i++)
		c->local_key ^= (uint64_t)digest[i] << (8 * i);
	(void)snprintf(c->key, sizeof(c->key), "rushes:limit:%.64s:%s", limit->name, hashed);
	(void)snprintf(c->rate, sizeof(c->rate), "%llu", (unsigned long long)limit->rate_per_minute);
	(void)snprintf(c->burst, sizeof(c->burst), "%llu", (unsigned long long)limit->burst);
	ask(c);
}

void redis_limit_take(struct redis *r, const struct redis_limit *limit, const char *key, redis_limit_done *done,
		      void *arg)
{
	take(r, limit, key, false, done, arg);
}

void redis_limit_ask(struct redis *r, const struct redis_limit *limit, const char *key, redis_limit_done *done,
		     void *arg)
{
	take(r, limit, key, true, done, arg);
}

struct cache_call {
	redis_cache_done *done;
	void *arg;
};

static void on_cached(void *arg, enum redis_outcome outcome, const struct redisReply *reply)
{
	struct cache_call *c = arg;
	bool hit = outcome == REDIS_ANSWERED && reply->type == REDIS_REPLY_STRING;
	c->done(c->arg, hit ? reply->str : NULL, hit ? reply->len : 0);
	free(c);
}

static void cache_key(const char *key, char ret[KEY_BYTES])
{
	assert(strlen(key) <= REDIS_KEY_BYTES_MAX);
	(void)snprintf(ret, KEY_BYTES, "rushes:cache:%s", key);
}

void redis_cache_get(struct redis *r, const char *key, redis_cache_done *done, void *arg)
{
	char full[KEY_BYTES];
	cache_key(key, full);
	struct cache_call *c = malloc(sizeof(*c));
	if (!c)
		abort();
	*c = (struct cache_call){.done = done, .arg = arg};
	redis_command(r, 2, (const char *[]){"GET", full}, NULL, on_cached, c);
}

void redis_cache_set(struct redis *r, const char *key, const void *data, size_t n, int64_t ttl_ms)
{
	assert(n <= REDIS_VALUE_BYTES_MAX && ttl_ms > 0);
	char full[KEY_BYTES], ttl[24];
	cache_key(key, full);
	(void)snprintf(ttl, sizeof(ttl), "%lld", (long long)ttl_ms);
	const char *argv[] = {"SET", full, data, "PX", ttl};
	const size_t sizes[] = {3, strlen(full), n, 2, strlen(ttl)};
	redis_command(r, ARRAY_SIZE(argv), argv, sizes, NULL, NULL);
}

void redis_cache_drop(struct redis *r, const char *key)
{
	char full[KEY_BYTES];
	cache_key(key, full);
	redis_command(r, 2, (const char *[]){"DEL", full}, NULL, NULL, NULL);
}
