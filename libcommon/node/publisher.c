#include "node/publisher.h"

#include "base/clock.h"
#include "base/thread.h"
#include "domain/event.h"
#include "domain/lease.h"

#include <string.h>

/* Rows of one turn. */
#define DUE_MAX	    100
#define EXPIRED_MAX 100

/* A holder extends its lease in good time, who is not asks less often. */
#define LEASE_EXTEND_US ((int64_t)PUBLISHER_LEASE_MS * 1000 / 3)

/* What one lease covers: a kind of jobs, or the outbox. */
struct duty {
	bool on, is_held, is_failing;
	char lease[48];
	int64_t ask_us; /* when to take or extend the lease */
	struct bus_consumer *consumer;
};

#define OUTBOX JOB_KIND_MAX

struct publisher {
	struct db_pool *db;
	struct bus *bus;
	char *holder;
	pthread_t thread;
	struct duty duties[JOB_KIND_MAX + 1]; /* the thread's, but for `on` and `consumer` */
	pthread_mutex_t lock;
	pthread_cond_t wake;
	bool ending;		      /* under lock */
	struct publisher_stats stats; /* under lock */
};

static void count(struct publisher *p, uint64_t *counter, uint64_t by)
{
	(void)pthread_mutex_lock(&p->lock);
	*counter += by;
	(void)pthread_mutex_unlock(&p->lock);
}

static bool is_connected(struct publisher *p)
{
	struct bus_stats stats = {0};
	if (p->bus)
		bus_stats(p->bus, &stats);
	return stats.connected;
}

static int hold(struct publisher *p, struct duty *d, struct error *e)
{
	if (clock_monotonic_us() < d->ask_us)
		return 0;
	d->is_held = false;
	int r = lease_take(p->db, d->lease, p->holder, PUBLISHER_LEASE_MS, &d->is_held, e);
	/* who could not be asked is asked again with the next turn */
	if (r == 0)
		d->ask_us = clock_monotonic_us() + LEASE_EXTEND_US;
	return r;
}

static int publish_job(struct publisher *p, enum job_kind k, const struct job_due *due, struct error *e)
{
	char subject[BUS_SUBJECT_BYTES], id[JOB_MESSAGE_ID_BYTES], body[JOB_MESSAGE_BYTES];
	job_subject(k, due->region, &due->node, subject, sizeof(subject));
	job_message_id(due, id);
	struct bus_message m = {.stream = BUS_STREAM_JOBS, .subject = subject, .id = id, .trace = &due->trace};
	m.body = body;
	m.body_bytes = job_message(k, due, body);
	return bus_publish(p->bus, &m, e);
}

static int publish_jobs(struct publisher *p, enum job_kind k, struct error *e)
{
	struct job_due due[DUE_MAX];
	unsigned n = 0;
	uint64_t pending = 0;
	if (!is_connected(p))
		return 0;
	/* a backlog that nobody can say is none: the stream may have to be made by what is published */
	if (p->duties[k].consumer && bus_consumer_pending(p->duties[k].consumer, &pending, NULL) == 0 &&
	    pending >= PUBLISHER_PENDING_MAX)
		return 0;
	int r = job_publish_due(p->db, k, PUBLISHER_AGAIN_MS, due, DUE_MAX, &n, e);
	unsigned done = 0;
	while (r == 0 && done < n) {
		r = publish_job(p, k, &due[done], e);
		done += r == 0;
	}
	count(p, &p->stats.jobs_published, done);
	return r;
}

static int turn_kind(struct publisher *p, enum job_kind k, struct error *e)
{
	unsigned expired = 0;
	int r = job_expire_leases(p->db, k, EXPIRED_MAX, &expired, e);
	if (r == 0)
		r = job_watch_nodes(p->db, k, e);
	if (r == 0)
		r = publish_jobs(p, k, e);
	count(p, &p->stats.leases_expired, expired);
	return r;
}

static bool is_ending(struct publisher *p)
{
	(void)pthread_mutex_lock(&p->lock);
	bool ending = p->ending;
	(void)pthread_mutex_unlock(&p->lock);
	return ending;
}

static int turn_outbox(struct publisher *p, struct error *e)
{
	unsigned published = 0;
	int r = 0;
	if (!is_connected(p))
		return 0;
	do {
		r = event_outbox_turn(p->db, p->bus, &published, e);
		count(p, &p->stats.events_published, published);
	} while (r == 0 && published == EVENT_BATCH && !is_ending(p) &&
		 clock_monotonic_us() < p->duties[OUTBOX].ask_us);
	return r;
}

static void turn(struct publisher *p)
{
	for (unsigned i = 0; i <= JOB_KIND_MAX && !is_ending(p); i++) {
		struct duty *d = &p->duties[i];
		struct error e = {0};
		(void)pthread_mutex_lock(&p->lock);
		bool on = d->on;
		(void)pthread_mutex_unlock(&p->lock);
		if (!on)
			continue;
		int r = hold(p, d, &e);
		if (r == 0 && d->is_held)
			r = i == OUTBOX ? turn_outbox(p, &e) : turn_kind(p, (enum job_kind)i, &e);
		if (r < 0)
			count(p, &p->stats.failures, 1);
		/* said when it begins and when it ends, not every second */
		if (r < 0 && !d->is_failing)
			log_warning(NULL, "%s: %s", d->lease, e.text);
		else if (r == 0 && d->is_failing)
			log_info(NULL, "%s: goes on", d->lease);
		d->is_failing = r < 0;
	}
}

static void *publisher_main(void *arg)
{
	struct publisher *p = arg;
	while (!is_ending(p)) {
		turn(p);
		(void)pthread_mutex_lock(&p->lock);
		if (!p->ending)
			thread_wait(&p->wake, &p->lock, clock_monotonic_us() + PUBLISHER_TURN_MS * 1000);
		(void)pthread_mutex_unlock(&p->lock);
	}
	for (unsigned i = 0; i <= JOB_KIND_MAX; i++)
		if (p->duties[i].is_held)
			(void)!lease_drop(p->db, p->duties[i].lease, p->holder, NULL);
	return NULL;
}

int publisher_new(struct db_pool *db, struct bus *bus, const char *holder, struct publisher **ret, struct error *e)
{
	struct publisher *p = calloc(1, sizeof(*p));
	if (!p)
		return error_nomem(e);
	p->db = db;
	p->bus = bus;
	p->holder = strdup(holder);
	(void)pthread_mutex_init(&p->lock, NULL);
	thread_cond_init(&p->wake);
	int r = p->holder ? thread_start(&p->thread, "publisher", publisher_main, p, e) : error_nomem(e);
	if (r < 0) {
		(void)pthread_cond_destroy(&p->wake);
		(void)pthread_mutex_destroy(&p->lock);
		free(p->holder);
		free(p);
		return r;
	}
	*ret = p;
	return 0;
}

static void add(struct publisher *p, unsigned i, const char *name, struct bus_consumer *consumer)
{
	(void)pthread_mutex_lock(&p->lock);
	(void)snprintf(p->duties[i].lease, sizeof(p->duties[i].lease), "publisher:%s", name);
	p->duties[i].consumer = consumer;
	p->duties[i].on = true;
	(void)pthread_cond_signal(&p->wake);
	(void)pthread_mutex_unlock(&p->lock);
}

void publisher_add_kind(struct publisher *p, enum job_kind k, struct bus_consumer *consumer)
{
	add(p, k, job_kind_to_string(k), consumer);
}

void publisher_add_outbox(struct publisher *p)
{
	add(p, OUTBOX, "events", NULL);
}

void publisher_free(struct publisher *p)
{
	if (!p)
		return;
	(void)pthread_mutex_lock(&p->lock);
	p->ending = true;
	(void)pthread_cond_signal(&p->wake);
	(void)pthread_mutex_unlock(&p->lock);
	(void)pthread_join(p->thread, NULL);
	(void)pthread_cond_destroy(&p->wake);
	(void)pthread_mutex_destroy(&p->lock);
	free(p->holder);
	free(p);
}

void publisher_stats(struct publisher *p, struct publisher_stats *ret)
{
	(void)pthread_mutex_lock(&p->lock);
	*ret = p->stats;
	(void)pthread_mutex_unlock(&p->lock);
}
