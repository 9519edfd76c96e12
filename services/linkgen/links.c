#include "links.h"

#include "call.h"

#include "base/clock.h"
#include "domain/access_code.h"
#include "domain/account.h"
#include "domain/link.h"
#include "domain/session.h"

#include <string.h>

/* A link that lives shorter could not be opened from a mail. */
#define LINK_LIFE_S_MIN 60
#define URL_BYTES	2048

struct create {
	/* of the body */
	char *environment;
	uint64_t expires_in_s;
	bool has_expires_in;
	char *expires_at;
	uint64_t uses_max;
	bool has_uses_max;
	json_t *requester;
	/* of the header; borrowed from the request */
	const char *idempotency;
	int64_t life_ms;
};

static const struct json_field create_fields[] = {
    {"environment", JSON_FIELD_STRING, true, 1, 128, NULL, offsetof(struct create, environment), 0},
    {"expires_in", JSON_FIELD_UINT, false, LINK_LIFE_S_MIN, LINK_LIFE_MS_MAX / 1000, NULL,
     offsetof(struct create, expires_in_s), offsetof(struct create, has_expires_in)},
    {"expires_at", JSON_FIELD_STRING, false, 20, 40, NULL, offsetof(struct create, expires_at), 0},
    {"uses_max", JSON_FIELD_UINT, false, 1, LINK_USES_MAX, NULL, offsetof(struct create, uses_max),
     offsetof(struct create, has_uses_max)},
    {"requester", JSON_FIELD_OBJECT, false, 0, 0, NULL, offsetof(struct create, requester), 0},
    {0},
};

/* Personal data: bounded here, deleted with the link. */
struct requester {
	char *agent, *subject, *ticket, *customer;
};

static const struct json_field requester_fields[] = {
    {"agent", JSON_FIELD_STRING, false, 0, 200, NULL, offsetof(struct requester, agent), 0},
    {"subject", JSON_FIELD_STRING, false, 0, 2000, NULL, offsetof(struct requester, subject), 0},
    {"ticket", JSON_FIELD_STRING, false, 0, 100, NULL, offsetof(struct requester, ticket), 0},
    {"customer", JSON_FIELD_STRING, false, 0, 200, NULL, offsetof(struct requester, customer), 0},
    {0},
};

static void create_done(void *input)
{
	json_read_done(create_fields, input);
}

static int read_idempotency(struct call *c, const char **ret, struct error *e)
{
	const char *key = http_request_header(c->request, "Idempotency-Key");
	*ret = key;
	if (!key)
		return 0;
	size_t n = strlen(key);
	if (n < 1 || n > LINK_IDEMPOTENCY_CHARS_MAX)
		return error_set(e, ERR_REJECT, "Idempotency-Key: want 1 to %d characters", LINK_IDEMPOTENCY_CHARS_MAX);
	for (const char *p = key; *p; p++)
		if (*p < 0x21 || *p > 0x7e)
			return error_set(e, ERR_REJECT, "Idempotency-Key: want visible ASCII characters");
	return 0;
}

static int read_life(struct create *in, struct error *e)
{
	int64_t expires_us = 0;
	in->life_ms = in->has_expires_in ? (int64_t)in->expires_in_s * 1000 : LINK_LIFE_MS_DEFAULT;
	if (!in->expires_at)
		return 0;
	if (in->has_expires_in)
		return error_set(e, ERR_REJECT, "expires_in and expires_at exclude each other");
	if (!clock_parse(in->expires_at, &expires_us))
		return error_set(e, ERR_REJECT, "expires_at: want a time as 2026-11-22T14:00:00Z");
	in->life_ms = (expires_us - clock_wall_us()) / 1000;
	if (in->life_ms < LINK_LIFE_S_MIN * 1000 || in->life_ms > LINK_LIFE_MS_MAX)
		return error_set(e, ERR_REJECT, "expires_at: want a time from a minute to a year ahead");
	return 0;
}

static int create_read(struct call *c, struct error *e)
{
	struct create *in = c->input;
	struct requester checked = {0};
	json_t *body = NULL;
	int r = call_read_json(c, &body, e);
	if (r < 0)
		return r;
	r = json_read(body, create_fields, false, in, e);
	json_decref(body);
	if (r == 0 && in->requester)
		r = json_read(in->requester, requester_fields, false, &checked, e);
	json_read_done(requester_fields, &checked);
	if (r == 0)
		r = read_idempotency(c, &in->idempotency, e);
	if (r == 0)
		r = read_life(in, e);
	if (!in->has_uses_max)
		in->uses_max = 1;
	return r;
}

/* The same key must mean the same request; another one would get a link that it did not ask for. */
static int check_repeated(struct call *c, struct db *d, const struct uuid *environment, const uint8_t *code_hash,
			  json_t *stored, struct error *e)
{
	const struct create *in = c->input;
	struct link_view view = {0};
	char id[UUID_TEXT_BYTES];
	_cleanup_(json_decrefp) json_t *empty = json_object();
	uuid_format(environment, id);
	const char *stored_environment = json_string_value(json_object_get(stored, "environment"));
	bool same = stored_environment && strcmp(stored_environment, id) == 0 &&
		    json_integer_value(json_object_get(stored, "uses_max")) == (json_int_t)in->uses_max &&
		    json_equal(json_object_get(stored, "requester"), in->requester ? in->requester : empty);
	if (!same)
		return call_refuse(c, 409, "idempotency-mismatch",
				   "the Idempotency-Key was used for a link with other properties");
	/* after a change of the pepper the key derives another code than it did */
	int r = link_resolve(d, code_hash, &view, e);
	link_view_done(&view);
	if (r == ERR_NOTFOUND)
		return call_refuse(c, 409, "idempotency-mismatch",
				   "the Idempotency-Key was used for a link whose address is no longer known");
	return r;
}

static int make(struct call *c, struct db *d, const char *code, const struct uuid *environment, struct error *e)
{
	const struct create *in = c->input;
	uint8_t code_hash[HMAC_BYTES];
	char id[UUID_TEXT_BYTES], url[URL_BYTES];
	struct link_made made = {0};
	json_t *stored = NULL;
	int r = link_code_hash(c->app->link_pepper, code, code_hash, e);
	if (r < 0)
		return r;
	struct link_new l = {
	    .id = uuid_v7(),
	    .account = &c->account,
	    .environment = environment,
	    .code_hash = code_hash,
	    .life_ms = in->life_ms,
	    .uses_max = (unsigned)in->uses_max,
	    .requester = in->requester,
	    .idempotency = in->idempotency,
	};
	r = link_create(d, c->actor, &l, &made, e);
	if (r == 0)
		r = link_get(d, &c->account, &made.id, &stored, e);
	if (r < 0)
		return r;
	c->answer = stored;
	if (!made.is_new) {
		r = check_repeated(c, d, environment, code_hash, stored, e);
		if (r < 0 || c->refusal)
			return r;
	}
	(void)snprintf(url, sizeof(url), "%s/r/%s", c->app->config->url, code);
	uuid_format(&made.id, id);
	if (json_object_set_new(c->answer, "url", json_string(url)) < 0 ||
	    asprintf(&c->location, "/v1/links/%s", id) < 0)
		return error_nomem(e);
	(void)json_object_del(c->answer, "account");
	c->status = made.is_new ? 201 : 200;
	return 0;
}

static int create_work(struct call *c, struct db *d, struct error *e)
{
	const struct create *in = c->input;
	struct uuid environment;
	char code[LINK_CODE_BYTES];
	int r = environment_find(d, &c->account, in->environment, &environment, e);
	if (r == ERR_NOTFOUND)
		return call_refuse(c, 400, "unknown-environment", "the account has no such environment");
	if (r < 0)
		return r;
	if (in->idempotency)
		r = link_code_derive(c->app->link_pepper, &c->account, in->idempotency, code, e);
	else
		link_code_new(code);
	return r < 0 ? r : make(c, d, code, &environment, e);
}

static int get_read(struct call *c, struct error *e)
{
	return call_read_id(c, c->input, e);
}

static int get_work(struct call *c, struct db *d, struct error *e)
{
	int r = link_get(d, &c->account, c->input, &c->answer, e);
	if (r == 0)
		(void)json_object_del(c->answer, "account");
	return r;
}

static int revoke_work(struct call *c, struct db *d, struct error *e)
{
	c->status = 204;
	return link_revoke(d, c->actor, &c->account, c->input, e);
}

void links_post(struct http_request *r, void *arg)
{
	static const struct call_kind kind = {
	    .operation = "link-create",
	    .scope = API_LINKS_WRITE,
	    .limit = LIMIT_API,
	    .input_bytes = sizeof(struct create),
	    .read = create_read,
	    .work = create_work,
	    .done = create_done,
	};
	call_begin(r, arg, &kind);
}

void links_get(struct http_request *r, void *arg)
{
	static const struct call_kind kind = {
	    .operation = "link-get",
	    .scope = API_LINKS_READ,
	    .limit = LIMIT_API,
	    .input_bytes = sizeof(struct uuid),
	    .read = get_read,
	    .work = get_work,
	};
	call_begin(r, arg, &kind);
}

void links_delete(struct http_request *r, void *arg)
{
	static const struct call_kind kind = {
	    .operation = "link-revoke",
	    .scope = API_LINKS_WRITE,
	    .limit = LIMIT_API,
	    .input_bytes = sizeof(struct uuid),
	    .read = get_read,
	    .work = revoke_work,
	};
	call_begin(r, arg, &kind);
}
