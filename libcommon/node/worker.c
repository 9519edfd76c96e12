#include "node/worker.h"

#include "base/clock.h"
#include "node/worker_internal.h"

#include <assert.h>
#include <string.h>

#define POLL_MS	      2000
#define BEAT_AGAIN_US ((int64_t)2000000) /* after a beat that failed */

/* All jobs that are held now. Under lock. */
static size_t collect(struct worker *w, struct job_held *ret, size_t room)
{
	size_t n = 0;
	for (unsigned k = 0; k < JOB_KIND_MAX; k++) {
		struct worker_line *line = w->lines[k];
		for (unsigned i = 0; line && i < line->kind.slots && n < room; i++)
			if (line->slots[i].is_running)
				ret[n++] = (struct job_held){.id = line->slots[i].job.id,
							     .attempt = line->slots[i].job.attempt};
	}
	return n;
}

static void set_stop(struct job *j, enum job_stop to)
{
	if (j->stop < to)
		j->stop = to;
	j->is_stopping = j->stop != JOB_GO_ON;
}

/* What was not beaten is not ours any more. Under lock. */
static void cancel_lost(struct worker *w, const struct job_held *held, size_t n)
{
	for (unsigned k = 0; k < JOB_KIND_MAX; k++) {
		struct worker_line *line = w->lines[k];
		for (unsigned i = 0; line && i < line->kind.slots; i++) {
			struct worker_slot *s = &line->slots[i];
			for (size_t h = 0; s->is_running && h < n; h++)
				if (!held[h].is_ours && held[h].attempt == s->job.attempt &&
				    uuid_equal(&held[h].id, &s->job.id))
					set_stop(&s->job, JOB_CANCELLED);
		}
	}
}

/* One statement for the process; more only with more than JOB_BEAT_MAX jobs. */
static int beat(struct worker *w, struct job_held *held, size_t n, struct error *e)
{
	int r = 0;
	for (size_t at = 0; r == 0 && at < n; at += JOB_BEAT_MAX)
		r = job_beat(w->db, w->name, held + at, MIN(n - at, (size_t)JOB_BEAT_MAX), WORKER_LEASE_MS, e);
	return r;
}

void *worker_beat_main(void *arg)
{
	struct worker *w = arg;
	static_assert(JOB_KIND_MAX * WORKER_SLOTS_MAX <= 512, "the list of held jobs lies on the stack");
	struct job_held held[JOB_KIND_MAX * WORKER_SLOTS_MAX];
	int64_t next = clock_monotonic_us() + (int64_t)WORKER_BEAT_MS * 1000;
	(void)pthread_mutex_lock(&w->lock);
	/* jobs are beaten while a drain lets them finish, and until their slots' threads have ended */
	while (w->phase != WORKER_ENDING || w->busy > 0) {
		int64_t now = clock_monotonic_us();
		if (now < next) {
			thread_wait(&w->wake, &w->lock, next);
			continue;
		}
		size_t n = collect(w, held, ARRAY_SIZE(held));
		(void)pthread_mutex_unlock(&w->lock);
		struct error e = {0};
		int r = n > 0 ? beat(w, held, n, &e) : 0;
		if (r < 0)
			log_warning(NULL, "%zu leases could not be extended: %s", n, e.text);
		next = clock_monotonic_us() + (r < 0 ? BEAT_AGAIN_US : (int64_t)WORKER_BEAT_MS * 1000);
		(void)pthread_mutex_lock(&w->lock);
		if (r == 0)
			cancel_lost(w, held, n);
	}
	(void)pthread_mutex_unlock(&w->lock);
	return NULL;
}

/* Asks all handlers to end. Under lock. */
static void hand_back_all(struct worker *w)
{
	for (unsigned k = 0; k < JOB_KIND_MAX; k++)
		for (unsigned i = 0; w->lines[k] && i < w->lines[k]->kind.slots; i++)
			if (w->lines[k]->slots[i].is_running)
				set_stop(&w->lines[k]->slots[i].job, JOB_HAND_BACK);
}

static void on_finish_limit(void *arg)
{
	struct worker *w = arg;
	(void)pthread_mutex_lock(&w->lock);
	hand_back_all(w);
	(void)pthread_mutex_unlock(&w->lock);
}

int worker_new(const struct worker_options *o, struct worker **ret, struct error *e)
{
	struct worker *w = calloc(1, sizeof(*w));
	if (!w)
		return error_nomem(e);
	w->loop = o->loop;
	w->db = o->db;
	w->bus = o->bus;
	w->node = o->node;
	w->poll_us = (o->poll_ms > 0 ? o->poll_ms : POLL_MS) * 1000;
	(void)pthread_mutex_init(&w->lock, NULL);
	thread_cond_init(&w->wake);
	struct uuid unique = uuid_v4();
	int n = snprintf(w->name, sizeof(w->name), "%s#%02x%02x%02x%02x", o->identity, unique.b[0], unique.b[1],
			 unique.b[2], unique.b[3]);
	assert(n > 0 && (size_t)n < sizeof(w->name));
	w->region = strdup(o->region);
	int r = w->region ? loop_timer_new(w->loop, on_finish_limit, w, &w->finish) : ERR_NOMEM;
	if (r < 0)
		(void)error_nomem(e);
	if (r == 0)
		r = publisher_new(w->db, w->bus, w->name, &w->publisher, e);
	if (r == 0) {
		r = thread_start(&w->beat, "beat", worker_beat_main, w, e);
		w->is_beat_started = r == 0;
	}
	if (r < 0) {
		worker_free(w);
		return r;
	}
	*ret = w;
	return 0;
}

static int start_consumer(struct worker *w, struct worker_line *line, struct error *e)
{
	char durable[BUS_SUBJECT_BYTES], filter[BUS_SUBJECT_BYTES];
	enum job_kind k = line->kind.kind;
	job_durable(k, w->region, &w->node, durable, sizeof(durable));
	job_subject(k, w->region, &w->node, filter, sizeof(filter));
	struct bus_consumer_options o = {.stream = BUS_STREAM_JOBS, .durable = durable, .filter = filter};
	o.receive = worker_on_hint;
	o.arg = line;
	return bus_consumer_new(w->bus, &o, &line->consumer, e);
}

static void line_free(struct worker_line *line)
{
	if (!line)
		return;
	bus_consumer_free(line->consumer);
	free(line->slots);
	free(line);
}

/* Nobody has to wait for the leases of a process that held the own spool before this one. */
static int release_dead(struct worker *w, enum job_kind k, struct error *e)
{
	unsigned released = 0;
	if (uuid_is_zero(&w->node))
		return 0;
	int r = job_release_dead(w->db, k, w->name, &released, e);
	if (r == 0 && released > 0)
		log_info(NULL, "%u jobs of kind %s that an earlier process left running are queued again", released,
			 job_kind_to_string(k));
	return r;
}

int worker_add(struct worker *w, const struct worker_kind *k, struct error *e)
{
	assert(k->kind < JOB_KIND_MAX && !w->lines[k->kind]);
	if (k->slots == 0 || k->slots > WORKER_SLOTS_MAX)
		return error_set(e, ERR_REJECT, "%u slots for jobs of kind %s, want 1 to %d", k->slots,
				 job_kind_to_string(k->kind), WORKER_SLOTS_MAX);
	struct worker_line *line = calloc(1, sizeof(*line));
	if (!line)
		return error_nomem(e);
	line->worker = w;
	line->kind = *k;
	line->stats.slots = k->slots;
	line->slots = calloc(k->slots, sizeof(*line->slots));
	int r = line->slots ? 0 : error_nomem(e);
	if (r == 0)
		r = release_dead(w, k->kind, e);
	if (r == 0 && w->bus)
		r = start_consumer(w, line, e);
	if (r < 0) {
		line_free(line);
		return r;
	}
	publisher_add_kind(w->publisher, k->kind, line->consumer);
	(void)pthread_mutex_lock(&w->lock);
	w->lines[k->kind] = line;
	for (unsigned i = 0; i < k->slots && r == 0; i++) {
		line->slots[i].line = line;
		r = thread_start(&line->slots[i].thread, job_kind_to_string(k->kind), worker_slot_main, &line->slots[i],
				 e);
		line->slots[i].is_started = r == 0;
	}
	worker_want(line);
	(void)pthread_mutex_unlock(&w->lock);
	return r;
}

/* Whoever follows what is still being received may have long to go. Under lock. */
static void hand_back_early(struct worker *w)
{
	struct worker_line *line = w->lines[JOB_COPY];
	for (unsigned i = 0; line && i < line->kind.slots; i++)
		if (line->slots[i].is_running && line->slots[i].job.is_early)
			set_stop(&line->slots[i].job, JOB_HAND_BACK);
}

/* Takes no more: waiting hints go back to the broker. Under lock. */
static void stop_taking(struct worker *w)
{
	for (unsigned k = 0; k < JOB_KIND_MAX; k++) {
		struct worker_line *line = w->lines[k];
		if (!line)
			continue;
		while (line->n_hints > 0)
			bus_delivery_return(line->hints[--line->n_hints], 0);
		if (line->consumer)
			bus_consumer_stop(line->consumer);
	}
	(void)pthread_cond_broadcast(&w->wake);
}

void worker_drain(struct worker *w, loop_function *done, void *arg)
{
	(void)pthread_mutex_lock(&w->lock);
	w->phase = MAX(w->phase, WORKER_DRAINING);
	stop_taking(w);
	hand_back_early(w);
	if (w->busy == 0) {
		loop_post(w->loop, done, arg);
	} else {
		w->drained = done;
		w->drained_arg = arg;
	}
	(void)pthread_mutex_unlock(&w->lock);
	loop_timer_set(w->finish, WORKER_FINISH_MS);
}

static void stop_loop(void *arg)
{
	struct worker *w = arg;
	loop_stop(w->loop);
}

/* Handlers may wait for what the loop does (an HTTP client): it turns on until they have ended. */
static void turn_until_empty(struct worker *w)
{
	(void)pthread_mutex_lock(&w->lock);
	while (w->busy > 0) {
		w->drained = stop_loop;
		w->drained_arg = w;
		(void)pthread_mutex_unlock(&w->lock);
		loop_run(w->loop);
		(void)pthread_mutex_lock(&w->lock);
	}
	w->drained = NULL;
	(void)pthread_mutex_unlock(&w->lock);
}

void worker_free(struct worker *w)
{
	if (!w)
		return;
	(void)pthread_mutex_lock(&w->lock);
	w->phase = WORKER_ENDING;
	stop_taking(w);
	hand_back_all(w);
	(void)pthread_mutex_unlock(&w->lock);
	turn_until_empty(w);
	for (unsigned k = 0; k < JOB_KIND_MAX; k++)
		for (unsigned i = 0; w->lines[k] && i < w->lines[k]->kind.slots; i++)
			if (w->lines[k]->slots[i].is_started)
				(void)pthread_join(w->lines[k]->slots[i].thread, NULL);
	(void)pthread_mutex_lock(&w->lock);
	(void)pthread_cond_broadcast(&w->wake);
	(void)pthread_mutex_unlock(&w->lock);
	if (w->is_beat_started)
		(void)pthread_join(w->beat, NULL);
	publisher_free(w->publisher);
	for (unsigned k = 0; k < JOB_KIND_MAX; k++)
		line_free(w->lines[k]);
	loop_timer_free(w->finish);
	(void)pthread_cond_destroy(&w->wake);
	(void)pthread_mutex_destroy(&w->lock);
	free(w->region);
	free(w);
}

static void post_hint(struct bus *bus, const char *region, enum job_kind kind, const struct uuid *node,
		      const struct job_due *due, const char *id, const struct trace *trace)
{
	char subject[BUS_SUBJECT_BYTES], body[JOB_MESSAGE_BYTES];
	job_subject(kind, region, node, subject, sizeof(subject));
	struct bus_message m = {.stream = BUS_STREAM_JOBS, .subject = subject, .id = id, .trace = trace, .body = body};
	m.body_bytes = job_message(kind, due, body);
	(void)bus_post(bus, &m);
}

void worker_hint(struct bus *bus, const char *region, enum job_kind kind, const struct uuid *node,
		 const struct uuid *job, const struct trace *trace)
{
	char id[JOB_MESSAGE_ID_BYTES];
	/* publication 0: the publisher counts from 1 */
	struct job_due due = {.job = *job};
	job_message_id(&due, id);
	if (bus)
		post_hint(bus, region, kind, node, &due, id, trace);
}

void worker_hint_early(struct bus *bus, const char *region, const struct uuid *job, unsigned segment,
		       const struct trace *trace)
{
	char id[JOB_MESSAGE_ID_BYTES];
	struct job_due due = {.job = *job};
	job_early_message_id(job, segment, id);
	if (bus)
		post_hint(bus, region, JOB_COPY, NULL, &due, id, trace);
}

void worker_hint_rows(struct bus *bus, const char *region, const struct db_result *rows, const struct trace *trace)
{
	for (size_t i = 0; i < db_rows(rows); i++) {
		struct uuid job, node = {0};
		enum job_kind kind = job_kind_from_string(db_text(rows, i, 1));
		(void)!db_uuid(rows, i, 2, &node);
		if (kind < JOB_KIND_MAX && db_uuid(rows, i, 0, &job))
			worker_hint(bus, region, kind, &node, &job, trace);
	}
}

void worker_stats(struct worker *w, enum job_kind kind, struct worker_stats *ret)
{
	(void)pthread_mutex_lock(&w->lock);
	*ret = w->lines[kind] ? w->lines[kind]->stats : (struct worker_stats){0};
	(void)pthread_mutex_unlock(&w->lock);
}

static json_t *slot_debug(const struct worker_slot *s)
{
	static const char *const stops[] = {"go-on", "hand-back", "cancelled"};
	char job[UUID_TEXT_BYTES], recording[UUID_TEXT_BYTES];
	uuid_format(&s->job.id, job);
	uuid_format(&s->job.recording, recording);
	return json_pack("{s:s, s:s, s:s, s:i, s:I, s:s}", "kind", job_kind_to_string(s->job.kind), "job", job,
			 "recording", recording, "attempt", (int)s->job.attempt, "ms",
			 (json_int_t)(clock_monotonic_us() - s->since_us) / 1000, "stop", stops[s->job.stop]);
}

json_t *worker_debug(struct worker *w)
{
	json_t *list = json_array();
	(void)pthread_mutex_lock(&w->lock);
	for (unsigned k = 0; k < JOB_KIND_MAX; k++)
		for (unsigned i = 0; w->lines[k] && i < w->lines[k]->kind.slots; i++)
			if (w->lines[k]->slots[i].is_running)
				(void)json_array_append_new(list, slot_debug(&w->lines[k]->slots[i]));
	(void)pthread_mutex_unlock(&w->lock);
	return list;
}
