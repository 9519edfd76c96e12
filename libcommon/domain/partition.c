#include "domain/partition.h"

static const struct db_statement maintain_sql = {
    "partitions_maintain", "SELECT made, dropped FROM rushes.partitions_maintain($1::integer, $2::integer)", 2};

int partition_maintain(struct db_pool *p, unsigned ahead_days, unsigned keep_days, unsigned *ret_made,
		       unsigned *ret_dropped, struct error *e)
{
	char ahead[DB_INT_BYTES], keep[DB_INT_BYTES];
	_cleanup_(db_result_freep) struct db_result *rows = NULL;
	const char *params[] = {db_param_int(ahead_days, ahead), db_param_int(keep_days, keep)};
	int r = db_run(p, &maintain_sql, params, &rows, e);
	if (r < 0)
		return r;
	*ret_made = (unsigned)db_int(rows, 0, 0);
	*ret_dropped = (unsigned)db_int(rows, 0, 1);
	return 0;
}
