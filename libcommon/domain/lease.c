#include "domain/lease.h"

int lease_take(struct db_pool *p, const char *name, const char *holder, int64_t for_ms, bool *ret_held, struct error *e)
{
	static const struct db_statement st = {"lease_take",
					       "SELECT rushes.lease_take($1, $2, $3::bigint * interval '1 ms')", 3};
	char ms[DB_INT_BYTES];
	_cleanup_(db_result_freep) struct db_result *rows = NULL;
	int r = db_run(p, &st, (const char *[]){name, holder, db_param_int(for_ms, ms)}, &rows, e);
	if (r == 0)
		*ret_held = db_rows(rows) > 0 && !db_null(rows, 0, 0);
	return r;
}

int lease_drop(struct db_pool *p, const char *name, const char *holder, struct error *e)
{
	static const struct db_statement st = {"lease_drop", "SELECT rushes.lease_drop($1, $2)", 2};
	return db_run(p, &st, (const char *[]){name, holder}, NULL, e);
}
