#include "recover.h"

#include "base/log.h"
#include "node/slice.h"
#include "node/worker.h"
#include "recording_rows.h"

#include <string.h>

static int list_of_node(const struct recover_options *o, struct recover_case *ret, size_t max, size_t *ret_n,
			struct error *e)
{
	static const struct db_statement st = {
	    "recordings_open",
	    "SELECT recording, number, copy, segment_state = 'open' AND copy IS NOT NULL, coalesce(window_closed, "
	    "false), "
	    "broken_off = 'discarded' FROM rushes.recordings_open($1::uuid, $2::integer) "
	    "WHERE segment_state = 'open' OR window_closed",
	    2};
	char limit[DB_INT_BYTES];
	_cleanup_(db_result_freep) struct db_result *rows = NULL;
	/* recordings that are being received come in this list too: the limit is theirs as well */
	const char *params[] = {spool_node_text(o->host->spool),
				db_param_int((int64_t)(live_copies_count(o->host->live) + max), limit)};
	int r = db_run(o->host->db, &st, params, &rows, e);
	if (r < 0)
		return r;
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
	int r = segment_salvage(o->host, &c->recording, c->number, &c->copy, &found, e);
	if (r < 0)
		return r;
	if (found.is_lost)
		log_error(ctx, "ALARM: the file of segment %lld is gone", (long long)c->number);
	else
		log_info(ctx, "segment %lld was left open: closed with %llu bytes", (long long)c->number,
			 (unsigned long long)found.bytes);
	return 0;
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
		if (r == 0)
			log_info(&ctx, "broken off: discarded");
		return r;
	}
	struct turn_save how = {.stop = "lost", .is_recovered = true};
	r = recording_row_saved(o->host->db, &c->recording, &how, NULL, e);
	if (r < 0)
		return r;
	log_info(&ctx, "broken off: saved as recovered, %llu bytes", (unsigned long long)how.bytes);
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
