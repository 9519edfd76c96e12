#include "domain/redrive.h"

static const struct db_statement retry_sql = {"redrive_job", "SELECT rushes.job_retry($1::uuid, $2)", 2};

int redrive_job(struct db *d, const char *actor, const struct uuid *job, struct uuid *ret, struct error *e)
{
	char id[UUID_TEXT_BYTES];
	_cleanup_(db_result_freep) struct db_result *rows = NULL;
	uuid_format(job, id);
	int r = db_query(d, &retry_sql, (const char *const[]){id, actor}, &rows, e);
	if (r == 0 && (db_rows(rows) != 1 || !db_uuid(rows, 0, 0, ret)))
		r = error_set(e, ERR_CORRUPT, "redrive_job: no id");
	return r;
}
