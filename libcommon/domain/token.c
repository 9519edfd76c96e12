#include "domain/token.h"

#include "base/clock.h"
#include "base/json.h"
#include "crypto/paseto.h"

#include <inttypes.h>
#include <string.h>

#define IMPLICIT	   "rushes.session.v1"
#define AUDIENCE_CHARS_MAX 80

/* Largest number that JSON carries exactly. */
#define NUMBER_MAX ((uint64_t)1 << 53)

struct claims {
	char *audience;
	char *made;
	char *expires;
	struct uuid account, session;
	uint64_t max_bytes, max_duration_ms;
	bool send_on_stop;
};

static const struct json_field claim_fields[] = {
    {"aud", JSON_FIELD_STRING, true, 1, AUDIENCE_CHARS_MAX, NULL, offsetof(struct claims, audience), 0},
    {"iat", JSON_FIELD_STRING, true, 1, CLOCK_TEXT_BYTES, NULL, offsetof(struct claims, made), 0},
    {"exp", JSON_FIELD_STRING, true, 1, CLOCK_TEXT_BYTES, NULL, offsetof(struct claims, expires), 0},
    {"account", JSON_FIELD_UUID, true, 0, 0, NULL, offsetof(struct claims, account), 0},
    {"session", JSON_FIELD_UUID, true, 0, 0, NULL, offsetof(struct claims, session), 0},
    {"max_bytes", JSON_FIELD_UINT, true, 0, NUMBER_MAX, NULL, offsetof(struct claims, max_bytes), 0},
    {"max_duration_ms", JSON_FIELD_UINT, true, 0, NUMBER_MAX, NULL, offsetof(struct claims, max_duration_ms), 0},
    {"send_on_stop", JSON_FIELD_BOOL, true, 0, 0, NULL, offsetof(struct claims, send_on_stop), 0},
    {0},
};

/* "2026-11-22T01:44:01Z": whole seconds, UTC, nothing else. */
static void format_second(int64_t wall_us, char ret[CLOCK_TEXT_BYTES])
{
	clock_format(wall_us, ret);
	memcpy(ret + 19, "Z", 2);
}

int session_token_sign(const struct keyring *keys, const char *region, const struct session_token *t, char **ret,
		       struct error *e)
{
	if (t->expires_us - t->made_us > SESSION_TOKEN_LIFE_MAX_US)
		return error_set(e, ERR_REJECT, "a session token would live longer than 12 hours");
	char account[UUID_TEXT_BYTES], session[UUID_TEXT_BYTES], made[CLOCK_TEXT_BYTES], expires[CLOCK_TEXT_BYTES];
	uuid_format(&t->account, account);
	uuid_format(&t->session, session);
	format_second(t->made_us, made);
	format_second(t->expires_us, expires);
	char payload[PASETO_PAYLOAD_BYTES_MAX];
	int n = snprintf(payload, sizeof(payload),
			 "{\"aud\":\"ingest.%s\",\"iat\":\"%s\",\"exp\":\"%s\",\"account\":\"%s\",\"session\":\"%s\","
			 "\"max_bytes\":%" PRIu64 ",\"max_duration_ms\":%" PRIu64 ",\"send_on_stop\":%s}",
			 region, made, expires, account, session, t->max_bytes, t->max_duration_ms,
			 t->send_on_stop ? "true" : "false");
	if (n < 0 || (size_t)n >= sizeof(payload))
		return error_set(e, ERR_REJECT, "the region's name is too long for a token");
	const char *id;
	const uint8_t *seed = keyring_current(keys, &id);
	_cleanup_(freep) char *footer = NULL;
	int r = paseto_footer_make(id, &footer, e);
	if (r < 0)
		return r;
	return paseto_sign(seed, payload, footer, IMPLICIT, ret, e);
}

static int open_token(const struct keyring *keys, const char *token, char **ret_payload, struct error *e)
{
	_cleanup_(freep) char *id = NULL, *footer = NULL;
	int r = paseto_key_id(token, &id, e);
	if (r < 0)
		return r;
	const uint8_t *key = keyring_find(keys, id);
	if (!key)
		return error_set(e, ERR_DENIED, "the session token names an unknown key");
	r = paseto_footer_make(id, &footer, e);
	if (r < 0)
		return r;
	return paseto_verify(key, token, footer, IMPLICIT, ret_payload, e);
}

static int check_claims(const struct claims *c, const char *region, int64_t now_us, struct session_token *ret,
			struct error *e)
{
	char audience[AUDIENCE_CHARS_MAX + 1];
	int n = snprintf(audience, sizeof(audience), "ingest.%s", region);
	if (n < 0 || (size_t)n >= sizeof(audience) || strcmp(c->audience, audience) != 0)
		return error_set(e, ERR_DENIED, "the session token is for another region");
	int64_t made_us, expires_us;
	if (!clock_parse(c->made, &made_us) || !clock_parse(c->expires, &expires_us))
		return error_set(e, ERR_REJECT, "the session token has a malformed time");
	if (expires_us <= now_us)
		return error_set(e, ERR_DENIED, "the session token has expired");
	if (made_us > now_us + SESSION_TOKEN_SKEW_US)
		return error_set(e, ERR_DENIED, "the session token is from the future: check the clocks");
	if (expires_us - made_us > SESSION_TOKEN_LIFE_MAX_US)
		return error_set(e, ERR_DENIED, "the session token lives longer than 12 hours");
	*ret = (struct session_token){c->account,   c->session,		made_us,	expires_us,
				      c->max_bytes, c->max_duration_ms, c->send_on_stop};
	return 0;
}

int session_token_check(const struct keyring *keys, const char *region, const char *token, int64_t now_us,
			struct session_token *ret, struct error *e)
{
	_cleanup_(freep) char *payload = NULL;
	int r = open_token(keys, token, &payload, e);
	if (r < 0)
		return r;
	json_t *object = NULL;
	r = json_parse(payload, strlen(payload), &object, e);
	if (r < 0)
		return error_wrap(e, "session token");
	struct claims c = {0};
	r = json_read(object, claim_fields, true, &c, e);
	json_decref(object);
	if (r < 0)
		return error_wrap(e, "session token");
	r = check_claims(&c, region, now_us, ret, e);
	json_read_done(claim_fields, &c);
	return r;
}
