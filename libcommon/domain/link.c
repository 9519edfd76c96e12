#include "domain/link.h"

#include "store/db_json.h"

static const struct db_statement create_sql = {
    "link_create",
    "SELECT id, is_new, to_char(expires_at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"')"
    " FROM rushes.link_create($1, $2::uuid, $3::uuid, $4::uuid, $5::bytea,"
    "  rushes.rushes_now() + $6::bigint * interval '1 millisecond', $7::integer, $8::jsonb, $9)",
    9};

static const struct db_statement revoke_sql = {"link_revoke", "SELECT rushes.link_revoke($1, $2::uuid, $3::uuid)", 3};

static const struct db_statement get_sql = {"link_get",
					    "SELECT row_to_json(t)::text FROM rushes.link_get($1::uuid, $2::uuid) t",
					    2};

static const struct db_statement list_sql = {
    "link_list",
    "SELECT coalesce(json_agg(t ORDER BY t.created_at DESC), '[]')::text FROM ("
    " SELECT l.id, l.account, a.name AS account_name, e.name AS environment_name, rushes.link_state(l) AS state,"
    "  l.created_at, l.created_by, l.expires_at, l.uses, l.uses_max, l.requester"
    " FROM rushes.link l JOIN rushes.account a ON a.id = l.account"
    " JOIN rushes.environment e ON e.account = l.account AND e.id = l.environment"
    " WHERE $1::uuid IS NULL OR l.account = $1::uuid ORDER BY l.created_at DESC LIMIT $2::integer) t",
    2};

int link_create(struct db *d, const char *actor, const struct link_new *l, struct link_made *ret, struct error *e)
{
	char ids[3][UUID_TEXT_BYTES], hash[DB_BYTEA_BYTES(HMAC_BYTES)], life[DB_INT_BYTES], uses[DB_INT_BYTES];
	_cleanup_(db_result_freep) struct db_result *rows = NULL;
	_cleanup_(freep) char *requester = l->requester ? json_dumps(l->requester, JSON_COMPACT) : NULL;
	if (l->requester && !requester)
		return error_nomem(e);
	uuid_format(l->account, ids[0]);
	uuid_format(l->environment, ids[1]);
	uuid_format(&l->id, ids[2]);
	const char *params[] = {actor,
				ids[0],
				ids[1],
				ids[2],
				db_param_bytea(l->code_hash, HMAC_BYTES, hash),
				db_param_int(l->life_ms, life),
				db_param_int(l->uses_max, uses),
				requester,
				l->idempotency};
	int r = db_query(d, &create_sql, params, &rows, e);
	if (r < 0)
		return r;
	if (db_rows(rows) != 1 || !db_uuid(rows, 0, 0, &ret->id))
		return error_set(e, ERR_CORRUPT, "link_create: no id");
	ret->is_new = db_bool(rows, 0, 1);
	(void)snprintf(ret->expires_at, sizeof(ret->expires_at), "%s", db_text(rows, 0, 2));
	return 0;
}

int link_revoke(struct db *d, const char *actor, const struct uuid *account, const struct uuid *id, struct error *e)
{
	char ids[2][UUID_TEXT_BYTES];
	uuid_format(account, ids[0]);
	uuid_format(id, ids[1]);
	return db_query(d, &revoke_sql, (const char *const[]){actor, ids[0], ids[1]}, NULL, e);
}

int link_get(struct db *d, const struct uuid *account, const struct uuid *id, json_t **ret, struct error *e)
{
	char ids[2][UUID_TEXT_BYTES];
	if (account)
		uuid_format(account, ids[0]);
	uuid_format(id, ids[1]);
	return db_query_json(d, &get_sql, (const char *const[]){account ? ids[0] : NULL, ids[1]}, ret, e);
}

int link_list(struct db *d, const struct uuid *account, unsigned limit, json_t **ret, struct error *e)
{
	char id[UUID_TEXT_BYTES], limit_text[DB_INT_BYTES];
	if (account)
		uuid_format(account, id);
	const char *params[] = {account ? id : NULL, db_param_int(limit, limit_text)};
	return db_query_json(d, &list_sql, params, ret, e);
}
