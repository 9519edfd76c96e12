#include "domain/api_access.h"

#include "store/db_json.h"

#include <string.h>

static const char *const scope_words[] = {API_KEY_SCOPES};

static const struct db_statement check_sql = {
    "api_key_check", "SELECT account, unnest(scopes) FROM rushes.api_key_check($1::uuid, $2::bytea)", 2};

/* Where bytes lie is told by service or target; nodes, segments and jobs are the operator's business. */
static const struct db_statement get_sql = {
    "api_recording_get",
    "SELECT (r - '{account,session,segments,jobs,environment_name,held}'::text[] || jsonb_build_object("
    " 'environment', r->'environment_name', 'copies', (SELECT coalesce(jsonb_agg(jsonb_strip_nulls("
    "  jsonb_build_object('file', coalesce(c->>'kind', 'raw'), 'place', coalesce(c->>'node_service', 'target'), "
    "'target', c->'target',"
    "  'target_kind', c->'target_kind', 'owner', c->'owner', 'state', c->'state', 'due_at', c->'due_at',"
    "  'rule', c->'rule', 'location', CASE WHEN c->>'owner' = 'client' THEN c->'location' END))), '[]')"
    "  FROM jsonb_array_elements(r->'copies') c),"
    " 'retention', (SELECT jsonb_build_object('held', x->'held', 'rule', x->'whole'->'rule',"
    "  'due_at', x->'whole'->'due_at', 'copies', (SELECT coalesce(jsonb_agg(jsonb_strip_nulls(jsonb_build_object("
    "   'file', CASE WHEN c->>'of' LIKE 'segment %' THEN 'raw' ELSE c->>'of' END,"
    "   'place', CASE WHEN c->>'place' LIKE 'target/%' THEN 'target' ELSE c->>'name' END,"
    "   'target', CASE WHEN c->>'place' LIKE 'target/%' THEN c->>'name' END, 'state', c->'state',"
    "   'due_at', c->'due_at', 'rule', c->'by', 'paused', c->'paused', 'because', c->'because'))), '[]')"
    "   FROM jsonb_array_elements(x->'copies') c)) FROM rushes.recording_explain($1::uuid, $2::uuid) x)))::text"
    " FROM rushes.recording_get($1::uuid, $2::uuid) r WHERE r IS NOT NULL",
    2};

static const struct db_statement list_sql = {
    "api_recording_list",
    "SELECT coalesce(json_agg(json_build_object('id', id, 'state', state, 'opened_at', opened_at, 'bytes', bytes,"
    " 'environment', environment) ORDER BY opened_at DESC, id), '[]')::text"
    " FROM rushes.recording_list($1::uuid, $2, $3::timestamptz, $4::integer)",
    4};

static const struct db_statement delete_sql = {"api_recording_delete",
					       "SELECT rushes.recording_delete_by_api($1, $2::uuid, $3::uuid, $4)", 4};

static const struct db_statement deletion_sql = {
    "api_recording_deletion",
    "SELECT (d || jsonb_build_object('left', (SELECT coalesce(jsonb_agg(x.value - 'place' ORDER BY x.ordinality), '[]')"
    " FROM jsonb_array_elements(d->'left') WITH ORDINALITY x)))::text"
    " FROM rushes.recording_deletion($1::uuid, $2::uuid) d",
    2};

const char *api_scope_to_string(enum api_scope scope)
{
	for (size_t i = 0; i < ARRAY_SIZE(scope_words); i++)
		if (scope == 1u << i)
			return scope_words[i];
	return "";
}

int api_key_check(struct db *d, const struct uuid *id, const uint8_t hash[HMAC_BYTES], struct uuid *ret_account,
		  unsigned *ret_scopes, struct error *e)
{
	char text[UUID_TEXT_BYTES], digits[DB_BYTEA_BYTES(HMAC_BYTES)];
	_cleanup_(db_result_freep) struct db_result *rows = NULL;
	uuid_format(id, text);
	const char *params[] = {text, db_param_bytea(hash, HMAC_BYTES, digits)};
	int r = db_query(d, &check_sql, params, &rows, e);
	if (r < 0)
		return r;
	if (db_rows(rows) == 0)
		return error_set(e, ERR_DENIED, "the API key is not known, or was revoked");
	if (!db_uuid(rows, 0, 0, ret_account))
		return error_set(e, ERR_CORRUPT, "api_key_check: no account");
	*ret_scopes = 0;
	for (size_t row = 0; row < db_rows(rows); row++)
		for (size_t i = 0; i < ARRAY_SIZE(scope_words); i++)
			if (strcmp(db_text(rows, row, 1), scope_words[i]) == 0)
				*ret_scopes |= 1u << i;
	return 0;
}

int api_recording_get(struct db *d, const struct uuid *account, const struct uuid *id, json_t **ret, struct error *e)
{
	char ids[2][UUID_TEXT_BYTES];
	uuid_format(account, ids[0]);
	uuid_format(id, ids[1]);
	return db_query_json(d, &get_sql, (const char *const[]){ids[0], ids[1]}, ret, e);
}

int api_recording_list(struct db *d, const struct api_recordings *f, json_t **ret, struct error *e)
{
	char account[UUID_TEXT_BYTES], limit[DB_INT_BYTES];
	uuid_format(f->account, account);
	return db_query_json(d, &list_sql,
			     (const char *const[]){account, f->state, f->before, db_param_int(f->limit, limit)}, ret,
			     e);
}

int api_recording_deletion(struct db *d, const struct uuid *account, const struct uuid *id, json_t **ret,
			   struct error *e)
{
	char ids[2][UUID_TEXT_BYTES];
	uuid_format(account, ids[0]);
	uuid_format(id, ids[1]);
	int r = db_query_json(d, &deletion_sql, (const char *const[]){ids[0], ids[1]}, ret, e);
	return r == ERR_NOTFOUND ? error_set(e, r, "no deletion of a recording %s was decided", ids[1]) : r;
}

int api_recording_delete(struct db *d, const char *actor, const struct uuid *account, const struct uuid *id,
			 const char *reason, struct error *e)
{
	char ids[2][UUID_TEXT_BYTES];
	uuid_format(account, ids[0]);
	uuid_format(id, ids[1]);
	return db_query(d, &delete_sql, (const char *const[]){actor, ids[0], ids[1], reason}, NULL, e);
}
