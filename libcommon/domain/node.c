#include "domain/node.h"

static const struct db_statement retire_sql = {"node_retire", "SELECT rushes.node_retire($1, $2::uuid, $3, $4)", 4};

static const struct db_statement work_sql = {"node_retire_work",
					     "SELECT rushes.node_retire_work($1, $2::uuid, $3::integer)", 3};

static const struct db_statement discard_sql = {"lost_row_discard",
						"SELECT rushes.lost_row_discard($1, $2::uuid, $3::uuid, $4)", 4};

int node_retire(struct db *d, const char *actor, const struct uuid *node, const char *attested_by, const char *reason,
		struct error *e)
{
	char id[UUID_TEXT_BYTES];
	uuid_format(node, id);
	return db_query(d, &retire_sql, (const char *const[]){actor, id, attested_by, reason}, NULL, e);
}

int node_retire_work(struct db *d, const char *actor, const struct uuid *node, unsigned limit, uint64_t *ret_left,
		     struct error *e)
{
	char id[UUID_TEXT_BYTES], n[DB_INT_BYTES];
	_cleanup_(db_result_freep) struct db_result *rows = NULL;
	uuid_format(node, id);
	int r = db_query(d, &work_sql, (const char *const[]){actor, id, db_param_int(limit, n)}, &rows, e);
	if (r == 0)
		*ret_left = (uint64_t)db_int(rows, 0, 0);
	return r;
}

int node_discard(struct db *d, const char *actor, const struct uuid *node, const struct uuid *copy, const char *reason,
		 struct error *e)
{
	char id[UUID_TEXT_BYTES], copy_id[UUID_TEXT_BYTES];
	uuid_format(node, id);
	uuid_format(copy, copy_id);
	return db_query(d, &discard_sql, (const char *const[]){actor, id, copy_id, reason}, NULL, e);
}
