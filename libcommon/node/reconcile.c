#include "node/reconcile.h"

#include "base/clock.h"
#include "base/log.h"
#include "spool/sealed.h"

#include <assert.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#define PAGE 500

struct run {
	const struct reconcile_options *o;
	char walk[DB_INT_BYTES]; /* this walk over the files, by its time */
	struct reconcile_result *result;
	struct metric *alarms;
};

int reconcile_remove(struct spool *s, struct db_pool *db, const struct uuid *copy, const char *how, struct error *e)
{
	static const struct db_statement st = {"copy_gone", "SELECT rushes.copy_gone($1::uuid, $2, $3::jsonb)", 3};
	bool was_there = false;
	int r = spool_remove(s, copy, &was_there, e);
	if (r < 0)
		return r;
	char id[UUID_TEXT_BYTES], place[UUID_TEXT_BYTES + 8], evidence[64];
	uuid_format(copy, id);
	(void)snprintf(place, sizeof(place), "node/%s", spool_node_text(s));
	(void)snprintf(evidence, sizeof(evidence), "{\"%s\": true}", was_there ? how : "absent");
	r = db_run(db, &st, (const char *[]){id, place, evidence}, NULL, e);
	/* somebody confirmed it before, or the row went with its recording */
	return r == ERR_NOTFOUND ? 0 : r;
}

static int mark_lost(struct run *run, const char *copy, const char *recording, struct error *e)
{
	static const struct db_statement st = {"copy_lost", "SELECT rushes.copy_lost($1::uuid, $2::uuid)", 2};
	struct log_context ctx = {.copy = copy, .recording = recording};
	log_error(&ctx, "ALARM: the copy is recorded as present, but its file is not there");
	metric_count(run->alarms, "lost");
	run->result->lost++;
	return db_run(run->o->db, &st, (const char *[]){copy, spool_node_text(run->o->spool)}, NULL, e);
}

static bool has_file(struct run *run, const struct uuid *copy)
{
	int fd = -1;
	int r = spool_open_copy(run->o->spool, copy, O_RDONLY, &fd, NULL);
	closep(&fd);
	return r != ERR_NOTFOUND;
}

/* One row that places a copy on this node. */
static int check_row(struct run *run, const struct db_result *rows, size_t i, struct error *e)
{
	struct uuid copy;
	bool ok = db_uuid(rows, i, 0, &copy);
	assert(ok);
	const char *state = db_text(rows, i, 2);
	if (strcmp(state, "incoming") == 0) {
		if (db_bool(rows, i, 3) || (run->o->is_live && run->o->is_live(run->o->arg, &copy)))
			return 0;
		run->result->abandoned++;
		struct log_context ctx = {.copy = db_text(rows, i, 0), .recording = db_text(rows, i, 1)};
		log_info(&ctx, "removing an incomplete copy that nobody works on");
		int r = reconcile_remove(run->o->spool, run->o->db, &copy, "abandoned", e);
		/* it became present, or going, meanwhile */
		return r == ERR_CONFLICT ? 0 : r;
	}
	if (run->o->with_files && strcmp(state, "present") == 0 && !has_file(run, &copy))
		return mark_lost(run, db_text(rows, i, 0), db_text(rows, i, 1), e);
	return 0;
}

static int check_rows(struct run *run, struct error *e)
{
	static const struct db_statement st = {
	    "copies_on_node",
	    "SELECT copy, recording, state, is_worked_on FROM rushes.copies_on_node($1::uuid, $2::uuid, $3::integer)",
	    3};
	char limit[DB_INT_BYTES], after[UUID_TEXT_BYTES] = "";
	for (size_t n = PAGE; n == PAGE;) {
		_cleanup_(db_result_freep) struct db_result *rows = NULL;
		const char *params[] = {spool_node_text(run->o->spool), after[0] ? after : NULL,
					db_param_int(PAGE, limit)};
		int r = db_run(run->o->db, &st, params, &rows, e);
		if (r < 0)
			return r;
		n = db_rows(rows);
		for (size_t i = 0; i < n; i++) {
			r = check_row(run, rows, i, e);
			if (r < 0)
				return r;
		}
		if (n > 0)
			(void)snprintf(after, sizeof(after), "%s", db_text(rows, n - 1, 0));
	}
	return 0;
}

enum fate { FATE_KNOWN, FATE_GONE, FATE_LOST_ROW };

/* What the database says of a copy's file; `recording` by its sealed header, or zero. */
static int ask_fate(struct run *run, const char *copy, const char *recording, enum fate *ret, struct error *e)
{
	static const struct db_statement st = {"spool_file_fate",
					       "SELECT rushes.spool_file_fate($1::uuid, $2::uuid, $3::uuid)", 3};
	_cleanup_(db_result_freep) struct db_result *rows = NULL;
	int r = db_run(run->o->db, &st, (const char *[]){spool_node_text(run->o->spool), copy, recording}, &rows, e);
	if (r < 0)
		return r;
	const char *fate = db_text(rows, 0, 0);
	*ret = strcmp(fate, "known") == 0 ? FATE_KNOWN : strcmp(fate, "gone") == 0 ? FATE_GONE : FATE_LOST_ROW;
	return 0;
}

/* A file without a row that the ledger calls gone. Its removal is written down where it was not yet. */
static int remove_stray(struct run *run, const char *name, const char *copy, const struct sealed_header *h,
			struct error *e)
{
	static const struct db_statement st = {"stray_gone",
					       "SELECT rushes.stray_gone($1::uuid, $2::uuid, $3::uuid, $4::uuid)", 4};
	char account[UUID_TEXT_BYTES], recording[UUID_TEXT_BYTES];
	uuid_format(&h->account, account);
	uuid_format(&h->recording, recording);
	struct log_context ctx = {.copy = copy, .recording = recording};
	log_info(&ctx, "removing the file of a copy that the ledger calls gone");
	run->result->removed++;
	int r = spool_remove_stray(run->o->spool, name, e);
	const char *params[] = {spool_node_text(run->o->spool), copy, account, recording};
	return r < 0 ? r : db_run(run->o->db, &st, params, NULL, e);
}

static int keep_lost_row(struct run *run, const char *copy, const struct sealed_header *h, struct error *e)
{
	static const struct db_statement st = {
	    "lost_row_seen",
	    "SELECT rushes.lost_row_seen($1::uuid, $2::uuid, $3::uuid, $4::uuid, $5::bigint, $6::bigint)", 6};
	char account[UUID_TEXT_BYTES], recording[UUID_TEXT_BYTES], bytes[DB_INT_BYTES];
	struct stat file = {0};
	_cleanup_(closep) int fd = -1;
	if (spool_open_copy(run->o->spool, &h->copy, O_RDONLY, &fd, NULL) == 0)
		(void)fstat(fd, &file);
	uuid_format(&h->account, account);
	uuid_format(&h->recording, recording);
	struct log_context ctx = {.copy = copy, .recording = recording};
	log_error(&ctx, "ALARM: neither tables nor ledger know the copy of this file; it is kept");
	metric_count(run->alarms, "lost-row");
	run->result->lost_rows++;
	const char *params[] = {spool_node_text(run->o->spool),
				copy,
				account,
				recording,
				db_param_int((int64_t)file.st_size, bytes),
				run->walk};
	return db_run(run->o->db, &st, params, NULL, e);
}

static int check_sealed(struct run *run, const char *name, const struct uuid *named, const struct sealed_header *h,
			struct error *e)
{
	char copy[UUID_TEXT_BYTES], recording[UUID_TEXT_BYTES];
	uuid_format(named, copy);
	uuid_format(&h->recording, recording);
	enum fate fate = FATE_KNOWN;
	int r = ask_fate(run, copy, recording, &fate, e);
	if (r < 0)
		return r;
	if (fate == FATE_GONE)
		return remove_stray(run, name, copy, h, e);
	return fate == FATE_LOST_ROW ? keep_lost_row(run, copy, h, e) : 0;
}

static int check_unknown(struct run *run, const char *name, struct error *e)
{
	static const struct db_statement seen = {"unknown_file_seen", "SELECT rushes.unknown_file_seen($1::uuid, $2)",
						 2};
	static const struct db_statement gone = {"unknown_file_gone", "SELECT rushes.unknown_file_gone($1::uuid, $2)",
						 2};
	const char *params[] = {spool_node_text(run->o->spool), name};
	_cleanup_(db_result_freep) struct db_result *rows = NULL;
	run->result->unknown++;
	int r = db_run(run->o->db, &seen, params, &rows, e);
	if (r < 0 || !db_bool(rows, 0, 0))
		return r;
	log_info(NULL, "rule unknown: removing a spool file that never had a row");
	metric_count(run->alarms, "unknown-removed");
	r = spool_remove_stray(run->o->spool, name, e);
	return r < 0 ? r : db_run(run->o->db, &gone, params, NULL, e);
}

static int check_file(void *arg, const char *name, const struct uuid *copy, struct error *e)
{
	struct run *run = arg;
	struct sealed_header h;
	int fd = -1;
	run->result->files++;
	int r = copy ? spool_open_copy(run->o->spool, copy, O_RDONLY, &fd, NULL) : ERR_REJECT;
	if (r == ERR_NOTFOUND)
		return 0; /* removed since it was listed */
	bool is_sealed = r == 0 && sealed_header_read(fd, &h, NULL) == 0;
	closep(&fd);
	if (is_sealed)
		return check_sealed(run, name, copy, &h, e);
	/* without a header: its row was committed before it, or it is nobody's */
	enum fate fate = FATE_LOST_ROW;
	if (copy) {
		static const struct uuid none;
		char id[UUID_TEXT_BYTES], recording[UUID_TEXT_BYTES];
		uuid_format(copy, id);
		uuid_format(&none, recording);
		r = ask_fate(run, id, recording, &fate, e);
		if (r < 0 || fate == FATE_KNOWN)
			return r;
	}
	return fate == FATE_GONE ? spool_remove_stray(run->o->spool, name, e) : check_unknown(run, name, e);
}

int reconcile_run(const struct reconcile_options *o, struct reconcile_result *ret, struct error *e)
{
	static const struct db_statement settle = {"lost_rows_settle",
						   "SELECT rushes.lost_rows_settle($1::uuid, $2::bigint)", 2};
	static const char *const labels[] = {"kind", NULL};
	struct run run = {.o = o, .result = ret};
	run.alarms =
	    metrics_counter(o->metrics, "rushes_spool_alarms_total",
			    "Files and rows of this spool that did not agree: lost, lost-row, unknown-removed.",
			    labels);
	(void)db_param_int(clock_wall_us(), run.walk);
	int r = check_rows(&run, e);
	if (r < 0 || !o->with_files)
		return r;
	r = spool_walk(o->spool, check_file, &run, e);
	/* what was not seen in a whole walk is no longer there */
	return r < 0 ? r : db_run(o->db, &settle, (const char *[]){spool_node_text(o->spool), run.walk}, NULL, e);
}
