/* Redis for caches and rate limits, asynchronous on one loop. Redis never grants anything and may be away at any time:
 * every command then ends with REDIS_UNKNOWN at once, or at its time limit, and the caller goes on without it. TLS by
 * OpenSSL or a Unix socket; commands and replies in RESP2 by hiredis' formatter and reader, which has no TLS and no
 * time limits of its own. All functions on the loop's thread, unless said. */
#ifndef RUSHES_STORE_REDIS_H
#define RUSHES_STORE_REDIS_H

#include "base/loop.h"

struct redis;
struct redisReply;

/* Commands in flight; more are answered REDIS_UNKNOWN, so that a slow Redis costs no memory. */
#define REDIS_IN_FLIGHT_MAX 4096

/* Time limit for a command when the caller names none: Redis answers in under 1 ms or is in trouble. */
#define REDIS_COMMAND_MS 100

/* Longest key and longest cached value. */
#define REDIS_KEY_BYTES_MAX   256
#define REDIS_VALUE_BYTES_MAX ((size_t)64 * 1024)

struct redis_options {
	const char *address;	   /* "host:port" (TLS) or "unix:/path" */
	const char *user;	   /* ACL user */
	const char *password_file; /* first line; read at each connect. NULL or "": no AUTH */
	/* for TLS: the service's identity and the CA; the server's name is checked. Read at each connect */
	const char *certificate, *key, *ca;
	int64_t command_ms; /* 0: REDIS_COMMAND_MS */
};

/* Copies the options and begins to connect when the loop runs; a failed or lost connection is made again after 0.1 s
 * doubling to 2 s. Host names are looked up with getaddrinfo(): name a host that /etc/hosts or a local resolver knows.
 */
int redis_new(struct loop *l, const struct redis_options *o, struct redis **ret, struct error *e) _must_check_;

/* Ends all commands in flight with REDIS_UNKNOWN. Not from within a callback of this object. */
void redis_free(struct redis *r);
DEFINE_CLEANUP(struct redis, redis_free)

/* Drops the connection and makes a new one: after new certificates. Not from within a callback of this object. */
void redis_renew(struct redis *r);

enum redis_outcome {
	REDIS_ANSWERED, /* `reply` is set, and no error reply */
	REDIS_REFUSED,	/* `reply` is an error of the server */
	REDIS_UNKNOWN,	/* no answer: away, too slow or too much in flight; it may have been executed */
};

/* Called exactly once per command, on the loop, never before redis_command() returned. `reply` lives during the call.
 */
typedef void redis_done(void *arg, enum redis_outcome outcome, const struct redisReply *reply);

/* Sends one command. `done` may be NULL. */
void redis_command(struct redis *r, int argc, const char *const *argv, const size_t *argv_bytes, redis_done *done,
		   void *arg);

/* A token bucket in Redis for each key: `rate_per_minute` tokens flow in, up to `burst`. While Redis is unknown a
 * bucket in this process decides, with its share of the rate: limit / `instances`. */
struct redis_limit {
	const char *name; /* "link-open"; part of the key */
	uint64_t rate_per_minute;
	uint64_t burst;
	unsigned instances; /* processes that share the limit, at least 1 */
};

/* Called exactly once, on the loop, never before redis_limit_take() returned. `wait_ms`: when a token will be there. */
typedef void redis_limit_done(void *arg, bool allowed, int64_t wait_ms);

/* Takes one token of the bucket `limit->name`/`key`. `limit` must outlive the call's end; the key is hashed before it
 * leaves the process, so it may be an address. */
void redis_limit_take(struct redis *r, const struct redis_limit *limit, const char *key, redis_limit_done *done,
		      void *arg);

/* The same bucket for a limit that this process keeps by itself as well: only what all processes did together is asked.
 * While Redis is unknown everything is allowed. */
void redis_limit_ask(struct redis *r, const struct redis_limit *limit, const char *key, redis_limit_done *done,
		     void *arg);

/* A cache of small values. A miss and an unreachable Redis are alike: `data` is NULL. */
typedef void redis_cache_done(void *arg, const void *data, size_t n);
void redis_cache_get(struct redis *r, const char *key, redis_cache_done *done, void *arg);
void redis_cache_set(struct redis *r, const char *key, const void *data, size_t n, int64_t ttl_ms);
void redis_cache_drop(struct redis *r, const char *key);

struct redis_stats {
	bool connected;
	unsigned in_flight;
	uint64_t connects, commands, refused, unknown, limits_local;
};

void redis_stats(const struct redis *r, struct redis_stats *ret);

#endif
