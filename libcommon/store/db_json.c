#include "store/db_json.h"

int db_query_json(struct db *d, const struct db_statement *st, const char *const *params, json_t **ret, struct error *e)
{
	_cleanup_(db_result_freep) struct db_result *rows = NULL;
	int r = db_query(d, st, params, &rows, e);
	if (r < 0)
		return r;
	if (db_rows(rows) == 0 || db_null(rows, 0, 0))
		return error_set(e, ERR_NOTFOUND, "%s: there is no such thing", st->name);
	json_error_t je;
	json_t *value = json_loads(db_text(rows, 0, 0), JSON_DECODE_ANY, &je);
	if (!value)
		return error_set(e, ERR_CORRUPT, "%s: the database's answer is no JSON", st->name);
	*ret = value;
	return 0;
}
