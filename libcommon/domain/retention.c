#include "domain/retention.h"

#include "store/db_json.h"

static const struct db_statement change_sql = {"rules_change_work", "SELECT rushes.rules_change_work($1::integer)", 1};

static const struct db_statement paused_sql = {
    "retention_paused",
    "SELECT rule, place, to_char(since AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"'), by, left(reason, 250)"
    " FROM rushes.retention_paused() ORDER BY since, rule, place LIMIT $1::integer",
    1};

int retention_change_work(struct db_pool *p, unsigned limit, unsigned *ret_n, struct error *e)
{
	char text[DB_INT_BYTES];
	_cleanup_(db_result_freep) struct db_result *rows = NULL;
	int r = db_run(p, &change_sql, (const char *const[]){db_param_int(limit, text)}, &rows, e);
	if (r == 0)
		*ret_n = (unsigned)db_int(rows, 0, 0);
	return r;
}

int retention_paused(struct db_pool *p, struct retention_pause **ret, size_t *ret_n, struct error *e)
{
	char limit[DB_INT_BYTES];
	_cleanup_(db_result_freep) struct db_result *rows = NULL;
	int r = db_run(p, &paused_sql, (const char *const[]){db_param_int(RETENTION_PAUSES_MAX, limit)}, &rows, e);
	if (r < 0)
		return r;
	size_t n = db_rows(rows);
	struct retention_pause *list = n ? calloc(n, sizeof(*list)) : NULL;
	if (n && !list)
		return error_nomem(e);
	for (size_t i = 0; i < n; i++) {
		struct retention_pause *p_i = &list[i];
		(void)snprintf(p_i->rule, sizeof(p_i->rule), "%s", db_text(rows, i, 0));
		(void)snprintf(p_i->place, sizeof(p_i->place), "%s", db_text(rows, i, 1));
		(void)snprintf(p_i->since, sizeof(p_i->since), "%s", db_text(rows, i, 2));
		(void)snprintf(p_i->by, sizeof(p_i->by), "%s", db_text(rows, i, 3));
		(void)snprintf(p_i->reason, sizeof(p_i->reason), "%s", db_text(rows, i, 4));
	}
	*ret = list;
	*ret_n = n;
	return 0;
}
