#include "sweep.h"

#include "base/log.h"
#include "node/slice.h"

/* Rows of one statement: few enough to hold their locks shortly. */
#define BATCH	 500
#define FIRST_MS 5000

struct sweep {
	struct platform *platform;
	struct loop_timer *timer;
	struct metric *removed;
	int64_t every_ms;
	bool running, stopped, freed;
	/* of one run, filled on the pool */
	int64_t n;
	struct error error;
};

static const struct db_statement sweep_sql = {"link_sweep", "SELECT rushes.link_sweep($1::integer)", 1};

static void work(void *arg)
{
	struct sweep *s = arg;
	char batch[DB_INT_BYTES];
	int64_t n = BATCH;
	s->n = 0;
	s->error = (struct error){0};
	if (slice_gate(platform_db(s->platform), platform_metrics(s->platform), &s->error) < 0)
		return;
	while (n == BATCH) {
		_cleanup_(db_result_freep) struct db_result *rows = NULL;
		const char *params[] = {db_param_int(BATCH, batch)};
		if (db_run(platform_db(s->platform), &sweep_sql, params, &rows, &s->error) < 0)
			return;
		n = db_int(rows, 0, 0);
		s->n += n;
	}
}

static void done(void *arg)
{
	struct sweep *s = arg;
	if (s->freed) {
		free(s);
		return;
	}
	s->running = false;
	if (s->n > 0) {
		log_info(NULL, "%lld links went with their sessions by the rule link-expired", (long long)s->n);
		metric_add(metric_series(s->removed, NULL), (double)s->n);
	}
	if (s->error.code != 0)
		log_warning(NULL, "sweep for expired links: %s", s->error.text);
	if (!s->stopped)
		loop_timer_set(s->timer, s->every_ms);
}

static void begin(void *arg)
{
	struct sweep *s = arg;
	s->running = pool_submit(platform_pool(s->platform), work, done, s) == 0;
	if (!s->running)
		loop_timer_set(s->timer, FIRST_MS);
}

int sweep_new(struct platform *p, int64_t every_ms, struct sweep **ret, struct error *e)
{
	struct sweep *s = calloc(1, sizeof(*s));
	if (!s || loop_timer_new(platform_loop(p), begin, s, &s->timer) < 0) {
		free(s);
		return error_nomem(e);
	}
	s->platform = p;
	s->every_ms = every_ms;
	s->removed = metrics_counter(platform_metrics(p), "rushes_linkgen_links_removed_total",
				     "Links that the rule link-expired took.", NULL);
	loop_timer_set(s->timer, MIN(every_ms, FIRST_MS));
	*ret = s;
	return 0;
}

void sweep_stop(struct sweep *s)
{
	if (!s)
		return;
	s->stopped = true;
	loop_timer_cancel(s->timer);
}

void sweep_free(struct sweep *s)
{
	if (!s)
		return;
	loop_timer_free(s->timer);
	s->freed = true;
	if (!s->running)
		free(s);
}
