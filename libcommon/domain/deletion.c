#include "domain/deletion.h"

#include "store/db_json.h"

#include <string.h>

static const struct db_statement delete_sql = {"deletion_by_user",
					       "SELECT rushes.recording_delete($1::uuid, 'deleted-by-user', $2, $3)",
					       3};

static const struct db_statement progress_sql = {
    "deletion_progress",
    "SELECT json_build_object('state', r.state, 'copies', (SELECT coalesce(json_agg(json_build_object("
    "  'id', c.id, 'place', rushes.copy_place(c), 'state', c.state, 'since', c.going_at,"
    "  'error', (SELECT j.last_error FROM rushes.job j WHERE j.copy = c.id LIMIT 1)) ORDER BY c.id), '[]')"
    "  FROM rushes.copy c WHERE c.recording = r.id AND c.state <> 'released'))::text"
    " FROM rushes.recording r WHERE r.id = $1::uuid",
    1};

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
	return db_query_json(d, &progress_sql, (const char *const[]){id}, ret, e);
}
