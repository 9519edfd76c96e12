#include "store/db.h"

#include "base/clock.h"
#include "base/thread.h"
#include "store/db_internal.h"

#include <assert.h>
#include <poll.h>
#include <string.h>

#define BACKOFF_MIN_US 100000
#define BACKOFF_MAX_US 2000000

struct db_pool {
	char *conninfo;
	char *application_name;
	unsigned limit;
	int64_t acquire_us, connect_us, statement_us, max_age_us, silent_us;

	pthread_mutex_t lock;
	pthread_cond_t wake;
	struct db *idle; /* protected by lock, as all below; the one used last is first */
	unsigned total;	 /* leased, idle and being made */
	unsigned leased, waiting, generation;
	bool connecting; /* after a failure only one thread at a time tries */
	bool fails_fast;
	unsigned asking;   /* questions that have no answer yet */
	int64_t asked_us;  /* the first question since the last answer; 0: none */
	int64_t failed_us; /* when the last question ended without one */
	bool was_silent;   /* since the last answer; connections of before are not used */
	int64_t backoff_us, next_connect_us;
	char last_error[ERROR_TEXT_BYTES];
	struct db_pool_stats stats;
};

static int64_t limit_us(int64_t ms, int64_t initial_ms)
{
	return (ms > 0 ? ms : initial_ms) * 1000;
}

int db_pool_new(const struct db_pool_options *o, struct db_pool **ret, struct error *e)
{
	assert(o->conninfo);
	struct db_pool *p = calloc(1, sizeof(*p));
	if (!p)
		return error_nomem(e);
	p->limit = o->connections ? o->connections : 8;
	p->acquire_us = limit_us(o->acquire_ms, 5000);
	p->connect_us = limit_us(o->connect_ms, 3000);
	p->statement_us = limit_us(o->statement_ms, 15000);
	p->max_age_us = limit_us(o->max_age_ms, 600000);
	p->silent_us = limit_us(o->silent_ms, 3000);
	p->fails_fast = o->fails_fast;
	(void)pthread_mutex_init(&p->lock, NULL);
	thread_cond_init(&p->wake);
	p->conninfo = strdup(o->conninfo);
	p->application_name = strdup(o->application_name ? o->application_name : "rushes");
	if (!p->conninfo || !p->application_name) {
		db_pool_free(p);
		return error_nomem(e);
	}
	*ret = p;
	return 0;
}

void db_pool_free(struct db_pool *p)
{
	if (!p)
		return;
	assert(p->leased == 0);
	while (p->idle) {
		struct db *d = p->idle;
		p->idle = d->next_idle;
		db_close(d);
	}
	(void)pthread_cond_destroy(&p->wake);
	(void)pthread_mutex_destroy(&p->lock);
	free(p->conninfo);
	free(p->application_name);
	free(p);
}

void db_pool_renew(struct db_pool *p)
{
	(void)pthread_mutex_lock(&p->lock);
	p->generation++;
	(void)pthread_mutex_unlock(&p->lock);
}

void db_pool_stats(struct db_pool *p, struct db_pool_stats *ret)
{
	(void)pthread_mutex_lock(&p->lock);
	*ret = p->stats;
	ret->connections = p->total;
	ret->leased = p->leased;
	ret->waiting = p->waiting;
	(void)pthread_mutex_unlock(&p->lock);
}

void db_pool_count(struct db_pool *p, int64_t took_us, bool failed, bool lost)
{
	(void)pthread_mutex_lock(&p->lock);
	p->stats.statements++;
	p->stats.statement_us += (uint64_t)MAX(took_us, 0);
	p->stats.statement_failures += failed;
	p->stats.reachable = !lost;
	(void)pthread_mutex_unlock(&p->lock);
}

/* A silence in which nobody asked any more says nothing of now. */
static int64_t silence_holds_us(const struct db_pool *p)
{
	return 2 * p->silent_us;
}

/* Under the lock, as the next two. */
static void ask(struct db_pool *p)
{
	int64_t now = clock_monotonic_us();
	bool is_stale = p->asking == 0 && now - p->failed_us > silence_holds_us(p);
	if (!p->asked_us || is_stale)
		p->asked_us = now;
	p->asking++;
}

static void hear(struct db_pool *p, bool is_answered)
{
	assert(p->asking > 0);
	p->asking--;
	if (!is_answered) {
		p->failed_us = clock_monotonic_us();
		return;
	}
	p->asked_us = p->asking > 0 ? clock_monotonic_us() : 0;
	p->was_silent = false;
}

static bool is_silent(const struct db_pool *p)
{
	int64_t now = clock_monotonic_us();
	bool is_asked = p->asking > 0 || now - p->failed_us <= silence_holds_us(p);
	return p->asked_us && is_asked && now - p->asked_us >= p->silent_us;
}

void db_pool_ask(struct db_pool *p)
{
	(void)pthread_mutex_lock(&p->lock);
	ask(p);
	(void)pthread_mutex_unlock(&p->lock);
}

void db_pool_hear(struct db_pool *p, bool is_answered)
{
	(void)pthread_mutex_lock(&p->lock);
	hear(p, is_answered);
	(void)pthread_mutex_unlock(&p->lock);
}

bool db_pool_is_silent(struct db_pool *p)
{
	(void)pthread_mutex_lock(&p->lock);
	bool silent = is_silent(p);
	(void)pthread_mutex_unlock(&p->lock);
	return silent;
}

/* An idle connection has nothing to read: what is readable is the server's farewell or its end. A setting that the
 * server announces looks the same and costs a connection, no more. */
static bool is_alive(struct db *d)
{
	struct pollfd fd = {.fd = PQsocket(d->pg), .events = POLLIN};
	return poll(&fd, 1, 0) == 0 && PQstatus(d->pg) == CONNECTION_OK;
}

static bool is_current(const struct db_pool *p, const struct db *d)
{
	return d->generation == p->generation && clock_monotonic_us() - d->made_us < p->max_age_us;
}

/* Under the lock. Closing a connection is a send without waiting, short enough. */
static struct db *take_idle(struct db_pool *p)
{
	while (p->idle) {
		struct db *d = p->idle;
		p->idle = d->next_idle;
		d->next_idle = NULL;
		if (is_current(p, d) && is_alive(d))
			return d;
		p->total--;
		db_close(d);
	}
	return NULL;
}

/* Under the lock, which it gives up while it connects. */
static int connect_one(struct db_pool *p, int64_t deadline_us, struct db **ret, struct error *e)
{
	unsigned generation = p->generation;
	p->total++;
	p->connecting = true;
	ask(p);
	(void)pthread_mutex_unlock(&p->lock);
	int64_t left = MIN(p->connect_us, MAX(deadline_us - clock_monotonic_us(), 1000));
	int r = db_open(p->conninfo, p->application_name, left, p->statement_us, ret, e);
	(void)pthread_mutex_lock(&p->lock);
	p->connecting = false;
	p->stats.reachable = r == 0;
	hear(p, r != ERR_RETRY);
	if (r == 0) {
		(*ret)->pool = p;
		(*ret)->generation = generation;
		p->stats.connects++;
		p->backoff_us = 0;
		p->next_connect_us = 0;
	} else {
		p->total--;
		p->stats.connect_failures++;
		p->backoff_us = p->backoff_us ? MIN(2 * p->backoff_us, BACKOFF_MAX_US) : BACKOFF_MIN_US;
		p->next_connect_us = clock_monotonic_us() + p->backoff_us;
		(void)snprintf(p->last_error, sizeof(p->last_error), "%s", e->text);
	}
	(void)pthread_cond_broadcast(&p->wake);
	return r;
}

static void wait_until(struct db_pool *p, int64_t deadline_us)
{
	p->waiting++;
	thread_wait(&p->wake, &p->lock, deadline_us);
	p->waiting--;
}

/* Under the lock. Nothing tells whether a connection of before the silence will ever be answered. */
static bool refuses_to_wait(struct db_pool *p)
{
	bool silent = p->fails_fast && is_silent(p);
	if (silent && !p->was_silent) {
		p->was_silent = true;
		p->generation++;
	}
	return silent;
}

static int no_connection(struct db_pool *p, struct error *e)
{
	p->stats.acquire_timeouts++;
	if (p->fails_fast && is_silent(p))
		return error_set(e, ERR_RETRY, "the database has answered nobody for %lld ms",
				 (long long)(clock_monotonic_us() - p->asked_us) / 1000);
	if (p->backoff_us)
		return error_set(e, ERR_RETRY, "database not reachable for %lld ms: %s",
				 (long long)p->acquire_us / 1000, p->last_error);
	return error_set(e, ERR_RETRY, "all %u database connections were in use for %lld ms", p->limit,
			 (long long)p->acquire_us / 1000);
}

int db_acquire(struct db_pool *p, struct db **ret, struct error *e)
{
	int64_t deadline = clock_monotonic_us() + p->acquire_us;
	int r = ERR_RETRY;
	struct db *d = NULL;
	(void)pthread_mutex_lock(&p->lock);
	for (;;) {
		bool silent = refuses_to_wait(p);
		d = take_idle(p);
		if (d) {
			r = 0;
			break;
		}
		int64_t now = clock_monotonic_us();
		if (now >= deadline) {
			r = no_connection(p, e);
			break;
		}
		bool may_connect = p->total < p->limit && !((p->backoff_us || silent) && p->connecting);
		if (may_connect && now >= p->next_connect_us) {
			struct error reason = {0};
			r = connect_one(p, deadline, &d, &reason);
			if (r == 0)
				break;
			if (r != ERR_RETRY) {
				(void)error_set(e, r, "%s", reason.text);
				break;
			}
			continue;
		}
		if (silent) {
			r = no_connection(p, e);
			break;
		}
		wait_until(p, may_connect ? MIN(deadline, p->next_connect_us) : deadline);
	}
	if (r == 0)
		p->leased++;
	(void)pthread_mutex_unlock(&p->lock);
	if (r == 0) {
		d->sqlstate[0] = '\0';
		*ret = d;
	}
	return r;
}

void db_release(struct db *d)
{
	if (!d)
		return;
	struct db_pool *p = d->pool;
	bool keep = db_reset(d);
	(void)pthread_mutex_lock(&p->lock);
	assert(p->leased > 0);
	p->leased--;
	keep = keep && is_current(p, d);
	if (keep) {
		d->next_idle = p->idle;
		p->idle = d;
	} else {
		p->total--;
	}
	(void)pthread_cond_signal(&p->wake);
	(void)pthread_mutex_unlock(&p->lock);
	if (!keep)
		db_close(d);
}

int db_run(struct db_pool *p, const struct db_statement *st, const char *const *params, struct db_result **ret,
	   struct error *e)
{
	_cleanup_(db_releasep) struct db *d = NULL;
	int r = db_acquire(p, &d, e);
	if (r < 0)
		return error_wrap(e, "statement %s", st->name);
	return db_query(d, st, params, ret, e);
}
