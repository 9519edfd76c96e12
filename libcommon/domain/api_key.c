#include "domain/api_key.h"

#include "store/db_json.h"

#include <string.h>

#define SCOPES_BYTES 128

static const struct db_statement create_sql = {
    "api_key_create", "SELECT rushes.api_key_create($1, $2::uuid, $3::uuid, $4, $5::bytea, $6::text[])", 6};

static const struct db_statement revoke_sql = {"api_key_revoke", "SELECT rushes.api_key_revoke($1, $2::uuid)", 2};

static const struct db_statement list_sql = {
    "api_key_list",
    "SELECT coalesce(json_agg(t ORDER BY t.account_name, t.created_at), '[]')::text FROM ("
    " SELECT k.id, k.account, a.name AS account_name, k.name, k.scopes, k.created_at, k.last_used_at, k.revoked_at"
    " FROM rushes.api_key k JOIN rushes.account a ON a.id = k.account"
    " WHERE $1::uuid IS NULL OR k.account = $1::uuid) t",
    1};

static bool is_scope(const char *word, size_t n)
{
	static const char *const scopes[] = {API_KEY_SCOPES};
	for (size_t i = 0; i < ARRAY_SIZE(scopes); i++)
		if (strlen(scopes[i]) == n && strncmp(scopes[i], word, n) == 0)
			return true;
	return false;
}

/* "a,b" → "{a,b}"; the words hold nothing that an array's text would have to quote. */
static int scopes_param(const char *scopes, char ret[SCOPES_BYTES], struct error *e)
{
	for (const char *word = scopes; word; word = strchr(word, ',') ? strchr(word, ',') + 1 : NULL)
		if (!is_scope(word, strcspn(word, ",")))
			return error_set(e, ERR_REJECT, "%.32s: no scope of an API key", word);
	int n = snprintf(ret, SCOPES_BYTES, "{%s}", scopes);
	return n < SCOPES_BYTES ? 0 : error_set(e, ERR_REJECT, "scopes: named more than once");
}

int api_key_create(struct db *d, const char *actor, const struct uuid *account, const struct uuid *id, const char *name,
		   const uint8_t hash[HMAC_BYTES], const char *scopes, struct error *e)
{
	char ids[2][UUID_TEXT_BYTES], hash_text[DB_BYTEA_BYTES(HMAC_BYTES)], array[SCOPES_BYTES];
	int r = scopes_param(scopes, array, e);
	if (r < 0)
		return r;
	uuid_format(account, ids[0]);
	uuid_format(id, ids[1]);
	const char *params[] = {actor, ids[0], ids[1], name, db_param_bytea(hash, HMAC_BYTES, hash_text), array};
	return db_query(d, &create_sql, params, NULL, e);
}

int api_key_revoke(struct db *d, const char *actor, const struct uuid *id, struct error *e)
{
	char text[UUID_TEXT_BYTES];
	uuid_format(id, text);
	return db_query(d, &revoke_sql, (const char *const[]){actor, text}, NULL, e);
}

int api_key_list(struct db *d, const struct uuid *account, json_t **ret, struct error *e)
{
	char id[UUID_TEXT_BYTES];
	if (account)
		uuid_format(account, id);
	return db_query_json(d, &list_sql, (const char *const[]){account ? id : NULL}, ret, e);
}
