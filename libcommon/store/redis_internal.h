/* What the files of the Redis client share; nobody else includes this. */
#ifndef RUSHES_STORE_REDIS_INTERNAL_H
#define RUSHES_STORE_REDIS_INTERNAL_H

#include "store/bucket.h"
#include "store/redis.h"

#include "base/buffer.h"

#include <hiredis/hiredis.h>
#include <openssl/ssl.h>

enum redis_state {
	REDIS_DOWN,	  /* waits for the reconnect timer */
	REDIS_CONNECTING, /* TCP */
	REDIS_HANDSHAKE,  /* TLS */
	REDIS_LOGIN,	  /* AUTH is sent */
	REDIS_READY,
};

/* A command in flight; replies come in order. */
struct redis_call {
	struct redis_call *next;
	redis_done *done; /* NULL: nobody waits any more */
	void *arg;
	int64_t deadline_us;
	struct redis *redis;
};

struct redis {
	struct loop *loop;
	char *address, *user, *password_file, *certificate, *key, *ca;
	int64_t command_us;
	unsigned refs; /* the owner, and each call that is posted to the loop */
	bool closing;

	enum redis_state state;
	int fd;
	SSL *ssl; /* NULL on a Unix socket */
	struct event *readable, *writable;
	redisReader *reader;
	struct buffer out;
	struct redis_call *first, **last;
	struct loop_timer *again; /* reconnect */
	struct loop_timer *limit; /* of the oldest call, or of the connect */
	int64_t backoff_ms;
	struct redis_stats stats;
	struct bucket_table *buckets;
	char script_sha1[41];
};

/* The connection's half (redis_connection.c). */
void redis_connect(struct redis *r);
void redis_disconnect(struct redis *r); /* and ends all calls; a reconnect is timed */
void redis_flush(struct redis *r);	/* writes what is in `out` */

/* The calls' half (redis.c). */
bool redis_send(struct redis *r, int argc, const char *const *argv, const size_t *argv_bytes, redis_done *done,
		void *arg) _must_check_;
void redis_on_connected(struct redis *r);	     /* logs in */
bool redis_on_replies(struct redis *r) _must_check_; /* false: not the protocol */
void redis_end_calls(struct redis *r);

#endif
