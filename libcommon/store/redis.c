#include "store/redis.h"

#include "base/clock.h"
#include "store/redis_internal.h"

#include <fcntl.h>
#include <openssl/crypto.h>
#include <string.h>

#define OUT_BYTES_MAX	   ((size_t)4 * 1024 * 1024)
#define PASSWORD_BYTES_MAX 512
/* A connection whose oldest reply is this late is given up; until then single calls just end unknown. */
#define STUCK_US 1000000

static void unref(struct redis *r)
{
	if (--r->refs > 0)
		return;
	loop_timer_free(r->again);
	loop_timer_free(r->limit);
	buffer_done(&r->out);
	free(r->buckets);
	free(r->address);
	free(r->user);
	free(r->password_file);
	free(r->certificate);
	free(r->key);
	free(r->ca);
	free(r);
}

static void on_again(void *arg)
{
	redis_connect(arg);
}

/* The connect took too long, or the oldest call. */
static void on_limit(void *arg)
{
	struct redis *r = arg;
	int64_t now = clock_monotonic_us();
	if (r->state != REDIS_READY || (r->first && now - r->first->deadline_us >= STUCK_US)) {
		redis_disconnect(r);
		return;
	}
	int64_t next = INT64_MAX;
	for (struct redis_call *c = r->first; c; c = c->next) {
		if (c->deadline_us > now) {
			next = MIN(next, c->deadline_us);
			break;
		}
		next = MIN(next, c->deadline_us + STUCK_US);
		redis_done *done = TAKE_PTR(c->done);
		if (done) {
			r->stats.unknown++;
			done(c->arg, REDIS_UNKNOWN, NULL);
		}
	}
	if (next != INT64_MAX)
		loop_timer_set(r->limit, (next - now) / 1000 + 1);
}

static char *copy_of(const char *text)
{
	return strdup(text ? text : "");
}

int redis_new(struct loop *l, const struct redis_options *o, struct redis **ret, struct error *e)
{
	struct redis *r = calloc(1, sizeof(*r));
	if (!r)
		return error_nomem(e);
	r->loop = l;
	r->refs = 1;
	r->fd = -1;
	r->last = &r->first;
	r->command_us = (o->command_ms > 0 ? o->command_ms : REDIS_COMMAND_MS) * 1000;
	buffer_init(&r->out, OUT_BYTES_MAX);
	r->address = copy_of(o->address);
	r->user = copy_of(o->user);
	r->password_file = copy_of(o->password_file);
	r->certificate = copy_of(o->certificate);
	r->key = copy_of(o->key);
	r->ca = copy_of(o->ca);
	r->buckets = calloc(1, sizeof(*r->buckets));
	if (!r->address || !r->user || !r->password_file || !r->certificate || !r->key || !r->ca || !r->buckets ||
	    loop_timer_new(l, on_again, r, &r->again) < 0 || loop_timer_new(l, on_limit, r, &r->limit) < 0) {
		unref(r);
		return error_nomem(e);
	}
	loop_timer_set(r->again, 0);
	*ret = r;
	return 0;
}

void redis_free(struct redis *r)
{
	if (!r)
		return;
	r->closing = true;
	redis_disconnect(r);
	loop_timer_cancel(r->again);
	unref(r);
}

void redis_renew(struct redis *r)
{
	r->backoff_ms = 0;
	loop_timer_cancel(r->again);
	redis_disconnect(r);
}

void redis_end_calls(struct redis *r)
{
	struct redis_call *c = r->first;
	r->first = NULL;
	r->last = &r->first;
	r->stats.in_flight = 0;
	while (c) {
		struct redis_call *next = c->next;
		if (c->done) {
			r->stats.unknown++;
			c->done(c->arg, REDIS_UNKNOWN, NULL);
		}
		free(c);
		c = next;
	}
}

bool redis_send(struct redis *r, int argc, const char *const *argv, const size_t *argv_bytes, redis_done *done,
		void *arg)
{
	if (r->stats.in_flight >= REDIS_IN_FLIGHT_MAX)
		return false;
	struct redis_call *c = calloc(1, sizeof(*c));
	char *text = NULL;
	/* hiredis takes the arrays without const, and leaves them alone */
	int n = c ? redisFormatCommandArgv(&text, argc, (const char **)(uintptr_t)argv, argv_bytes) : -1;
	bool ok = n > 0 && buffer_append(&r->out, text, (size_t)n) == 0;
	if (text) {
		/* the login's password is in it */
		OPENSSL_cleanse(text, (size_t)MAX(n, 0));
		redisFreeCommand(text);
	}
	if (!ok) {
		free(c);
		return false;
	}
	c->done = done;
	c->arg = arg;
	c->deadline_us = clock_monotonic_us() + r->command_us;
	if (!r->first && r->state == REDIS_READY)
		loop_timer_set(r->limit, r->command_us / 1000);
	*r->last = c;
	r->last = &c->next;
	r->stats.in_flight++;
	redis_flush(r);
	return true;
}

static void on_refused(void *arg)
{
	struct redis_call *c = arg;
	struct redis *r = c->redis;
	r->stats.unknown++;
	if (c->done)
		c->done(c->arg, REDIS_UNKNOWN, NULL);
	free(c);
	unref(r);
}

void redis_command(struct redis *r, int argc, const char *const *argv, const size_t *argv_bytes, redis_done *done,
		   void *arg)
{
	r->stats.commands++;
	if (r->state == REDIS_READY && redis_send(r, argc, argv, argv_bytes, done, arg))
		return;
	struct redis_call *c = calloc(1, sizeof(*c));
	if (!c)
		abort(); /* like loop_post(): what is promised to be called may not be lost */
	c->redis = r;
	c->done = done;
	c->arg = arg;
	r->refs++;
	loop_post(r->loop, on_refused, c);
}

static void ready(struct redis *r)
{
	r->state = REDIS_READY;
	r->backoff_ms = 0;
	r->stats.connected = true;
	r->stats.connects++;
	loop_timer_cancel(r->limit);
}

static void on_login(void *arg, enum redis_outcome outcome, const struct redisReply *reply _unused_)
{
	struct redis *r = arg;
	/* a refused login ends at the connect's time limit, which keeps the tries apart */
	if (outcome == REDIS_ANSWERED)
		ready(r);
}

/* The first line of the password file; false when it can't be read. The caller wipes it. */
static bool read_password(const char *path, char ret[PASSWORD_BYTES_MAX])
{
	_cleanup_(closep) int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd >= 0 ? read(fd, ret, PASSWORD_BYTES_MAX - 1) : -1;
	if (n <= 0)
		return false;
	ret[n] = '\0';
	ret[strcspn(ret, "\r\n")] = '\0';
	return true;
}

void redis_on_connected(struct redis *r)
{
	if (!*r->password_file) {
		ready(r);
		return;
	}
	char password[PASSWORD_BYTES_MAX];
	if (read_password(r->password_file, password)) {
		const char *argv[] = {"AUTH", *r->user ? r->user : "default", password};
		(void)!redis_send(r, 3, argv, NULL, on_login, r);
	}
	OPENSSL_cleanse(password, sizeof(password));
}

bool redis_on_replies(struct redis *r)
{
	for (;;) {
		void *found = NULL;
		if (redisReaderGetReply(r->reader, &found) != REDIS_OK)
			return false;
		if (!found)
			return true;
		redisReply *reply = found;
		struct redis_call *c = r->first;
		if (!c) {
			freeReplyObject(reply);
			return false;
		}
		r->first = c->next;
		if (!r->first)
			r->last = &r->first;
		r->stats.in_flight--;
		bool is_error = reply->type == REDIS_REPLY_ERROR;
		r->stats.refused += is_error;
		if (c->done)
			c->done(c->arg, is_error ? REDIS_REFUSED : REDIS_ANSWERED, reply);
		free(c);
		freeReplyObject(reply);
		if (!r->first && r->state == REDIS_READY)
			loop_timer_cancel(r->limit);
	}
}

void redis_stats(const struct redis *r, struct redis_stats *ret)
{
	*ret = r->stats;
}
