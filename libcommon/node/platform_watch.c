#include "node/platform_internal.h"

#include "base/clock.h"
#include "base/log.h"
#include "store/migrate.h"

#include <string.h>

#define WAIT_US	      ((int64_t)60000000)
#define WAIT_AGAIN_US 1000000
#define LOOK_MS	      3000

/* Lives until its last look came back, which may be after the platform. */
struct platform_watch {
	struct platform *platform; /* NULL: gone */
	struct db_pool *db;
	struct loop_timer *timer;
	bool is_looking;
	int outcome; /* written on the pool's thread while is_looking */
	struct error error;
	platform_gate_look *gate_look; /* of the look that is running or next, or NULL */
	void *gate_arg;
	platform_gate_look *held_look; /* the loop's: while the start is held */
	struct metric_series *restoring;
	/* the loop's */
	bool is_reachable, is_closed, is_held;
	char why[ERROR_TEXT_BYTES];
};

/* 0 when the database answers and its gate is open. ERR_FATAL: it answers that services must not work. */
static int look(struct db_pool *db, struct error *e)
{
	static const struct db_statement st = {"service_gate", "SELECT state, why FROM rushes.service_gate()", 0};
	_cleanup_(db_result_freep) struct db_result *rows = NULL;
	int r = db_run(db, &st, NULL, &rows, e);
	if (r == 0 && (db_rows(rows) == 0 || strcmp(db_text(rows, 0, 0), "open") != 0))
		r = error_set(e, ERR_FATAL, "restoring: %s; nothing works before `rushesctl restore reconcile`",
			      db_rows(rows) && db_text(rows, 0, 1) ? db_text(rows, 0, 1) : "no installation");
	return r;
}

int platform_watch_wait(struct platform *p, struct error *e)
{
	int64_t deadline = clock_monotonic_us() + WAIT_US;
	for (;;) {
		int r = schema_version_check(p->db, e);
		if (r != ERR_RETRY || clock_monotonic_us() >= deadline)
			return r;
		log_warning(NULL, "waiting for the database: %s", e->text);
		(void)usleep(WAIT_AGAIN_US);
	}
}

static void look_on_pool(void *arg)
{
	struct platform_watch *w = arg;
	struct error e = {0};
	if (w->gate_look && w->gate_look(w->gate_arg, &e) < 0)
		log_debug(NULL, "the gate: %s", e.text);
	w->error = (struct error){0};
	w->outcome = look(w->db, &w->error);
}

static void destroy(struct platform_watch *w)
{
	loop_timer_free(w->timer);
	free(w);
}

/* Tells when the gate closes or opens, or its reason changes. */
static void follow_gate(struct platform_watch *w)
{
	bool closed = w->outcome == ERR_FATAL;
	if (closed && (!w->is_closed || strcmp(w->why, w->error.text) != 0))
		log_error(NULL, "ALARM: %s", w->error.text);
	else if (!closed && w->is_closed)
		log_info(NULL, "the gate is open");
	(void)snprintf(w->why, sizeof(w->why), "%s", closed ? w->error.text : "");
	w->is_closed = closed;
	metric_set(w->restoring, closed);
}

static void on_looked(void *arg)
{
	struct platform_watch *w = arg;
	w->is_looking = false;
	if (!w->platform) {
		destroy(w);
		return;
	}
	if (w->outcome == 0 || w->outcome == ERR_FATAL)
		follow_gate(w);
	bool reachable = w->outcome == 0 || w->outcome == ERR_FATAL;
	if (reachable != w->is_reachable)
		log_write(reachable ? LOG_LEVEL_INFO : LOG_LEVEL_WARNING, NULL, "database: %s",
			  reachable ? "reachable" : w->error.text);
	w->is_reachable = reachable;
	if (w->is_held && w->outcome == 0)
		service_go_on(w->platform->service);
	else if (w->outcome == ERR_FATAL && !w->is_held)
		service_fail(w->platform->service, &w->error);
}

static void on_timer(void *arg)
{
	struct platform_watch *w = arg;
	if (!w->is_looking) {
		w->gate_look = w->held_look;
		w->is_looking = pool_submit(w->platform->pool, look_on_pool, on_looked, w) == 0;
	}
	platform_counters_update(w->platform);
	loop_timer_set(w->timer, LOOK_MS);
}

int platform_watch_new(struct platform *p, struct platform_watch **ret, struct error *e)
{
	struct platform_watch *w = calloc(1, sizeof(*w));
	if (!w || loop_timer_new(p->loop, on_timer, w, &w->timer) < 0) {
		free(w);
		return error_nomem(e);
	}
	w->platform = p;
	w->db = p->db;
	w->is_reachable = true; /* platform_watch_wait() found it so */
	w->restoring =
	    metric_series(metrics_gauge(p->metrics, "rushes_restoring",
					"1 while the database is restored and not reconciled: nothing works.", NULL),
			  NULL);
	loop_timer_set(w->timer, LOOK_MS);
	*ret = w;
	return 0;
}

void platform_watch_free(struct platform_watch *w)
{
	if (!w)
		return;
	loop_timer_cancel(w->timer);
	w->platform = NULL;
	if (!w->is_looking)
		destroy(w);
}

bool platform_watch_ready(const struct platform_watch *w, const char **ret_why)
{
	if (!w->is_reachable)
		*ret_why = "database";
	else if (w->is_closed)
		*ret_why = w->why;
	return w->is_reachable && !w->is_closed;
}

/* The loop does not run yet, so the first look may block here. A database that is away meanwhile is waited for as a
 * closed gate is. */
int platform_gate(struct platform *p, platform_gate_look *gate_look, void *arg, struct error *e)
{
	struct platform_watch *w = p->watch;
	w->gate_look = gate_look;
	w->gate_arg = arg;
	look_on_pool(w);
	int r = w->outcome;
	if (r == 0)
		return 0;
	if (r != ERR_FATAL && r != ERR_RETRY)
		return error_set(e, r, "%s", w->error.text);
	w->is_reachable = r == ERR_FATAL;
	if (r == ERR_FATAL)
		follow_gate(w);
	w->held_look = gate_look;
	w->is_held = true;
	r = service_hold(p->service, e);
	w->is_held = false;
	w->held_look = NULL;
	return r;
}
