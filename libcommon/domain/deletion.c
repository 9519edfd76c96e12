#include "domain/deletion.h"

#include "store/db_json.h"

#include <string.h>

static const struct db_statement delete_sql = {"deletion_by_user",
					       "SELECT rushes.recording_delete($1::uuid, 'deleted-by-user', $2, $3)",
					       3};

static const struct db_statement progress_sql = {"deletion_progress",
						 "SELECT rushes.recording_deletion(NULL, $1::uuid)::text", 1};

static const struct db_statement personal_sql = {"personal_sweep", "SELECT rushes.personal_sweep($1::integer)", 1};

static const struct db_statement overdue_sql = {
    "deletion_overdue",
    "SELECT recording, copy, coalesce(place, ''), left(reason, 250) FROM"
    " rushes.deletion_overdue($1::bigint * interval '1 millisecond') ORDER BY deleting_at, recording",
    1};

static const struct db_statement overdue_list_sql = {
    "deletion_overdue_list",
    "SELECT coalesce(json_agg(t ORDER BY t.deleting_at, t.recording, t.copy), '[]')::text FROM"
    " rushes.deletion_overdue($1::bigint * interval '1 millisecond') t",
    1};

int deletion_overdue_list(struct db *d, int64_t age_ms, json_t **ret, struct error *e)
{
	char text[DB_INT_BYTES];
	return db_query_json(d, &overdue_list_sql, (const char *const[]){db_param_int(age_ms, text)}, ret, e);
}

int deletion_by_user(struct db *d, const char *actor, const struct uuid *recording, const char *reason,
		     const char **ret_state, struct error *e)
{
	char id[UUID_TEXT_BYTES];
	_cleanup_(db_result_freep) struct db_result *rows = NULL;
	uuid_format(recording, id);
	int r = db_query(d, &delete_sql, (const char *const[]){id, actor, reason}, &rows, e);
	if (r < 0)
		return r;
	*ret_state = db_rows(rows) && strcmp(db_text(rows, 0, 0), "deleted") == 0 ? "deleted" : "deleting";
	return 0;
}

int deletion_progress(struct db *d, const struct uuid *recording, json_t **ret, struct error *e)
{
	char id[UUID_TEXT_BYTES];
	uuid_format(recording, id);
	int r = db_query_json(d, &progress_sql, (const char *const[]){id}, ret, e);
	return r == ERR_NOTFOUND ? error_set(e, r, "no deletion of a recording %s was decided", id) : r;
}

int deletion_personal_sweep(struct db_pool *p, unsigned limit, unsigned *ret_n, struct error *e)
{
	char text[DB_INT_BYTES];
	_cleanup_(db_result_freep) struct db_result *rows = NULL;
	int r = db_run(p, &personal_sql, (const char *const[]){db_param_int(limit, text)}, &rows, e);
	if (r == 0)
		*ret_n = (unsigned)db_int(rows, 0, 0);
	return r;
}

static void copy_text(char *to, size_t size, const char *text)
{
	(void)snprintf(to, size, "%s", text ? text : "");
}

int deletion_overdue(struct db_pool *p, int64_t age_ms, void (*found)(void *arg, const struct deletion_overdue *o),
		     void *arg, unsigned *ret_recordings, struct error *e)
{
	char text[DB_INT_BYTES], before[UUID_TEXT_BYTES] = "";
	_cleanup_(db_result_freep) struct db_result *rows = NULL;
	int r = db_run(p, &overdue_sql, (const char *const[]){db_param_int(age_ms, text)}, &rows, e);
	if (r < 0)
		return r;
	*ret_recordings = 0;
	for (size_t i = 0; i < db_rows(rows); i++) {
		struct deletion_overdue o;
		copy_text(o.recording, sizeof(o.recording), db_text(rows, i, 0));
		copy_text(o.copy, sizeof(o.copy), db_text(rows, i, 1));
		copy_text(o.place, sizeof(o.place), db_text(rows, i, 2));
		copy_text(o.reason, sizeof(o.reason), db_text(rows, i, 3));
		*ret_recordings += strcmp(before, o.recording) != 0;
		copy_text(before, sizeof(before), o.recording);
		found(arg, &o);
	}
	return 0;
}
