#include "domain/account.h"

#include "domain/access_code.h"
#include "domain/find.h"
#include "domain/moment.h"
#include "store/db_json.h"

#include <string.h>

static const struct db_statement account_create_sql = {"account_create",
						       "SELECT rushes.account_create($1, $2, $3, $4, $5, $6,"
						       " rushes.rushes_now() + $7::bigint * interval '1 millisecond')",
						       7};

static const struct db_statement account_list_sql = {
    "account_list",
    "SELECT coalesce(json_agg(t ORDER BY t.name, t.id), '[]')::text FROM ("
    " SELECT a.id, a.name, a.region, a.plan, coalesce(a.trial_ends_at, a.paid_until) AS expires_at, a.closed_at,"
    "  a.created_at,"
    "  (SELECT count(*) FROM rushes.environment e WHERE e.account = a.id) AS environments,"
    "  (SELECT count(*) FROM rushes.recording r WHERE r.account = a.id AND r.state <> 'deleted') AS recordings"
    " FROM rushes.account a) t",
    0};

static const struct db_statement account_get_sql = {
    "account_get",
    "SELECT row_to_json(t)::text FROM ("
    " SELECT a.id, a.name, a.region, a.hash, a.zone, a.plan, a.trial_ends_at, a.paid_until, a.closed_at,"
    "  a.operator_may_read, a.rules_version, a.created_at,"
    "  coalesce(a.closed_at, rushes.midnight_after_28_days(CASE a.plan WHEN 'trial' THEN a.trial_ends_at"
    "   ELSE a.paid_until END)) AS recordings_due_at,"
    "  (SELECT coalesce(json_agg(e.name ORDER BY e.name), '[]') FROM rushes.environment e WHERE e.account = a.id)"
    "   AS environments,"
    "  (SELECT coalesce(json_agg(g.name ORDER BY g.name), '[]') FROM rushes.target g"
    "   WHERE g.account = a.id AND g.disabled_at IS NULL) AS targets,"
    "  (SELECT coalesce(json_object_agg(s.state, s.n), '{}') FROM (SELECT r.state, count(*) AS n"
    "   FROM rushes.recording r WHERE r.account = a.id GROUP BY r.state) s) AS recordings"
    " FROM rushes.account a WHERE a.id = $1::uuid) t",
    1};

static const struct db_statement account_find_sql = {
    "account_find", "SELECT id FROM rushes.account WHERE id::text = lower($1) OR name = $1 LIMIT 5", 1};

static const struct db_statement account_plan_sql = {
    "account_plan_set", "SELECT rushes.account_plan_set($1, $2::uuid, $3, " MOMENT_SQL("$4") ")", 4};

static const struct db_statement account_close_sql = {"account_close", "SELECT rushes.account_close($1, $2::uuid, $3)",
						      3};

static const struct db_statement account_keys_sql = {"account_keys_sweep",
						     "SELECT rushes.account_keys_sweep($1::integer)", 1};

static const struct db_statement environment_set_sql = {"environment_set",
							"SELECT rushes.environment_set($1, $2::uuid, $3, $4::jsonb)",
							4};

static const struct db_statement environment_target_set_sql = {
    "environment_target_set", "SELECT rushes.environment_target_set($1, $2::uuid, $3::uuid, $4::uuid, $5::boolean)", 5};

#define ENVIRONMENT_COLUMNS                                                                                      \
	"e.id, e.account, a.name AS account_name, e.name, e.conversion, e.store_ours, e.do_not_store, e.backup," \
	" e.success, e.push_raw, e.push_snapshot, e.push_filmstrip, e.send_on_stop, e.broken_off,"               \
	" extract(epoch FROM e.reconnect_window)::float8 AS reconnect_window_s,"                                 \
	" extract(epoch FROM e.playback_window)::float8 AS playback_window_s,"                                   \
	" e.max_bytes, extract(epoch FROM e.max_duration)::float8 AS max_duration_s,"                            \
	" extract(epoch FROM e.max_idle)::float8 AS max_idle_s, e.consent_text,"                                 \
	" e.rules_version, e.created_at,"                                                                        \
	" (SELECT coalesce(json_agg(g.name ORDER BY g.name), '[]') FROM rushes.environment_target x"             \
	"  JOIN rushes.target g ON g.id = x.target WHERE x.account = e.account AND x.environment = e.id) AS targets"

static const struct db_statement environment_list_sql = {
    "environment_list",
    "SELECT coalesce(json_agg(t ORDER BY t.account_name, t.name), '[]')::text FROM ("
    " SELECT " ENVIRONMENT_COLUMNS " FROM rushes.environment e JOIN rushes.account a ON a.id = e.account"
    " WHERE $1::uuid IS NULL OR e.account = $1::uuid) t",
    1};

static const struct db_statement environment_get_sql = {
    "environment_get",
    "SELECT row_to_json(t)::text FROM ("
    " SELECT " ENVIRONMENT_COLUMNS " FROM rushes.environment e JOIN rushes.account a ON a.id = e.account"
    " WHERE e.account = $1::uuid AND e.id = $2::uuid) t",
    2};

static const struct db_statement environment_find_sql = {
    "environment_find",
    "SELECT id FROM rushes.environment WHERE account = $1::uuid AND (id::text = lower($2) OR name = $2) LIMIT 5", 2};

/* Runs a function that answers with an id. */
static int query_id(struct db *d, const struct db_statement *st, const char *const *params, struct uuid *ret,
		    struct error *e)
{
	_cleanup_(db_result_freep) struct db_result *rows = NULL;
	int r = db_query(d, st, params, &rows, e);
	if (r == 0 && (db_rows(rows) != 1 || !db_uuid(rows, 0, 0, ret)))
		r = error_set(e, ERR_CORRUPT, "%s: no id", st->name);
	return r;
}

int account_create(struct db *d, const char *actor, const struct account_new *a, struct uuid *ret, struct error *e)
{
	char hash[ACCOUNT_HASH_BYTES], expires[DB_INT_BYTES];
	account_hash_new(hash);
	const char *params[] = {actor,
				a->name,
				a->region,
				hash,
				a->zone,
				a->plan,
				a->expires_ms ? db_param_int(a->expires_ms, expires) : NULL};
	return query_id(d, &account_create_sql, params, ret, e);
}

int account_list(struct db *d, json_t **ret, struct error *e)
{
	return db_query_json(d, &account_list_sql, NULL, ret, e);
}

int account_get(struct db *d, const struct uuid *id, json_t **ret, struct error *e)
{
	char text[UUID_TEXT_BYTES];
	uuid_format(id, text);
	return db_query_json(d, &account_get_sql, (const char *const[]){text}, ret, e);
}

int account_find(struct db *d, const char *text, struct uuid *ret, struct error *e)
{
	return find_one(d, &account_find_sql, (const char *const[]){text}, "account", text, ret, e);
}

int account_plan_set(struct db *d, const char *actor, const struct uuid *id, const char *plan, const char *expires,
		     struct error *e)
{
	char text[UUID_TEXT_BYTES];
	uuid_format(id, text);
	return db_query(d, &account_plan_sql, (const char *const[]){actor, text, plan, expires}, NULL, e);
}

int account_close(struct db *d, const char *actor, const struct uuid *id, const char *reason, struct error *e)
{
	char text[UUID_TEXT_BYTES];
	uuid_format(id, text);
	return db_query(d, &account_close_sql, (const char *const[]){actor, text, reason}, NULL, e);
}

int account_keys_sweep(struct db_pool *p, unsigned limit, unsigned *ret_n, struct error *e)
{
	char text[DB_INT_BYTES];
	_cleanup_(db_result_freep) struct db_result *rows = NULL;
	int r = db_run(p, &account_keys_sql, (const char *const[]){db_param_int(limit, text)}, &rows, e);
	if (r == 0)
		*ret_n = (unsigned)db_int(rows, 0, 0);
	return r;
}

int environment_set(struct db *d, const char *actor, const struct uuid *account, const char *name, json_t *settings,
		    struct uuid *ret, struct error *e)
{
	char id[UUID_TEXT_BYTES];
	_cleanup_(freep) char *text = json_dumps(settings, JSON_COMPACT);
	if (!text)
		return error_nomem(e);
	uuid_format(account, id);
	return query_id(d, &environment_set_sql, (const char *const[]){actor, id, name, text}, ret, e);
}

int environment_target_set(struct db *d, const char *actor, const struct uuid *account, const struct uuid *environment,
			   const struct uuid *target, bool on, struct error *e)
{
	char ids[3][UUID_TEXT_BYTES];
	uuid_format(account, ids[0]);
	uuid_format(environment, ids[1]);
	uuid_format(target, ids[2]);
	return db_query(d, &environment_target_set_sql,
			(const char *const[]){actor, ids[0], ids[1], ids[2], db_param_bool(on)}, NULL, e);
}

int environment_list(struct db *d, const struct uuid *account, json_t **ret, struct error *e)
{
	char id[UUID_TEXT_BYTES];
	if (account)
		uuid_format(account, id);
	return db_query_json(d, &environment_list_sql, (const char *const[]){account ? id : NULL}, ret, e);
}

int environment_get(struct db *d, const struct uuid *account, const struct uuid *id, json_t **ret, struct error *e)
{
	char ids[2][UUID_TEXT_BYTES];
	uuid_format(account, ids[0]);
	uuid_format(id, ids[1]);
	return db_query_json(d, &environment_get_sql, (const char *const[]){ids[0], ids[1]}, ret, e);
}

int environment_find(struct db *d, const struct uuid *account, const char *text, struct uuid *ret, struct error *e)
{
	char id[UUID_TEXT_BYTES];
	uuid_format(account, id);
	return find_one(d, &environment_find_sql, (const char *const[]){id, text}, "environment", text, ret, e);
}
