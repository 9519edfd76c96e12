#include "node/slice.h"

#include "base/clock.h"
#include "base/log.h"

#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <string.h>

#define BOOT_FILE     "/proc/sys/kernel/random/boot_id"
#define TIME_FILE     "/proc/self/ns/time"
#define MACHINE_BYTES 160
/* An answer that took longer says nothing about clocks: the count is of another moment. */
#define ANSWER_US_MAX ((int64_t)5000000)

enum refusal { REFUSAL_CLOCKS_DIFFER, REFUSAL_CLOCK_JUMPED, REFUSAL_RESTORING, REFUSAL_MAX };

static const char *const refusals[REFUSAL_MAX] = {"clocks-differ", "clock-jumped", "restoring"};

static void show(struct metrics *metrics, enum refusal refusal)
{
	static const char *const labels[] = {"reason", NULL};
	struct metric *m = metrics_gauge(
	    metrics, "rushes_retention_refused",
	    "1 while this process deletes nothing by dates, by reason: clocks-differ, clock-jumped, restoring.",
	    labels);
	for (enum refusal i = 0; i < REFUSAL_MAX; i++)
		metric_set(metric_series(m, (const char *const[]){refusals[i]}), i == refusal);
}

static pthread_once_t machine_once = PTHREAD_ONCE_INIT;
static char machine_text[MACHINE_BYTES];

/* Whose count it is: a boot of this machine, and the offset that a container may have on it. Without the kernel's word
 * a name of this process' own. */
static void read_machine(void)
{
	char boot[64] = "", space[64] = "", process[UUID_TEXT_BYTES];
	_cleanup_(closep) int fd = open(BOOT_FILE, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, boot, sizeof(boot) - 1);
	ssize_t m = readlink(TIME_FILE, space, sizeof(space) - 1);
	boot[n > 0 ? strcspn(boot, "\n") : 0] = '\0';
	space[m > 0 ? m : 0] = '\0';
	struct uuid own = uuid_v4();
	uuid_format(&own, process);
	(void)snprintf(machine_text, sizeof(machine_text), "%s %s", boot[0] ? boot : process, space);
}

struct gate {
	bool is_open, is_steady, is_jumped;
	int64_t now_us; /* PostgreSQL's */
	char reason[400];
	int64_t before_us, after_us; /* this machine's wall clock around the question */
	int64_t took_us;
};

static int ask(struct db_pool *db, bool sure, struct gate *ret, struct error *e)
{
	static const struct db_statement st = {
	    "sweep_gate",
	    "SELECT state, clock, reason, (extract(epoch FROM now) * 1000000)::bigint"
	    " FROM rushes.sweep_gate($1, $2::bigint, $3::boolean)",
	    3};
	_cleanup_(db_result_freep) struct db_result *rows = NULL;
	char counted[DB_INT_BYTES];
	(void)pthread_once(&machine_once, read_machine);
	int64_t begin_us = clock_monotonic_us();
	ret->before_us = clock_wall_us();
	const char *params[] = {machine_text, db_param_int(clock_boottime_us(), counted), db_param_bool(sure)};
	int r = db_run(db, &st, params, &rows, e);
	if (r < 0)
		return r;
	ret->after_us = clock_wall_us();
	ret->took_us = clock_monotonic_us() - begin_us;
	if (db_rows(rows) != 1)
		return error_set(e, ERR_CORRUPT, "the gate of the sweeps gives no answer");
	ret->is_open = strcmp(db_text(rows, 0, 0), "open") == 0;
	ret->is_steady = strcmp(db_text(rows, 0, 1), "steady") == 0;
	ret->is_jumped = strcmp(db_text(rows, 0, 1), "jumped") == 0;
	(void)snprintf(ret->reason, sizeof(ret->reason), "%s", db_null(rows, 0, 2) ? "" : db_text(rows, 0, 2));
	ret->now_us = db_int(rows, 0, 3);
	return 0;
}

int slice_gate(struct db_pool *db, struct metrics *metrics, struct error *e)
{
	struct gate g = {0};
	int r = ask(db, false, &g, e);
	if (r == 0 && g.is_jumped && g.took_us > ANSWER_US_MAX)
		return error_set(e, ERR_RETRY, "PostgreSQL answers too slowly to compare clocks with it");
	/* a jump is an alarm: asked once more, over a connection that is there now, and then written down */
	if (r == 0 && g.is_jumped)
		r = ask(db, true, &g, e);
	if (r < 0)
		return r;
	if (!g.is_open) {
		show(metrics, REFUSAL_RESTORING);
		return error_set(e, ERR_RETRY,
				 "the installation is being restored; `rushesctl restore reconcile` opens it");
	}
	int64_t skew_ms =
	    g.now_us < g.before_us ? (g.before_us - g.now_us) / 1000 : MAX(g.now_us - g.after_us, 0) / 1000;
	if (skew_ms > SLICE_CLOCK_SKEW_MS) {
		show(metrics, REFUSAL_CLOCKS_DIFFER);
		return error_set(e, ERR_DENIED,
				 "this clock and PostgreSQL's differ by %" PRId64
				 " ms: nothing is deleted until they agree",
				 skew_ms);
	}
	if (!g.is_steady) {
		show(metrics, REFUSAL_CLOCK_JUMPED);
		return error_set(e, ERR_DENIED,
				 "%s: nothing is deleted until the clock agrees again or a person confirms it "
				 "(rushesctl retention confirm '*' --place clock)",
				 g.reason);
	}
	show(metrics, REFUSAL_MAX);
	return 0;
}

/* Rules that want too much at once by dates that moved are paused until a person confirms. */
static int look_at_brakes(struct db_pool *db, const char *slice, struct metrics *metrics, struct error *e)
{
	static const struct db_statement st = {"sweep_brakes",
					       "SELECT rule, place, wanted FROM rushes.sweep_brakes($1)", 1};
	static const char *const labels[] = {"rule", NULL};
	_cleanup_(db_result_freep) struct db_result *rows = NULL;
	int r = db_run(db, &st, (const char *[]){slice}, &rows, e);
	if (r < 0)
		return r;
	struct metric *braked = metrics_counter(metrics, "rushes_retention_braked_total",
						"Times that a brake paused a rule of this service's slice.", labels);
	for (size_t i = 0; i < db_rows(rows); i++) {
		log_error(
		    NULL,
		    "ALARM: rule %s is paused on %s: it wants %s at once by dates that moved earlier within a day; "
		    "`rushesctl retention confirm` lets it go on",
		    db_text(rows, i, 0), db_text(rows, i, 1), db_text(rows, i, 2));
		metric_count(braked, db_text(rows, i, 0));
	}
	return 0;
}

int slice_sweep(struct db_pool *db, const char *slice, struct metrics *metrics, unsigned *ret_decided, struct error *e)
{
	static const struct db_statement st = {
	    "sweep_decide", "SELECT copy, recording, rule, place FROM rushes.sweep_decide($1, $2::integer)", 2};
	static const char *const labels[] = {"rule", NULL};
	struct metric *decided = metrics_counter(metrics, "rushes_retention_decided_total",
						 "Copies that a rule of this service's slice turned going.", labels);
	*ret_decided = 0;
	int r = slice_gate(db, metrics, e);
	for (size_t n = SLICE_BATCH; r == 0 && n >= SLICE_BATCH;) {
		char limit[DB_INT_BYTES];
		_cleanup_(db_result_freep) struct db_result *rows = NULL;
		/* before every batch: dates may move while it sweeps */
		r = look_at_brakes(db, slice, metrics, e);
		if (r < 0)
			break;
		r = db_run(db, &st, (const char *[]){slice, db_param_int(SLICE_BATCH, limit)}, &rows, e);
		if (r < 0)
			break;
		n = db_rows(rows);
		for (size_t i = 0; i < n; i++) {
			/* without a copy it is the whole recording */
			struct log_context ctx = {.copy = db_text(rows, i, 0), .recording = db_text(rows, i, 1)};
			log_info(&ctx, "rule %s takes the %s", db_text(rows, i, 2), db_text(rows, i, 3));
			metric_count(decided, db_text(rows, i, 2));
		}
		*ret_decided += (unsigned)n;
	}
	return r;
}
