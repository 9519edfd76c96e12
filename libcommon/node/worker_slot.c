#include "base/clock.h"
#include "node/worker_internal.h"

#include <string.h>

/* Claims that fail, and lines that may not take: asked again after this. */
#define PAUSE_US     ((int64_t)2000000)
#define RETURN_MS    1000
#define REPORT_US    ((int64_t)1000000)
#define HELD_BACK_MS 5000

enum settled { SETTLED_DONE, SETTLED_FAILED, SETTLED_HANDED_BACK, SETTLED_CANCELLED };

void worker_want(struct worker_line *line)
{
	if (!line->consumer)
		return;
	unsigned idle = 0;
	for (unsigned i = 0; i < line->kind.slots; i++)
		idle += !line->slots[i].is_busy;
	bool taking = line->worker->phase == WORKER_TAKING;
	bus_consumer_want(line->consumer, taking && idle > line->n_hints ? idle - line->n_hints : 0);
}

void worker_on_hint(void *arg, struct bus_delivery *d)
{
	struct worker_line *line = arg;
	struct worker *w = line->worker;
	(void)pthread_mutex_lock(&w->lock);
	bool take = w->phase == WORKER_TAKING && line->n_hints < line->kind.slots;
	if (take) {
		line->hints[line->n_hints++] = d;
		(void)pthread_cond_broadcast(&w->wake);
	}
	(void)pthread_mutex_unlock(&w->lock);
	if (!take)
		bus_delivery_return(d, RETURN_MS);
}

/* A quarter around the interval, so that processes don't poll in step. */
static int64_t jittered(int64_t us)
{
	struct uuid random = uuid_v4();
	return us - us / 4 + us / 2 * random.b[0] / 256;
}

/* Waits for a hint or the line's next poll. False: the worker takes no more. Under lock. */
static bool next_work(struct worker_line *line, struct bus_delivery **ret_hint)
{
	struct worker *w = line->worker;
	while (w->phase == WORKER_TAKING) {
		if (line->n_hints > 0) {
			*ret_hint = line->hints[0];
			memmove(&line->hints[0], &line->hints[1], --line->n_hints * sizeof(line->hints[0]));
			return true;
		}
		int64_t now = clock_monotonic_us();
		if (now >= line->next_poll_us) {
			line->next_poll_us = now + jittered(w->poll_us);
			*ret_hint = NULL;
			return true;
		}
		thread_wait(&w->wake, &w->lock, line->next_poll_us);
	}
	return false;
}

static void pause_line(struct worker_line *line)
{
	struct worker *w = line->worker;
	(void)pthread_mutex_lock(&w->lock);
	line->stats.claim_failures++;
	line->next_poll_us = clock_monotonic_us() + jittered(MAX(w->poll_us, PAUSE_US));
	(void)pthread_mutex_unlock(&w->lock);
}

/* The hint's job; false: acknowledged and forgotten, it is no message of ours. */
static bool read_hint(struct worker_line *line, struct bus_delivery *d, struct uuid *ret)
{
	struct error e = {0};
	if (job_message_parse(d->body, d->body_bytes, line->kind.kind, ret, &e) == 0)
		return true;
	log_warning(NULL, "a message on %s is no job, dropped: %s", d->subject, e.text);
	bus_delivery_ack(d);
	return false;
}

static int claim(struct worker_line *line, const struct uuid *hint, bool due, bool early, struct job *ret,
		 struct error *e)
{
	struct worker *w = line->worker;
	struct job_claim c = {.hint = hint,
			      .kind = line->kind.kind,
			      .region = w->region,
			      .worker = w->name,
			      .node = &w->node,
			      .lease_ms = WORKER_LEASE_MS,
			      .due = due,
			      .early = early};
	return job_claim(w->db, &c, ret, e);
}

/* The message is acknowledged when the claim is committed, or when there is nothing left to claim. */
static bool take(struct worker_line *line, struct bus_delivery *d, struct job *ret)
{
	struct uuid hinted;
	struct error e = {0};
	if (d && !read_hint(line, d, &hinted))
		return false;
	bool due = !line->kind.may_take || line->kind.may_take(line->kind.state);
	bool early = line->kind.may_take_early && line->kind.may_take_early(line->kind.state);
	if (!due && !early) {
		if (d)
			bus_delivery_return(d, HELD_BACK_MS);
		pause_line(line);
		return false;
	}
	int r = claim(line, d ? &hinted : NULL, due, early, ret, &e);
	bool is_hinted = r == 0 && d && uuid_equal(&hinted, &ret->id);
	/* the job may be due, and this process may only not take it now */
	if (d && !due && !is_hinted)
		bus_delivery_return(d, HELD_BACK_MS);
	else if (d && (r == 0 || r == ERR_NOTFOUND))
		bus_delivery_ack(d);
	else if (d)
		bus_delivery_return(d, RETURN_MS);
	if (r < 0 && r != ERR_NOTFOUND) {
		log_warning(NULL, "cannot claim a job of kind %s: %s", job_kind_to_string(line->kind.kind), e.text);
		pause_line(line);
	}
	(void)pthread_mutex_lock(&line->worker->lock);
	line->stats.claimed_by_hint += is_hinted;
	line->stats.claimed_by_poll += r == 0 && !is_hinted;
	line->stats.hints_stale += d && !is_hinted;
	(void)pthread_mutex_unlock(&line->worker->lock);
	return r == 0;
}

static bool is_ending(struct worker *w)
{
	(void)pthread_mutex_lock(&w->lock);
	bool ending = w->phase == WORKER_ENDING;
	(void)pthread_mutex_unlock(&w->lock);
	return ending;
}

/* Says what became of the job; tries again for as long as the lease holds while the database is away. After that the
 * lease runs out by itself. */
static int report(struct worker *w, struct job *j, enum settled how, bool never, const struct error *reason,
		  bool *ret_is_final, struct error *e)
{
	int64_t deadline = clock_monotonic_us() + (int64_t)WORKER_LEASE_MS * 1000;
	for (;;) {
		int r = how == SETTLED_HANDED_BACK ? job_hand_back(w->db, j, "the worker leaves", e)
						   : job_failed(w->db, j, reason, never, ret_is_final, e);
		if (r != ERR_RETRY || clock_monotonic_us() >= deadline || is_ending(w))
			return r;
		(void)usleep(REPORT_US);
	}
}

static enum settled settle(struct worker *w, struct job *j, int result, struct error *reason)
{
	char id[UUID_TEXT_BYTES], recording[UUID_TEXT_BYTES];
	uuid_format(&j->id, id);
	uuid_format(&j->recording, recording);
	struct log_context ctx = {.job = id, .recording = recording, .trace = &j->trace};
	const char *kind = job_kind_to_string(j->kind);
	struct error e = {0};
	bool is_final = false;
	if (result == 0) {
		log_info(&ctx, "%s, attempt %u: done", kind, j->attempt);
		return SETTLED_DONE;
	}
	if (job_stop(j) == JOB_CANCELLED) {
		log_info(&ctx, "%s, attempt %u: cancelled", kind, j->attempt);
		return SETTLED_CANCELLED;
	}
	enum settled how = job_stop(j) == JOB_HAND_BACK ? SETTLED_HANDED_BACK : SETTLED_FAILED;
	if (reason->code == 0)
		(void)error_set(reason, result, "no reason was given");
	int r = report(w, j, how, result == ERR_REJECT, reason, &is_final, &e);
	if (r == ERR_CONFLICT || r == ERR_CANCELLED || r == ERR_NOTFOUND) {
		log_info(&ctx, "%s, attempt %u: no longer ours: %s", kind, j->attempt, e.text);
		return SETTLED_CANCELLED;
	}
	if (r < 0)
		log_error(&ctx, "%s, attempt %u: its end cannot be recorded and is left to the lease: %s", kind,
			  j->attempt, e.text);
	if (how == SETTLED_HANDED_BACK)
		log_info(&ctx, "%s, attempt %u: handed back", kind, j->attempt);
	else
		log_warning(&ctx, "%s, attempt %u: failed%s: %s", kind, j->attempt,
			    is_final ? " for good" : ", to be tried again", reason->text);
	return how;
}

static void work(struct worker_slot *s, const struct job *claimed)
{
	struct worker_line *line = s->line;
	struct worker *w = line->worker;
	(void)pthread_mutex_lock(&w->lock);
	s->job.id = claimed->id;
	s->job.account = claimed->account;
	s->job.recording = claimed->recording;
	s->job.node = claimed->node;
	s->job.kind = claimed->kind;
	s->job.attempt = claimed->attempt;
	s->job.is_early = claimed->is_early;
	s->job.trace = claimed->trace;
	bool is_late = w->phase == WORKER_ENDING || (claimed->is_early && w->phase == WORKER_DRAINING);
	s->job.stop = is_late ? JOB_HAND_BACK : JOB_GO_ON;
	s->job.is_stopping = is_late;
	s->since_us = clock_monotonic_us();
	s->is_running = true;
	line->stats.running++;
	(void)pthread_mutex_unlock(&w->lock);

	struct error reason = {0};
	int r = line->kind.run(&s->job, line->kind.state, &reason);
	enum settled how = settle(w, &s->job, r, &reason);

	(void)pthread_mutex_lock(&w->lock);
	s->is_running = false;
	line->stats.running--;
	line->stats.done += how == SETTLED_DONE;
	line->stats.failed += how == SETTLED_FAILED;
	line->stats.handed_back += how == SETTLED_HANDED_BACK;
	line->stats.cancelled += how == SETTLED_CANCELLED;
	/* there may be more that is due */
	line->next_poll_us = 0;
	(void)pthread_mutex_unlock(&w->lock);
}

void *worker_slot_main(void *arg)
{
	struct worker_slot *s = arg;
	struct worker_line *line = s->line;
	struct worker *w = line->worker;
	struct bus_delivery *hint = NULL;
	(void)pthread_mutex_lock(&w->lock);
	while (next_work(line, &hint)) {
		s->is_busy = true;
		w->busy++;
		worker_want(line);
		(void)pthread_mutex_unlock(&w->lock);
		struct job claimed;
		if (take(line, hint, &claimed))
			work(s, &claimed);
		(void)pthread_mutex_lock(&w->lock);
		s->is_busy = false;
		w->busy--;
		worker_want(line);
		if (w->busy == 0 && w->drained) {
			loop_post(w->loop, w->drained, w->drained_arg);
			w->drained = NULL;
		}
	}
	(void)pthread_mutex_unlock(&w->lock);
	return NULL;
}
