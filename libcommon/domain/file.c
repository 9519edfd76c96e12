#include "domain/file.h"

#include "base/clock.h"
#include "crypto/digest.h"

#include <assert.h>
#include <string.h>

/* An outcome is worth more than a moment of the database's absence: hours of conversion may stand behind it. */
#define OUTCOME_PATIENCE_MS 20000
#define OUTCOME_PAUSE_US    500000

const char *file_kind_to_string(enum file_kind k)
{
	static const char *const names[FILE_KIND_MAX] = {"raw", "main", "snapshot", "filmstrip"};
	return names[k];
}

int file_copy_begin(struct db_pool *p, const struct job *j, const struct uuid *node, enum file_kind kind,
		    const struct uuid *copy, const char *location, struct error *e)
{
	static const struct db_statement st = {
	    "file_copy_begin", "SELECT rushes.file_copy_begin($1::uuid, $2::integer, $3::uuid, $4, $5::uuid, $6)", 6};
	struct job_params params;
	char node_text[UUID_TEXT_BYTES], copy_text[UUID_TEXT_BYTES];
	job_params(j, &params);
	uuid_format(node, node_text);
	uuid_format(copy, copy_text);
	return db_run(p, &st,
		      (const char *[]){params.id, params.attempt, node_text, file_kind_to_string(kind), copy_text,
				       location},
		      NULL, e);
}

/* Tells an outcome again while the database is away. When an answer was lost although the outcome was committed, the
 * repetition is ERR_CONFLICT: the attempt is over. */
static int tell(struct db_pool *p, const struct job *j, const struct db_statement *st, const char *const *params,
		struct db_result **ret, struct error *e)
{
	int64_t until = clock_monotonic_us() + (int64_t)OUTCOME_PATIENCE_MS * 1000;
	for (;;) {
		int r = db_run(p, st, params, ret, e);
		if (r != ERR_RETRY || job_stop(j) == JOB_CANCELLED || clock_monotonic_us() > until)
			return r;
		(void)usleep(OUTCOME_PAUSE_US);
	}
}

int file_copied(struct db_pool *p, const struct job *j, const struct file_made *f, struct db_result **ret_jobs,
		struct error *e)
{
	static const struct db_statement st = {
	    "copy_job_done",
	    "SELECT job, kind, node FROM rushes.copy_job_done($1::uuid, $2::integer, $3::uuid, $4::bigint, "
	    "('\\x' || $5)::bytea, $6::jsonb)",
	    6};
	struct job_params params;
	char copy[UUID_TEXT_BYTES], bytes[DB_INT_BYTES];
	job_params(j, &params);
	uuid_format(&f->copy, copy);
	assert(strlen(f->sha256) == SHA256_TEXT_BYTES - 1);
	_cleanup_(freep) char *facts = f->facts ? json_dumps(f->facts, JSON_COMPACT | JSON_REAL_PRECISION(9)) : NULL;
	if (f->facts && !facts)
		return error_nomem(e);
	const char *values[] = {params.id, params.attempt, copy, db_param_int((int64_t)f->bytes, bytes),
				f->sha256, facts};
	return tell(p, j, &st, values, ret_jobs, e);
}

static json_t *outputs_json(const struct file_made *f, size_t n)
{
	json_t *all = json_array();
	for (size_t i = 0; all && i < n; i++) {
		char copy[UUID_TEXT_BYTES];
		uuid_format(&f[i].copy, copy);
		json_t *one =
		    json_pack("{s:s, s:s, s:I, s:s, s:O?}", "kind", file_kind_to_string(f[i].kind), "copy", copy,
			      "bytes", (json_int_t)f[i].bytes, "sha256", f[i].sha256, "facts", f[i].facts);
		if (json_array_append_new(all, one) < 0) {
			json_decref(all);
			all = NULL;
		}
	}
	return all;
}

int file_converted(struct db_pool *p, const struct job *j, const struct file_made *f, size_t n,
		   struct db_result **ret_jobs, struct error *e)
{
	static const struct db_statement st = {
	    "convert_job_done", "SELECT job, kind, node FROM rushes.convert_job_done($1::uuid, $2::integer, $3::jsonb)",
	    3};
	struct job_params params;
	job_params(j, &params);
	json_t *all = outputs_json(f, n);
	_cleanup_(freep) char *text = all ? json_dumps(all, JSON_COMPACT | JSON_REAL_PRECISION(9)) : NULL;
	json_decref(all);
	if (!text)
		return error_nomem(e);
	return tell(p, j, &st, (const char *[]){params.id, params.attempt, text}, ret_jobs, e);
}

int file_converts_waiting(struct db_pool *p, const struct uuid *node, uint64_t *ret, struct error *e)
{
	static const struct db_statement st = {"converts_waiting", "SELECT rushes.converts_waiting($1::uuid)", 1};
	char text[UUID_TEXT_BYTES];
	_cleanup_(db_result_freep) struct db_result *rows = NULL;
	uuid_format(node, text);
	int r = db_run(p, &st, (const char *[]){text}, &rows, e);
	if (r == 0)
		*ret = (uint64_t)db_int(rows, 0, 0);
	return r;
}
