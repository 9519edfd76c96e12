#include "node/platform_internal.h"

#include <assert.h>

/* A counter of a module, carried over into a metric: the difference since the last time is added. */
struct carried {
	struct metric_series *series;
	double last;
};

enum {
	DB_STATEMENTS,
	DB_FAILURES,
	DB_SECONDS,
	DB_CONNECTS,
	DB_CONNECT_FAILURES,
	BUS_PUBLISHED,
	BUS_FAILURES,
	BUS_RECEIVED,
	BUS_HEALS,
	REDIS_COMMANDS,
	REDIS_REFUSALS,
	REDIS_UNKNOWNS,
	REDIS_LOCAL_LIMITS,
	OUTBOX_EVENTS,
	COUNTERS_MAX
};

enum {
	JOBS_DONE,
	JOBS_FAILED,
	JOBS_HANDED_BACK,
	JOBS_CANCELLED,
	JOBS_BY_HINT,
	JOBS_BY_POLL,
	JOBS_STALE,
	JOB_COUNTERS_MAX
};

struct platform_counters {
	struct carried plain[COUNTERS_MAX];
	struct carried jobs[JOB_KIND_MAX][JOB_COUNTERS_MAX];
	struct metric_series *running[JOB_KIND_MAX];
	struct metric_series *db_leased, *db_waiting, *db_connections, *bus_connected, *redis_connected;
};

static const struct {
	const char *name, *help;
} plain_names[COUNTERS_MAX] = {
    {"rushes_db_statements_total", "Statements sent to PostgreSQL"},
    {"rushes_db_statement_failures_total", "Statements that failed"},
    {"rushes_db_statement_seconds_total", "Time spent waiting for statements"},
    {"rushes_db_connects_total", "Connections made to PostgreSQL"},
    {"rushes_db_connect_failures_total", "Connections to PostgreSQL that could not be made"},
    {"rushes_bus_published_total", "Messages that a stream acknowledged"},
    {"rushes_bus_publish_failures_total", "Messages that no stream acknowledged"},
    {"rushes_bus_received_total", "Messages received"},
    {"rushes_bus_heals_total", "Consumers made or found again"},
    {"rushes_redis_commands_total", "Commands for Redis"},
    {"rushes_redis_refused_total", "Commands that Redis refused"},
    {"rushes_redis_unknown_total", "Commands without an answer in time"},
    {"rushes_redis_limits_local_total", "Rate limits decided without Redis"},
    {"rushes_outbox_events_total", "Events published from the outbox"},
};

static const char *const job_outcomes[JOB_COUNTERS_MAX] = {"done",	"failed",	   "handed-back",
							   "cancelled", "claimed-by-hint", "claimed-by-poll",
							   "stale-hint"};

static struct metric_series *gauge(struct metrics *m, const char *name, const char *help)
{
	return metric_series(metrics_gauge(m, name, help, NULL), NULL);
}

int platform_counters_new(struct platform *p, struct platform_counters **ret, struct error *e)
{
	static const char *const job_labels[] = {"kind", "what", NULL};
	static const char *const kind_label[] = {"kind", NULL};
	struct platform_counters *c = calloc(1, sizeof(*c));
	if (!c)
		return error_nomem(e);
	struct metrics *m = p->metrics;
	for (unsigned i = 0; i < COUNTERS_MAX; i++)
		c->plain[i].series =
		    metric_series(metrics_counter(m, plain_names[i].name, plain_names[i].help, NULL), NULL);
	struct metric *jobs =
	    metrics_counter(m, "rushes_jobs_total", "Jobs of this process by what happened", job_labels);
	struct metric *running = metrics_gauge(m, "rushes_jobs_running", "Jobs that run now", kind_label);
	for (unsigned k = 0; p->worker && k < JOB_KIND_MAX; k++) {
		const char *kind = job_kind_to_string((enum job_kind)k);
		struct worker_stats s;
		worker_stats(p->worker, (enum job_kind)k, &s);
		if (s.slots == 0)
			continue;
		c->running[k] = metric_series(running, (const char *const[]){kind});
		for (unsigned i = 0; i < JOB_COUNTERS_MAX; i++)
			c->jobs[k][i].series = metric_series(jobs, (const char *const[]){kind, job_outcomes[i]});
	}
	c->db_connections = gauge(m, "rushes_db_connections", "Connections to PostgreSQL");
	c->db_leased = gauge(m, "rushes_db_connections_leased", "Connections in use");
	c->db_waiting = gauge(m, "rushes_db_waiting", "Threads that wait for a connection");
	c->bus_connected = gauge(m, "rushes_bus_connected", "1 while connected to the broker");
	c->redis_connected = gauge(m, "rushes_redis_connected", "1 while connected to Redis");
	*ret = c;
	return 0;
}

void platform_counters_free(struct platform_counters *c)
{
	free(c);
}

static void carry(struct carried *c, double now)
{
	metric_add(c->series, now > c->last ? now - c->last : 0);
	c->last = now;
}

static void update_jobs(struct platform *p, struct platform_counters *c)
{
	for (unsigned k = 0; k < JOB_KIND_MAX; k++) {
		if (!c->running[k])
			continue;
		struct worker_stats s;
		worker_stats(p->worker, (enum job_kind)k, &s);
		const uint64_t values[JOB_COUNTERS_MAX] = {s.done,	 s.failed,	    s.handed_back,
							   s.cancelled,	 s.claimed_by_hint, s.claimed_by_poll,
							   s.hints_stale};
		metric_set(c->running[k], s.running);
		for (unsigned i = 0; i < JOB_COUNTERS_MAX; i++)
			carry(&c->jobs[k][i], (double)values[i]);
	}
}

void platform_counters_update(struct platform *p)
{
	struct platform_counters *c = p->counters;
	/* made late, so that the worker's kinds are known */
	if (!c && platform_counters_new(p, &p->counters, NULL) < 0)
		return;
	c = p->counters;
	struct db_pool_stats db;
	struct bus_stats bus = {0};
	struct redis_stats redis = {0};
	struct publisher_stats outbox = {0};
	db_pool_stats(p->db, &db);
	if (p->bus)
		bus_stats(p->bus, &bus);
	if (p->redis)
		redis_stats(p->redis, &redis);
	if (p->outbox)
		publisher_stats(p->outbox, &outbox);
	const double values[COUNTERS_MAX] = {
	    (double)db.statements,	  (double)db.statement_failures,  (double)db.statement_us / 1e6,
	    (double)db.connects,	  (double)db.connect_failures,	  (double)bus.published,
	    (double)bus.publish_failures, (double)bus.received,		  (double)bus.heals,
	    (double)redis.commands,	  (double)redis.refused,	  (double)redis.unknown,
	    (double)redis.limits_local,	  (double)outbox.events_published};
	for (unsigned i = 0; i < COUNTERS_MAX; i++)
		carry(&c->plain[i], values[i]);
	metric_set(c->db_connections, db.connections);
	metric_set(c->db_leased, db.leased);
	metric_set(c->db_waiting, db.waiting);
	metric_set(c->bus_connected, bus.connected);
	metric_set(c->redis_connected, redis.connected);
	if (p->worker)
		update_jobs(p, c);
}

json_t *platform_state(void *arg)
{
	struct platform *p = arg;
	struct db_pool_stats db;
	struct bus_stats bus = {0};
	struct redis_stats redis = {0};
	unsigned waiting = 0, running = 0;
	db_pool_stats(p->db, &db);
	if (p->bus)
		bus_stats(p->bus, &bus);
	if (p->redis)
		redis_stats(p->redis, &redis);
	pool_load(p->pool, &waiting, &running);
	return json_pack("{s:s, s:s, s:{s:b, s:i, s:i, s:i}, s:{s:b, s:I}, s:{s:b, s:i}, s:{s:i, s:i}}", "identity",
			 p->identity, "phase", service_phase_to_string(service_phase(p->service)), "database",
			 "reachable", db.reachable, "connections", (int)db.connections, "leased", (int)db.leased,
			 "waiting", (int)db.waiting, "bus", "connected", bus.connected, "heals", (json_int_t)bus.heals,
			 "redis", "connected", redis.connected, "in_flight", (int)redis.in_flight, "pool", "waiting",
			 (int)waiting, "running", (int)running);
}
