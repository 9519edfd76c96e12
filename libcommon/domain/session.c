#include "domain/session.h"

#include "crypto/random.h"
#include "store/db_json.h"

#include <string.h>

static const char alphabet[] = "abcdefghijklmnopqrstuvwxyz234567";

static const struct db_statement resolve_sql = {
    "link_resolve",
    "SELECT json_build_object('state', state, 'account_name', account_name, 'expires_at', expires_at,"
    " 'consent_text', consent_text, 'requester', requester, 'max_bytes', max_bytes,"
    " 'max_duration_ms', max_duration_ms)::text FROM rushes.link_resolve($1::bytea)",
    1};

static const struct db_statement open_sql = {
    "session_open",
    "SELECT state, session, account, extract(epoch from expires_at)::bigint, max_bytes, max_duration_ms, send_on_stop,"
    " is_resumed FROM rushes.session_open($1::bytea, $2::uuid, $3::bytea, $4::bytea, $5,"
    " $6::bigint * interval '1 millisecond')",
    6};

static const struct {
	const char *word;
	enum link_verdict verdict;
} verdicts[] = {
    {"open", LINK_OPEN},
    {"expired", LINK_EXPIRED},
    {"link-expired", LINK_EXPIRED},
    {"revoked", LINK_REVOKED},
    {"link-revoked", LINK_REVOKED},
    {"session-revoked", LINK_REVOKED},
    {"used-up", LINK_USED_UP},
    {"account-expired", LINK_ACCOUNT_CLOSED},
    {"account-closed", LINK_ACCOUNT_CLOSED},
    {"trial-expired", LINK_ACCOUNT_CLOSED},
    {"subscription-expired", LINK_ACCOUNT_CLOSED},
    {"consent-changed", LINK_CONSENT_CHANGED},
    {"session-expired", LINK_SESSION_EXPIRED},
};

void session_secret_new(char ret[SESSION_SECRET_BYTES])
{
	random_bytes(ret, SESSION_SECRET_CHARS);
	for (size_t i = 0; i < SESSION_SECRET_CHARS; i++)
		ret[i] = alphabet[(uint8_t)ret[i] % 32];
	ret[SESSION_SECRET_CHARS] = '\0';
}

int session_secret_hash(const char *secret, uint8_t ret[SHA256_BYTES], struct error *e)
{
	if (strnlen(secret, SESSION_SECRET_BYTES) != SESSION_SECRET_CHARS ||
	    strspn(secret, alphabet) != SESSION_SECRET_CHARS)
		return error_set(e, ERR_REJECT, "this is no secret of a session");
	return sha256_of(secret, SESSION_SECRET_CHARS, ret, e);
}

enum link_verdict link_verdict_from_string(const char *text)
{
	for (size_t i = 0; i < ARRAY_SIZE(verdicts); i++)
		if (strcmp(verdicts[i].word, text) == 0)
			return verdicts[i].verdict;
	return LINK_VERDICT_MAX;
}

static int read_verdict(const char *text, enum link_verdict *ret, struct error *e)
{
	*ret = text ? link_verdict_from_string(text) : LINK_VERDICT_MAX;
	if (*ret == LINK_VERDICT_MAX)
		return error_set(e, ERR_FATAL,
				 "the database answers with a link's state that this program does not know");
	return 0;
}

void link_view_done(struct link_view *v)
{
	json_decref(v->facts);
	v->facts = NULL;
}

int link_resolve(struct db *d, const uint8_t code_hash[HMAC_BYTES], struct link_view *ret, struct error *e)
{
	char hash[DB_BYTEA_BYTES(HMAC_BYTES)];
	const char *params[] = {db_param_bytea(code_hash, HMAC_BYTES, hash)};
	json_t *facts = NULL;
	int r = db_query_json(d, &resolve_sql, params, &facts, e);
	if (r < 0)
		return r;
	r = read_verdict(json_string_value(json_object_get(facts, "state")), &ret->verdict, e);
	if (r < 0) {
		json_decref(facts);
		return r;
	}
	ret->facts = facts;
	return 0;
}

int session_open(struct db *d, const struct session_request *q, struct session_grant *ret, struct error *e)
{
	char hash[DB_BYTEA_BYTES(HMAC_BYTES)], id[UUID_TEXT_BYTES], life[DB_INT_BYTES];
	char secret[DB_BYTEA_BYTES(SHA256_BYTES)], resumed[DB_BYTEA_BYTES(SHA256_BYTES)];
	_cleanup_(db_result_freep) struct db_result *rows = NULL;
	struct uuid fresh = uuid_v7();
	uuid_format(&fresh, id);
	const char *params[] = {
	    db_param_bytea(q->code_hash, HMAC_BYTES, hash),
	    id,
	    db_param_bytea(q->secret_hash, SHA256_BYTES, secret),
	    q->resumed_hash ? db_param_bytea(q->resumed_hash, SHA256_BYTES, resumed) : NULL,
	    q->consent_text,
	    db_param_int(q->life_ms, life),
	};
	int r = db_query(d, &open_sql, params, &rows, e);
	if (r < 0)
		return r;
	if (db_rows(rows) == 0)
		return error_set(e, ERR_NOTFOUND, "there is no such link");
	*ret = (struct session_grant){0};
	r = read_verdict(db_text(rows, 0, 0), &ret->verdict, e);
	if (r < 0 || ret->verdict != LINK_OPEN)
		return r;
	if (!db_uuid(rows, 0, 1, &ret->session) || !db_uuid(rows, 0, 2, &ret->account))
		return error_set(e, ERR_CORRUPT, "session_open: no session");
	ret->expires_us = db_int(rows, 0, 3) * 1000000;
	ret->max_bytes = (uint64_t)db_int(rows, 0, 4);
	ret->max_duration_ms = (uint64_t)db_int(rows, 0, 5);
	ret->send_on_stop = db_bool(rows, 0, 6);
	ret->is_resumed = db_bool(rows, 0, 7);
	return 0;
}
