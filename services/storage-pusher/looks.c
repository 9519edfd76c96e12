#include "looks.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/thread.h"
#include "domain/second_look.h"
#include "node/slice.h"

#include <stdatomic.h>
#include <string.h>

/* After a failure of ours, so that a database that is away is not asked in a tight circle. */
#define PAUSE_US     ((int64_t)2000000)
#define BACKLOG_US   ((int64_t)30000000)
#define WORKER_BYTES 300

struct looks {
	struct looks_options o;
	char worker[WORKER_BYTES];
	struct metric *looked_total;
	struct metric_series *open, *overdue_s;
	pthread_t threads[LOOKS_SLOTS_MAX];
	unsigned n_threads;
	_Atomic bool is_stopping;
	pthread_mutex_t lock;
	pthread_cond_t wake; /* of is_stopping */
	/* under the lock */
	unsigned n_running;
	uint64_t n_looked, n_found, n_failed;
	int64_t backlog_due_us;
	char trouble[ERROR_TEXT_BYTES];
};

static const char *text_of(const json_t *object, const char *name)
{
	return json_string_value(json_object_get(object, name));
}

static bool is_stopped(void *arg)
{
	struct looks *l = arg;
	return l->is_stopping;
}

static int no_upload(void *arg _unused_, const char *upload _unused_, struct error *e)
{
	return error_set(e, ERR_FATAL, "a removal began an upload");
}

/* The removal once more: what it meets came late. */
static int look(struct looks *l, json_t *work, json_t **ret_answer, struct error *e)
{
	const struct delivery_watch watch = {no_upload, is_stopped, l};
	const char *account = text_of(work, "account");
	bool clean = false;
	json_t *message = json_pack("{s:s, s:{s:O}}", "op", "delete", "context", "copy", json_object_get(work, "copy"));
	int r = delivery_run(l->o.deliveries, account ? account : "", json_object_get(work, "target"), message, &watch,
			     ret_answer, &clean, e);
	return r;
}

/* What became of it, in the database. If that is away the lease runs out, and somebody looks again. */
static void settle(struct looks *l, json_t *work, int result, const json_t *answer, const struct error *reason)
{
	struct db_pool *db = platform_db(l->o.platform);
	struct error e = {0};
	json_t *copy = json_object_get(work, "copy");
	struct log_context ctx = {.recording = text_of(work, "recording"), .copy = text_of(copy, "id")};
	const char *kind = text_of(json_object_get(work, "target"), "kind");
	bool found = result == 0 && json_is_true(json_object_get(answer, "found"));
	int r = result == 0 ? second_look_done(db, work, found, json_object_get(answer, "evidence"), &e)
			    : second_look_failed(db, work, reason, &e);
	if (found)
		log_warning(&ctx, "a look after the removal found the copy at its target again, and removed it");
	if (result < 0)
		log_warning(&ctx, "a look after the removal failed and is tried again: %s", reason->text);
	if (r < 0)
		log_warning(&ctx, "the end of a look cannot be recorded: %s", e.text);
	metric_count(l->looked_total, kind ? kind : "",
		     result < 0 ? error_code_to_string(result)
		     : found	? "found"
				: "clean");
	(void)pthread_mutex_lock(&l->lock);
	l->n_looked++;
	l->n_found += found;
	l->n_failed += result < 0;
	(void)pthread_mutex_unlock(&l->lock);
}

/* Takes and does one. ERR_NOTFOUND: none is due. */
static int turn(struct looks *l, struct error *e)
{
	json_t *work = NULL, *answer = NULL;
	struct error reason = {0};
	const char *region = platform_config(l->o.platform)->region;
	int r = second_look_take(platform_db(l->o.platform), region, l->worker, &work, e);
	if (r < 0)
		return r;
	r = look(l, work, &answer, &reason);
	settle(l, work, r, answer, &reason);
	json_decref(answer);
	json_decref(work);
	return 0;
}

/* By whichever thread comes first. */
static void show_backlog(struct looks *l)
{
	uint64_t open = 0;
	double overdue_s = 0;
	struct error ignored = {0};
	int64_t now = clock_monotonic_us();
	(void)pthread_mutex_lock(&l->lock);
	bool is_due = now >= l->backlog_due_us;
	if (is_due)
		l->backlog_due_us = now + BACKLOG_US;
	(void)pthread_mutex_unlock(&l->lock);
	if (!is_due || second_look_backlog(platform_db(l->o.platform), &open, &overdue_s, &ignored) < 0)
		return;
	metric_set(l->open, (double)open);
	metric_set(l->overdue_s, overdue_s);
}

static void note_trouble(struct looks *l, const char *text)
{
	(void)pthread_mutex_lock(&l->lock);
	bool had = l->trouble[0] != '\0';
	(void)snprintf(l->trouble, sizeof(l->trouble), "%s", text);
	(void)pthread_mutex_unlock(&l->lock);
	if (text[0] && !had)
		log_warning(NULL, "second looks at targets are held up: %s", text);
	else if (!text[0] && had)
		log_info(NULL, "second looks at targets go on");
}

static bool rest(struct looks *l, int64_t us)
{
	int64_t end = clock_monotonic_us() + us;
	(void)pthread_mutex_lock(&l->lock);
	while (!l->is_stopping && clock_monotonic_us() < end)
		thread_wait(&l->wake, &l->lock, end);
	(void)pthread_mutex_unlock(&l->lock);
	return !l->is_stopping;
}

static void *thread_main(void *arg)
{
	struct looks *l = arg;
	int64_t pause_us = l->o.every_ms * 1000;
	while (rest(l, pause_us)) {
		struct error e = {0};
		/* a look that comes too early by a clock that jumped would see nothing */
		int r = slice_gate(platform_db(l->o.platform), platform_metrics(l->o.platform), &e);
		show_backlog(l);
		while (r == 0 && !l->is_stopping)
			r = turn(l, &e);
		bool is_trouble = r < 0 && r != ERR_NOTFOUND;
		note_trouble(l, is_trouble ? e.text : "");
		pause_us = is_trouble ? MAX(PAUSE_US, l->o.every_ms * 1000) : l->o.every_ms * 1000;
	}
	(void)pthread_mutex_lock(&l->lock);
	l->n_running--;
	(void)pthread_mutex_unlock(&l->lock);
	return NULL;
}

int looks_new(const struct looks_options *o, struct looks **ret, struct error *e)
{
	static const char *const labels[] = {"target", "result", NULL};
	struct metrics *m = platform_metrics(o->platform);
	struct looks *l = calloc(1, sizeof(*l));
	if (!l)
		return error_nomem(e);
	*ret = l;
	l->o = *o;
	(void)pthread_mutex_init(&l->lock, NULL);
	thread_cond_init(&l->wake);
	(void)snprintf(l->worker, sizeof(l->worker), "%s#%d", platform_identity(o->platform), (int)getpid());
	l->looked_total = metrics_counter(m, "rushes_pusher_looks_total",
					  "Second looks at targets for what was removed, by their end: clean, found "
					  "(something came late and is removed), or the error's class",
					  labels);
	l->open = metric_series(metrics_gauge(m, "rushes_pusher_looks_open",
					      "Removed copies at targets that are still "
					      "to be looked for again",
					      NULL),
				NULL);
	l->overdue_s = metric_series(metrics_gauge(m, "rushes_pusher_looks_overdue_seconds",
						   "How long the oldest second look is overdue", NULL),
				     NULL);
	int r = 0;
	for (unsigned i = 0; i < MIN(o->slots, LOOKS_SLOTS_MAX) && r == 0; i++) {
		(void)pthread_mutex_lock(&l->lock);
		r = thread_start(&l->threads[i], "look", thread_main, l, e);
		l->n_running += r == 0;
		l->n_threads += r == 0;
		(void)pthread_mutex_unlock(&l->lock);
	}
	return r;
}

void looks_stop(struct looks *l)
{
	if (!l)
		return;
	(void)pthread_mutex_lock(&l->lock);
	l->is_stopping = true;
	(void)pthread_cond_broadcast(&l->wake);
	(void)pthread_mutex_unlock(&l->lock);
}

bool looks_are_running(struct looks *l)
{
	if (!l)
		return false;
	(void)pthread_mutex_lock(&l->lock);
	bool running = l->n_running > 0;
	(void)pthread_mutex_unlock(&l->lock);
	return running;
}

json_t *looks_debug(void *looks)
{
	struct looks *l = looks;
	(void)pthread_mutex_lock(&l->lock);
	json_t *o = json_pack("{s:i, s:I, s:I, s:I, s:s*}", "running", (int)l->n_running, "looked",
			      (json_int_t)l->n_looked, "found", (json_int_t)l->n_found, "failed",
			      (json_int_t)l->n_failed, "trouble", l->trouble[0] ? l->trouble : NULL);
	(void)pthread_mutex_unlock(&l->lock);
	return o;
}

void looks_free(struct looks *l)
{
	if (!l)
		return;
	looks_stop(l);
	for (unsigned i = 0; i < l->n_threads; i++)
		(void)pthread_join(l->threads[i], NULL);
	(void)pthread_cond_destroy(&l->wake);
	(void)pthread_mutex_destroy(&l->lock);
	free(l);
}
