#include "recording_rows.h"

#include "base/buffer.h"

#include <assert.h>
#include <string.h>

/* How a finished take ended; what nobody can say now is told later, or not at all. */
static void ask_end(struct db_pool *p, const char *recording, struct turn_opening *ret)
{
	static const struct db_statement st = {"recording_copied",
					       "SELECT is_copied, is_recovered FROM "
					       "rushes.recording_states(ARRAY[$1::uuid])",
					       1};
	_cleanup_(db_result_freep) struct db_result *rows = NULL;
	bool is_known = db_run(p, &st, (const char *[]){recording}, &rows, NULL) == 0 && db_rows(rows) == 1;
	ret->is_copied = is_known && db_bool(rows, 0, 0);
	ret->is_recovered = is_known && db_bool(rows, 0, 1);
}

int recording_row_open(struct db_pool *p, const struct turn *t, struct turn_opening *ret, struct error *e)
{
	static const struct db_statement st = {
	    "recording_open",
	    "SELECT verdict, reason, max_bytes, max_duration_ms, send_on_stop, bytes, max_idle_ms FROM "
	    "rushes.recording_open("
	    "$1::uuid, $2::uuid, $3::uuid, $4, $5, $6, $7::jsonb, $8, $9, $10::uuid, $11)",
	    11};
	char recording[UUID_TEXT_BYTES], account[UUID_TEXT_BYTES], session[UUID_TEXT_BYTES], replaces[UUID_TEXT_BYTES];
	uuid_format(&t->recording, recording);
	uuid_format(&t->account, account);
	uuid_format(&t->session, session);
	uuid_format(&t->facts->replaces, replaces);
	const struct turn_facts *f = t->facts;
	const char *params[] = {recording,
				account,
				session,
				f->mime,
				f->ip,
				f->user_agent,
				f->devices,
				f->referrer,
				f->file_name,
				uuid_is_zero(&f->replaces) ? NULL : replaces,
				f->trace[0] ? f->trace : NULL};
	_cleanup_(db_result_freep) struct db_result *rows = NULL;
	int r = db_run(p, &st, params, &rows, e);
	if (r < 0)
		return r;
	assert(db_rows(rows) == 1);
	const char *verdict = db_text(rows, 0, 0);
	*ret = (struct turn_opening){.max_bytes = (uint64_t)db_int(rows, 0, 2),
				     .max_duration_ms = (uint64_t)db_int(rows, 0, 3),
				     .max_idle_ms = db_int(rows, 0, 6),
				     .send_on_stop = db_bool(rows, 0, 4),
				     .offset = (uint64_t)db_int(rows, 0, 5),
				     .is_finished = strcmp(verdict, "finished") == 0};
	if (strcmp(verdict, "refused") == 0) {
		const char *reason = db_text(rows, 0, 1);
		(void)snprintf(ret->refused, sizeof(ret->refused), "%s", reason ? reason : "refused");
	}
	if (ret->is_finished)
		ask_end(p, recording, ret);
	return 0;
}

static int upload_rows(struct db_pool *p, const struct turn *t, struct db_result **ret, struct error *e)
{
#define COLUMNS                                                                                          \
	"SELECT verdict, reason, max_bytes, max_duration_ms, send_on_stop, bytes, reconnect_window_ms, " \
	"upload_length, upload_metadata "
	static const struct db_statement create = {
	    "upload_create",
	    COLUMNS "FROM rushes.upload_create($1::uuid, $2::uuid, $3::uuid, $4, $5, $6, $7, $8, $9, $10::bigint, $11)",
	    11};
	static const struct db_statement open = {"upload_open",
						 COLUMNS "FROM rushes.upload_open($1::uuid, $2::uuid, $3::uuid)", 3};
#undef COLUMNS
	char recording[UUID_TEXT_BYTES], account[UUID_TEXT_BYTES], session[UUID_TEXT_BYTES], length[DB_INT_BYTES];
	uuid_format(&t->recording, recording);
	uuid_format(&t->account, account);
	uuid_format(&t->session, session);
	const struct turn_facts *f = t->facts;
	const char *params[] = {recording,
				account,
				session,
				f->mime,
				f->ip,
				f->user_agent,
				f->referrer,
				f->file_name,
				f->trace[0] ? f->trace : NULL,
				f->has_length ? db_param_int((int64_t)f->length, length) : NULL,
				f->metadata};
	return db_run(p, f->tus == INTAKE_TUS_NEW ? &create : &open, params, ret, e);
}

int recording_row_upload(struct db_pool *p, const struct turn *t, struct turn_opening *ret, struct error *e)
{
	_cleanup_(db_result_freep) struct db_result *rows = NULL;
	int r = upload_rows(p, t, &rows, e);
	if (r < 0)
		return r;
	assert(db_rows(rows) == 1);
	const char *verdict = db_text(rows, 0, 0), *reason = db_text(rows, 0, 1), *metadata = db_text(rows, 0, 8);
	free(ret->upload.metadata);
	*ret = (struct turn_opening){.max_bytes = (uint64_t)db_int(rows, 0, 2),
				     .max_duration_ms = (uint64_t)db_int(rows, 0, 3),
				     .send_on_stop = db_bool(rows, 0, 4),
				     .offset = (uint64_t)db_int(rows, 0, 5),
				     .is_finished = strcmp(verdict, "finished") == 0,
				     .upload = {.has_length = !db_null(rows, 0, 7),
						.length = (uint64_t)db_int(rows, 0, 7),
						.window_ms = db_int(rows, 0, 6)}};
	if (strcmp(verdict, "refused") == 0)
		(void)snprintf(ret->refused, sizeof(ret->refused), "%s", reason ? reason : "refused");
	if (metadata && !(ret->upload.metadata = strdup(metadata)))
		return error_nomem(e);
	return 0;
}

int recording_row_set_length(struct db_pool *p, const struct uuid *recording, uint64_t length, struct error *e)
{
	static const struct db_statement st = {"upload_set_length",
					       "SELECT rushes.upload_set_length($1::uuid, $2::bigint)", 2};
	char id[UUID_TEXT_BYTES], text[DB_INT_BYTES];
	uuid_format(recording, id);
	return db_run(p, &st, (const char *[]){id, db_param_int((int64_t)length, text)}, NULL, e);
}

int recording_row_upload_delete(struct db_pool *p, const struct uuid *recording, const struct uuid *account,
				const struct uuid *session, bool *ret_was_there, struct error *e)
{
	static const struct db_statement st = {"upload_delete",
					       "SELECT rushes.upload_delete($1::uuid, $2::uuid, $3::uuid)", 3};
	char ids[3][UUID_TEXT_BYTES];
	uuid_format(recording, ids[0]);
	uuid_format(account, ids[1]);
	uuid_format(session, ids[2]);
	_cleanup_(db_result_freep) struct db_result *rows = NULL;
	int r = db_run(p, &st, (const char *[]){ids[0], ids[1], ids[2]}, &rows, e);
	*ret_was_there = r == 0 && db_bool(rows, 0, 0);
	return r;
}

int recording_row_saved(struct db_pool *p, const struct uuid *recording, struct turn_save *how,
			const struct intake_total *total, struct error *e)
{
	static const struct db_statement st = {
	    "recording_saved",
	    "SELECT job, bytes FROM rushes.recording_saved($1::uuid, $2, $3::boolean, "
	    "$4::boolean, $5::boolean, $6::bigint, $7::bytea)",
	    7};
	char id[UUID_TEXT_BYTES], bytes[DB_INT_BYTES], sha[DB_BYTEA_BYTES(32)];
	uuid_format(recording, id);
	const char *params[] = {id,
				how->stop,
				db_param_bool(how->is_sent),
				db_param_bool(how->is_recovered),
				db_param_bool(how->is_truncated),
				total && total->has_bytes ? db_param_int((int64_t)total->bytes, bytes) : NULL,
				total && total->has_sha256 ? db_param_bytea(total->sha256, 32, sha) : NULL};
	_cleanup_(db_result_freep) struct db_result *rows = NULL;
	int r = db_run(p, &st, params, &rows, e);
	if (r < 0)
		return r;
	how->has_job = db_rows(rows) > 0 && db_uuid(rows, 0, 0, &how->job);
	how->bytes = db_rows(rows) > 0 ? (uint64_t)db_int(rows, 0, 1) : 0;
	return 0;
}

bool recording_row_is_overtaken(struct db_pool *p, const struct uuid *recording, int64_t epoch)
{
	static const struct db_statement st = {
	    "recording_overtaken",
	    "SELECT reason FROM rushes.streams_revoked(ARRAY[$1::uuid], ARRAY[$2::integer]) "
	    "WHERE reason = 'superseded'",
	    2};
	char id[UUID_TEXT_BYTES], number[DB_INT_BYTES];
	uuid_format(recording, id);
	_cleanup_(db_result_freep) struct db_result *rows = NULL;
	return db_run(p, &st, (const char *[]){id, db_param_int(epoch, number)}, &rows, NULL) == 0 && db_rows(rows) > 0;
}

int recording_row_discard(struct db_pool *p, const struct uuid *recording, struct error *e)
{
	static const struct db_statement st = {"recording_discard",
					       "SELECT rushes.recording_delete($1::uuid, 'discarded', NULL, NULL)", 1};
	char id[UUID_TEXT_BYTES];
	uuid_format(recording, id);
	return db_run(p, &st, (const char *[]){id}, NULL, e);
}

char *uuid_array(const struct uuid *ids, size_t n)
{
	struct buffer b;
	buffer_init(&b, n * UUID_TEXT_BYTES + 3);
	int r = buffer_append_string(&b, "{");
	for (size_t i = 0; i < n && r == 0; i++) {
		char id[UUID_TEXT_BYTES];
		uuid_format(&ids[i], id);
		r = buffer_printf(&b, "%s%s", i ? "," : "", id);
	}
	if (r == 0)
		r = buffer_append_string(&b, "}");
	if (r < 0) {
		buffer_done(&b);
		return NULL;
	}
	return buffer_take(&b);
}

char *int_array(const int64_t *numbers, size_t n)
{
	struct buffer b;
	buffer_init(&b, n * DB_INT_BYTES + 3);
	int r = buffer_append_string(&b, "{");
	for (size_t i = 0; i < n && r == 0; i++)
		r = buffer_printf(&b, "%s%lld", i ? "," : "", (long long)numbers[i]);
	if (r == 0)
		r = buffer_append_string(&b, "}");
	if (r < 0) {
		buffer_done(&b);
		return NULL;
	}
	return buffer_take(&b);
}
