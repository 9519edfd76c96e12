#include "duty.h"

#include "base/clock.h"
#include "base/log.h"

struct duty {
	const struct duty_definition *definition;
	struct platform *platform;
	struct loop_timer *timer;
	struct metric *runs, *done;
	struct metric_series *last_success;
	bool running, stopped, freed;
	uint64_t n_runs, n_failures, n_done;
	int64_t last_end_us; /* monotonic */
	/* of the run, written on the pool while `running` */
	uint64_t n;
	struct error error;
	struct error last_error;
};

static void work(void *arg)
{
	struct duty *d = arg;
	d->n = 0;
	d->error = (struct error){0};
	(void)d->definition->run(d->definition->arg, &d->n, &d->error);
}

static void report(struct duty *d)
{
	const char *name = d->definition->name;
	bool failed = d->error.code != 0;
	metric_count(d->runs, name, failed ? "failed" : "done");
	metric_add(metric_series(d->done, (const char *const[]){name}), (double)d->n);
	if (!failed)
		metric_set(d->last_success, (double)clock_wall_us() / 1e6);
	/* the same trouble is told once, and its end */
	if (failed && d->last_error.code != d->error.code)
		log_warning(NULL, "%s: %s", name, d->error.text);
	else if (!failed && d->last_error.code != 0)
		log_info(NULL, "%s: works again", name);
	d->last_error = d->error;
	d->n_runs++;
	d->n_failures += failed;
	d->n_done += d->n;
	d->last_end_us = clock_monotonic_us();
}

static void ended(void *arg)
{
	struct duty *d = arg;
	d->running = false;
	if (d->freed) {
		free(d);
		return;
	}
	report(d);
	if (!d->stopped)
		loop_timer_set(d->timer, d->definition->every_ms);
}

static void begin(void *arg)
{
	struct duty *d = arg;
	d->running = pool_submit(platform_pool(d->platform), work, ended, d) == 0;
	/* a full pool: later */
	if (!d->running)
		loop_timer_set(d->timer, d->definition->every_ms);
}

int duty_new(struct platform *p, const struct duty_definition *definition, struct duty **ret, struct error *e)
{
	static const char *const run_labels[] = {"duty", "outcome", NULL};
	static const char *const labels[] = {"duty", NULL};
	struct metrics *m = platform_metrics(p);
	struct duty *d = calloc(1, sizeof(*d));
	if (!d || loop_timer_new(platform_loop(p), begin, d, &d->timer) < 0) {
		free(d);
		return error_nomem(e);
	}
	d->definition = definition;
	d->platform = p;
	d->runs = metrics_counter(m, "rushes_janitor_runs_total", "Runs of each duty, by outcome.", run_labels);
	d->done = metrics_counter(m, "rushes_janitor_done_total", "Things that each duty did.", labels);
	d->last_success = metric_series(metrics_gauge(m, "rushes_janitor_last_success_seconds",
						      "Unix time of each duty's last run without an error.", labels),
					(const char *const[]){definition->name});
	loop_timer_set(d->timer, definition->first_ms);
	*ret = d;
	return 0;
}

void duty_stop(struct duty *d)
{
	if (!d)
		return;
	d->stopped = true;
	loop_timer_cancel(d->timer);
}

bool duty_is_running(const struct duty *d)
{
	return d && d->running;
}

json_t *duty_state(const struct duty *d)
{
	double ago = d->n_runs ? (double)(clock_monotonic_us() - d->last_end_us) / 1e6 : -1;
	return json_pack("{s:b, s:I, s:I, s:I, s:o, s:s?}", "running", (int)d->running, "runs", (json_int_t)d->n_runs,
			 "failures", (json_int_t)d->n_failures, "done", (json_int_t)d->n_done, "last_run_s_ago",
			 d->n_runs ? json_real(ago) : json_null(), "last_error",
			 d->last_error.code ? d->last_error.text : NULL);
}

void duty_free(struct duty *d)
{
	if (!d)
		return;
	loop_timer_free(d->timer);
	d->freed = true;
	/* the end of a run may still wait on the loop */
	if (!d->running)
		free(d);
}
