#include "domain/find.h"

int find_one(struct db *d, const struct db_statement *st, const char *const *params, const char *what, const char *text,
	     struct uuid *ret, struct error *e)
{
	_cleanup_(db_result_freep) struct db_result *rows = NULL;
	int r = db_query(d, st, params, &rows, e);
	if (r < 0)
		return r;
	if (db_rows(rows) == 0)
		return error_set(e, ERR_NOTFOUND, "there is no %s %.64s", what, text);
	if (db_rows(rows) > 1)
		return error_set(e, ERR_CONFLICT, "%zu %ss are called %.64s: give the id", db_rows(rows), what, text);
	return db_uuid(rows, 0, 0, ret) ? 0 : error_set(e, ERR_CORRUPT, "%s: no id", st->name);
}
