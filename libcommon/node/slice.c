#include "node/slice.h"

#include "base/clock.h"
#include "base/log.h"

#include <inttypes.h>
#include <string.h>

int slice_gate(struct db_pool *db, struct error *e)
{
	static const struct db_statement st = {
	    "slice_gate", "SELECT state, (extract(epoch FROM now) * 1000000)::bigint FROM rushes.service_gate()", 0};
	_cleanup_(db_result_freep) struct db_result *rows = NULL;
	int64_t before = clock_wall_us();
	int r = db_run(db, &st, NULL, &rows, e);
	if (r < 0)
		return r;
	if (db_rows(rows) != 1 || strcmp(db_text(rows, 0, 0), "open") != 0)
		return error_set(e, ERR_RETRY,
				 "the installation is being restored; `rushesctl restore reconcile` opens it");
	int64_t theirs = db_int(rows, 0, 1);
	int64_t skew_ms = theirs < before ? (before - theirs) / 1000 : MAX(theirs - clock_wall_us(), 0) / 1000;
	if (skew_ms > SLICE_CLOCK_SKEW_MS)
		return error_set(e, ERR_DENIED,
				 "this clock and PostgreSQL's differ by %" PRId64
				 " ms: nothing is deleted until they agree",
				 skew_ms);
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
	int r = slice_gate(db, e);
	if (r == 0)
		r = look_at_brakes(db, slice, metrics, e);
	for (size_t n = SLICE_BATCH; r == 0 && n >= SLICE_BATCH;) {
		char limit[DB_INT_BYTES];
		_cleanup_(db_result_freep) struct db_result *rows = NULL;
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
