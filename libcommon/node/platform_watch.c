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
	bool is_reachable; /* the loop's */
};

/* 0 when the database answers and its gate is open. ERR_FATAL: it answers that services must not work. */
static int look(struct db_pool *db, struct error *e)
{
	static const struct db_statement st = {"service_gate", "SELECT state FROM rushes.service_gate()", 0};
	_cleanup_(db_result_freep) struct db_result *rows = NULL;
	int r = db_run(db, &st, NULL, &rows, e);
	if (r == 0 && (db_rows(rows) == 0 || strcmp(db_text(rows, 0, 0), "open") != 0))
		r = error_set(e, ERR_FATAL,
			      "the database was restored and is not reconciled: no service works before "
			      "rushesctl restore reconcile");
	return r;
}

int platform_watch_wait(struct platform *p, struct error *e)
{
	int64_t deadline = clock_monotonic_us() + WAIT_US;
	for (;;) {
		int r = schema_version_check(p->db, e);
		if (r == 0)
			r = look(p->db, e);
		if (r != ERR_RETRY || clock_monotonic_us() >= deadline)
			return r;
		log_warning(NULL, "waiting for the database: %s", e->text);
		(void)usleep(WAIT_AGAIN_US);
	}
}

static void look_on_pool(void *arg)
{
	struct platform_watch *w = arg;
	w->error = (struct error){0};
	w->outcome = look(w->db, &w->error);
}

static void destroy(struct platform_watch *w)
{
	loop_timer_free(w->timer);
	free(w);
}

static void on_looked(void *arg)
{
	struct platform_watch *w = arg;
	w->is_looking = false;
	if (!w->platform) {
		destroy(w);
		return;
	}
	bool reachable = w->outcome == 0;
	if (reachable != w->is_reachable)
		log_write(reachable ? LOG_LEVEL_INFO : LOG_LEVEL_WARNING, NULL, "database: %s",
			  reachable ? "reachable" : w->error.text);
	w->is_reachable = reachable;
	if (w->outcome == ERR_FATAL)
		service_fail(w->platform->service, &w->error);
}

static void on_timer(void *arg)
{
	struct platform_watch *w = arg;
	if (!w->is_looking)
		w->is_looking = pool_submit(w->platform->pool, look_on_pool, on_looked, w) == 0;
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
	return w->is_reachable;
}
