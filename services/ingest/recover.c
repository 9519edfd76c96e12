#include "recover.h"

#include "base/log.h"
#include "intake.h"
#include "node/slice.h"
#include "node/worker.h"
#include "recording_rows.h"
#include "tails.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

/* What the journal keeps of segments that are no longer open, as the database answered after they were kept, is
 * nobody's.
 */
static void forget_others(const struct recover_options *o, const struct db_result *rows, const struct uuid *kept,
			  size_t n_kept)
{
	for (size_t k = 0; k < n_kept; k++) {
		bool is_open = false;
		for (size_t i = 0; i < db_rows(rows) && !is_open; i++) {
			struct uuid copy;
			is_open = db_uuid(rows, i, 2, &copy) && uuid_equal(&copy, &kept[k]);
		}
		if (!is_open)
			journal_forget(o->host->journal, &kept[k]);
	}
}

static int list_of_node(const struct recover_options *o, struct recover_case *ret, size_t max, size_t *ret_n,
			struct error *e)
{
	static const struct db_statement st = {
	    "recordings_open",
	    "SELECT recording, number, copy, segment_state = 'open' AND copy IS NOT NULL, coalesce(window_closed, "
	    "false), "
	    "broken_off = 'discarded' FROM rushes.recordings_open($1::uuid, $2::integer)",
	    2};
	char limit[DB_INT_BYTES];
	_cleanup_(db_result_freep) struct db_result *rows = NULL;
	_cleanup_(freep) struct uuid *kept = NULL;
	size_t n_kept = 0;
	int r = o->host->journal ? journal_kept(o->host->journal, &kept, &n_kept, e) : 0;
	if (r < 0)
		return r;
	/* recordings that are being received come in this list too: the limit is theirs as well */
	size_t most = live_copies_count(o->host->live) + max;
	const char *params[] = {spool_node_text(o->host->spool), db_param_int((int64_t)most, limit)};
	r = db_run(o->host->db, &st, params, &rows, e);
	if (r < 0)
		return r;
	if (db_rows(rows) < most)
		forget_others(o, rows, kept, n_kept);
	for (size_t i = 0; i < db_rows(rows) && *ret_n < max; i++) {
		struct recover_case c = {.number = db_int(rows, i, 1),
					 .is_open = db_bool(rows, i, 3),
					 .is_due = db_bool(rows, i, 4),
					 .is_unwanted = db_bool(rows, i, 5)};
		bool is_named = db_uuid(rows, i, 0, &c.recording);
		bool has_copy = db_uuid(rows, i, 2, &c.copy);
		if (is_named && !(has_copy && live_copies_has(o->host->live, &c.copy)))
			ret[(*ret_n)++] = c;
	}
	return 0;
}

static int list_empty(const struct recover_options *o, struct recover_case *ret, size_t max, size_t *ret_n,
		      struct error *e)
{
	static const struct db_statement st = {"recordings_empty",
					       "SELECT recording FROM rushes.recordings_empty($1, $2::integer)", 2};
	char limit[DB_INT_BYTES];
	_cleanup_(db_result_freep) struct db_result *rows = NULL;
	int r = db_run(o->host->db, &st, (const char *[]){o->region, db_param_int((int64_t)(max - *ret_n), limit)},
		       &rows, e);
	for (size_t i = 0; r == 0 && i < db_rows(rows) && *ret_n < max; i++) {
		struct recover_case c = {.is_due = true, .is_unwanted = true};
		if (db_uuid(rows, i, 0, &c.recording))
			ret[(*ret_n)++] = c;
	}
	return r;
}

int recover_list(const struct recover_options *o, struct recover_case *ret, size_t max, size_t *ret_n, struct error *e)
{
	*ret_n = 0;
	int r = list_of_node(o, ret, max, ret_n, e);
	return r < 0 ? r : list_empty(o, ret, max, ret_n, e);
}

static int close_segment(const struct recover_options *o, const struct recover_case *c, struct log_context *ctx,
			 struct error *e)
{
	struct salvage found;
	int r = segment_salvage(o->host, &c->recording, c->number, &c->copy, false, &found, e);
	if (r < 0)
		return r;
	if (found.is_lost)
		log_error(ctx, "ALARM: the file of segment %lld is gone", (long long)c->number);
	else
		log_info(ctx, "segment %lld was left open: closed with %llu bytes", (long long)c->number,
			 (unsigned long long)found.bytes);
	return 0;
}

static void count_end(const struct recover_options *o, const char *end)
{
	metric_count(intakes_ended(o->metrics), end);
}

int recover_one(const struct recover_options *o, const struct recover_case *c, struct error *e)
{
	char recording[UUID_TEXT_BYTES];
	uuid_format(&c->recording, recording);
	struct log_context ctx = {.recording = recording};
	int r = c->is_open ? close_segment(o, c, &ctx, e) : 0;
	if (r < 0 || !c->is_due)
		return r;
	if (c->is_unwanted) {
		r = slice_gate(o->host->db, o->metrics, e);
		if (r == 0)
			r = recording_row_discard(o->host->db, &c->recording, e);
		if (r == 0) {
			log_info(&ctx, "broken off: discarded");
			count_end(o, "discarded");
		}
		return r;
	}
	struct turn_save how = {.stop = "lost", .is_recovered = true};
	r = recording_row_saved(o->host->db, &c->recording, &how, NULL, e);
	if (r < 0)
		return r;
	log_info(&ctx, "broken off: saved as recovered, %llu bytes", (unsigned long long)how.bytes);
	count_end(o, "lost");
	struct trace trace = trace_new();
	if (how.has_job)
		worker_hint(o->bus, o->region, JOB_COPY, NULL, &how.job, &trace);
	return 0;
}

int recover_at_start(const struct recover_options *o, struct error *e)
{
	struct recover_case *cases = calloc(RECOVER_BATCH, sizeof(*cases));
	size_t n = 0;
	if (!cases)
		return error_nomem(e);
	int r = list_of_node(o, cases, RECOVER_BATCH, &n, e);
	for (size_t i = 0; r == 0 && i < n; i++) {
		char recording[UUID_TEXT_BYTES];
		uuid_format(&cases[i].recording, recording);
		struct log_context ctx = {.recording = recording};
		struct error why = {0};
		if (cases[i].is_open && close_segment(o, &cases[i], &ctx, &why) < 0)
			log_warning(&ctx, "an open segment cannot be closed yet: %s", why.text);
	}
	free(cases);
	return r;
}

/* All open segments' files are completed before one flush makes them durable: their number costs no flushes. */
static int fill_all(const struct recover_options *o, const struct recover_case *cases, size_t n, struct error *e)
{
	struct segment_host *h = o->host;
	_cleanup_(closep) int some_fd = -1;
	_cleanup_(freep) bool *is_filled = calloc(n + 1, sizeof(*is_filled));
	if (!is_filled)
		return error_nomem(e);
	for (size_t i = 0; i < n; i++) {
		char recording[UUID_TEXT_BYTES];
		struct error why = {0};
		int fd = -1;
		if (!cases[i].is_open)
			continue;
		is_filled[i] = segment_fill(h, &cases[i].recording, cases[i].number, &cases[i].copy, &fd, &why) == 0;
		uuid_format(&cases[i].recording, recording);
		struct log_context ctx = {.recording = recording};
		if (!is_filled[i])
			log_warning(&ctx, "an open segment cannot be completed yet: %s", why.text);
		if (fd >= 0) {
			closep(&some_fd);
			some_fd = fd;
		}
	}
	if (some_fd >= 0 && syncfs(some_fd) < 0)
		return error_set_errno(e, ERR_FATAL, errno, "the spool cannot be flushed");
	for (size_t i = 0; i < n; i++)
		if (is_filled[i])
			journal_forget(h->journal, &cases[i].copy);
	return 0;
}

int recover_from_journal(const struct recover_options *o, struct error *e)
{
	_cleanup_(freep) struct recover_case *cases = calloc(INTAKES_MAX, sizeof(*cases));
	size_t n = 0;
	if (!cases)
		return error_nomem(e);
	int r = list_of_node(o, cases, INTAKES_MAX, &n, e);
	for (size_t i = 0; r == 0 && i < n; i++)
		if (cases[i].is_open)
			r = journal_keep(o->host->journal, &cases[i].copy, e);
	if (r == 0)
		r = tails_save(o->host, e);
	return r == 0 ? fill_all(o, cases, n, e) : r;
}
