#include "domain/lifecycle.h"

#include "domain/moment.h"
#include "store/db_json.h"

#define RULE_COLUMNS "l.name, l.age_days, l.recording_kind, l.file_kind, l.enabled, l.created_at"

static const struct db_statement list_sql = {
    "lifecycle_list",
    "SELECT coalesce(json_agg(t ORDER BY t.name), '[]')::text FROM (SELECT " RULE_COLUMNS
    " FROM rushes.lifecycle_rule l WHERE l.account = $1::uuid AND l.environment = $2::uuid) t",
    2};

static const struct db_statement get_sql = {
    "lifecycle_get",
    "SELECT row_to_json(t)::text FROM (SELECT " RULE_COLUMNS
    " FROM rushes.lifecycle_rule l WHERE l.account = $1::uuid AND l.environment = $2::uuid AND l.name = $3) t",
    3};

static const struct db_statement set_sql = {
    "lifecycle_set", "SELECT rushes.lifecycle_set($1, $2::uuid, $3::uuid, $4, $5::integer, $6, $7, $8::boolean)", 8};

static const struct db_statement remove_sql = {"lifecycle_remove",
					       "SELECT rushes.lifecycle_remove($1, $2::uuid, $3::uuid, $4)", 4};

static const struct db_statement preview_sql = {
    "lifecycle_preview",
    "WITH p AS MATERIALIZED (SELECT * FROM rushes.lifecycle_preview($1::uuid, $2::uuid, $3::integer, $4, $5,"
    "  coalesce(" MOMENT_SQL(
	"$6") ", 'infinity'), NULL)),"
	      " q AS (SELECT p.*, p.due_at <= rushes.rushes_now() AND NOT p.held AS is_due FROM p)"
	      " SELECT json_build_object('recordings', (SELECT coalesce(json_agg(json_build_object('recording', "
	      "x.recording,"
	      "   'file_kind', x.file_kind, 'due_at', x.due_at, 'bytes', x.bytes, 'held', x.held)"
	      "   ORDER BY x.due_at, x.recording), '[]')"
	      "   FROM (SELECT * FROM q ORDER BY q.due_at, q.recording LIMIT $7::integer) x),"
	      "  'total', (SELECT json_build_object('recordings', count(*), 'bytes', coalesce(sum(q.bytes), 0)::bigint,"
	      "   'held', count(*) FILTER (WHERE q.held), 'due_now', count(*) FILTER (WHERE q.is_due),"
	      "   'due_now_bytes', coalesce(sum(q.bytes) FILTER (WHERE q.is_due), 0)::bigint) FROM q))::text",
    7};

int lifecycle_list(struct db *d, const struct uuid *account, const struct uuid *environment, json_t **ret,
		   struct error *e)
{
	char ids[2][UUID_TEXT_BYTES];
	uuid_format(account, ids[0]);
	uuid_format(environment, ids[1]);
	return db_query_json(d, &list_sql, (const char *const[]){ids[0], ids[1]}, ret, e);
}

int lifecycle_get(struct db *d, const struct uuid *account, const struct uuid *environment, const char *name,
		  json_t **ret, struct error *e)
{
	char ids[2][UUID_TEXT_BYTES];
	uuid_format(account, ids[0]);
	uuid_format(environment, ids[1]);
	int r = db_query_json(d, &get_sql, (const char *const[]){ids[0], ids[1], name}, ret, e);
	return r == ERR_NOTFOUND ? error_set(e, r, "the environment has no lifecycle rule %.100s", name) : r;
}

int lifecycle_set(struct db *d, const char *actor, const struct uuid *account, const struct uuid *environment,
		  const char *name, const struct lifecycle_rule *rule, struct error *e)
{
	char ids[2][UUID_TEXT_BYTES], age[DB_INT_BYTES];
	uuid_format(account, ids[0]);
	uuid_format(environment, ids[1]);
	const char *params[] = {actor,
				ids[0],
				ids[1],
				name,
				db_param_int(rule->age_days, age),
				rule->recording_kind,
				rule->file_kind,
				db_param_bool(rule->enabled)};
	return db_query(d, &set_sql, params, NULL, e);
}

int lifecycle_remove(struct db *d, const char *actor, const struct uuid *account, const struct uuid *environment,
		     const char *name, struct error *e)
{
	char ids[2][UUID_TEXT_BYTES];
	uuid_format(account, ids[0]);
	uuid_format(environment, ids[1]);
	return db_query(d, &remove_sql, (const char *const[]){actor, ids[0], ids[1], name}, NULL, e);
}

int lifecycle_preview(struct db *d, const struct uuid *account, const struct uuid *environment,
		      const struct lifecycle_rule *rule, const char *until, unsigned limit, json_t **ret,
		      struct error *e)
{
	char ids[2][UUID_TEXT_BYTES], age[DB_INT_BYTES], rows[DB_INT_BYTES];
	uuid_format(account, ids[0]);
	uuid_format(environment, ids[1]);
	const char *params[] = {ids[0],		 ids[1], db_param_int(rule->age_days, age), rule->recording_kind,
				rule->file_kind, until,	 db_param_int(limit, rows)};
	return db_query_json(d, &preview_sql, params, ret, e);
}
