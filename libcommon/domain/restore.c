#include "domain/restore.h"

#include "store/db_json.h"

static const struct db_statement gate_sql = {"restore_gate", "SELECT state FROM rushes.service_gate()", 0};

static const struct db_statement status_sql = {"restore_status", "SELECT rushes.restore_status()::text", 0};

static const struct db_statement findings_sql = {
    "restore_findings", "SELECT coalesce(json_agg(f), '[]')::text FROM rushes.restore_findings($1::integer) f", 1};

static const struct db_statement begin_sql = {"restore_begin", "SELECT rushes.restore_begin($1, $2)", 2};

static const struct db_statement target_sql = {"restore_target", "SELECT rushes.restore_target($1::bigint)", 1};

static const struct db_statement fork_sql = {"restore_fork",
					     "SELECT rushes.restore_fork($1, $2::bigint, $3::boolean, $4)", 4};

static const struct db_statement skip_sql = {"restore_skip", "SELECT rushes.restore_skip($1, $2::bigint, $3, $4)", 4};

static const struct db_statement import_sql = {
    "restore_import",
    "SELECT rushes.restore_import($1::bigint, $2::bytea, $3::bytea, $4::timestamptz, $5, $6::bytea, $7::jsonb,"
    " $8::boolean)",
    8};

static const struct db_statement apply_sql = {"restore_apply", "SELECT rushes.restore_apply($1::integer)", 1};

static const struct db_statement compare_sql = {"restore_compare", "SELECT rushes.restore_compare()", 0};

static const struct db_statement open_sql = {"restore_open", "SELECT rushes.restore_open($1, $2::boolean, $3)", 3};

/* The gate looks at the database first, as it does for every service: nobody may have asked it since the restore. */
int restore_status(struct db *d, json_t **ret, struct error *e)
{
	int r = db_query(d, &gate_sql, NULL, NULL, e);
	return r < 0 ? r : db_query_json(d, &status_sql, NULL, ret, e);
}

int restore_findings(struct db *d, unsigned limit, json_t **ret, struct error *e)
{
	char n[DB_INT_BYTES];
	return db_query_json(d, &findings_sql, (const char *const[]){db_param_int(limit, n)}, ret, e);
}

int restore_begin(struct db *d, const char *actor, const char *reason, struct error *e)
{
	return db_query(d, &begin_sql, (const char *const[]){actor, reason}, NULL, e);
}

int restore_set_target(struct db *d, uint64_t last, struct error *e)
{
	char n[DB_INT_BYTES];
	return db_query(d, &target_sql, (const char *const[]){db_param_int((int64_t)last, n)}, NULL, e);
}

static int give_up(struct db *d, const char *actor, uint64_t from, bool is_fork, const char *reason, struct error *e)
{
	char n[DB_INT_BYTES];
	const char *params[] = {actor, db_param_int((int64_t)from, n), db_param_bool(is_fork), reason};
	return db_query(d, &fork_sql, params, NULL, e);
}

int restore_fork(struct db *d, const char *actor, uint64_t from, const char *reason, struct error *e)
{
	return give_up(d, actor, from, true, reason, e);
}

int restore_republish(struct db *d, const char *actor, uint64_t from, const char *reason, struct error *e)
{
	return give_up(d, actor, from, false, reason, e);
}

int restore_skip(struct db *d, const char *actor, uint64_t batch, const char *detail, const char *reason,
		 struct error *e)
{
	char n[DB_INT_BYTES];
	const char *params[] = {actor, db_param_int((int64_t)batch, n), detail, reason};
	return db_query(d, &skip_sql, params, NULL, e);
}

int restore_import(struct db *d, const struct ledger_object *o, bool is_override, struct error *e)
{
	const struct ledger_head *h = &o->head;
	char batch[DB_INT_BYTES], root[DB_BYTEA_BYTES(sizeof(h->root))], previous[DB_BYTEA_BYTES(sizeof(h->previous))];
	char signature[DB_BYTEA_BYTES(sizeof(h->signature))];
	json_t *texts = json_array();
	for (size_t i = 2; i < o->n; i++)
		(void)json_array_append_new(texts, json_string(o->lines[i]));
	_cleanup_(freep) char *text = json_array_size(texts) == o->n - 2 ? json_dumps(texts, JSON_COMPACT) : NULL;
	json_decref(texts);
	if (!text)
		return error_set(e, ERR_CORRUPT, "an entry of a batch is no text");
	const char *params[] = {db_param_int((int64_t)h->batch, batch),
				db_param_bytea(h->root, sizeof(h->root), root),
				db_param_bytea(h->previous, sizeof(h->previous), previous),
				h->at,
				h->key_id,
				db_param_bytea(h->signature, sizeof(h->signature), signature),
				text,
				db_param_bool(is_override)};
	return db_query(d, &import_sql, params, NULL, e);
}

int restore_apply(struct db *d, unsigned limit, uint64_t *ret_left, struct error *e)
{
	char n[DB_INT_BYTES];
	_cleanup_(db_result_freep) struct db_result *rows = NULL;
	int r = db_query(d, &apply_sql, (const char *const[]){db_param_int(limit, n)}, &rows, e);
	if (r == 0)
		*ret_left = (uint64_t)db_int(rows, 0, 0);
	return r;
}

int restore_compare(struct db *d, struct error *e)
{
	return db_query(d, &compare_sql, NULL, NULL, e);
}

int restore_open(struct db *d, const char *actor, bool without_silent, const char *reason, struct error *e)
{
	return db_query(d, &open_sql, (const char *const[]){actor, db_param_bool(without_silent), reason}, NULL, e);
}
