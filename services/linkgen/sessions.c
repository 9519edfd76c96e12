#include "sessions.h"

#include "base/clock.h"
#include "domain/access_code.h"
#include "domain/token.h"

#include <string.h>

int session_read_code(struct call *c, uint8_t ret[HMAC_BYTES], struct error *e)
{
	const char *code = http_request_parameter(c->request, "code");
	if (!code || !link_code_valid(code))
		return error_set(e, ERR_NOTFOUND, "this is no code of a link");
	return link_code_hash(c->app->link_pepper, code, ret, e);
}

int session_refuse_unknown(struct call *c)
{
	return call_refuse(c, 404, "link-unknown", "there is no such link");
}

int session_refuse(struct call *c, enum link_verdict verdict)
{
	switch (verdict) {
	case LINK_OPEN:
		return 0;
	case LINK_EXPIRED:
	case LINK_SESSION_EXPIRED:
		return call_refuse(c, 410, "link-expired", "the link has expired");
	case LINK_REVOKED:
		return call_refuse(c, 410, "link-revoked", "the link was withdrawn");
	case LINK_USED_UP:
		return call_refuse(c, 410, "link-used", "the link has no use left");
	case LINK_ACCOUNT_CLOSED:
		return call_refuse(c, 403, "account-closed", "the account takes no recordings now");
	case LINK_CONSENT_CHANGED:
		return call_refuse(c, 409, "consent-changed", "the text of consent is another one now");
	case LINK_VERDICT_MAX:
		break;
	}
	return error_set(&c->error, ERR_FATAL, "a verdict that is none");
}

/* The code first, as the first thing of every input. */
static int request_read(struct call *c, struct error *e)
{
	int r = session_read_code(c, c->input, e);
	return r == ERR_NOTFOUND ? session_refuse_unknown(c) : r;
}

/* The requester's data that the customer may see: his own name is not for whoever holds the link. */
static json_t *requester_of(json_t *facts)
{
	static const char *const names[] = {"agent", "subject", "ticket"};
	json_t *from = json_object_get(facts, "requester");
	json_t *shown = json_object();
	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		json_t *value = json_object_get(from, names[i]);
		if (json_is_string(value))
			(void)json_object_set(shown, names[i], value);
	}
	return shown;
}

static json_t *limits_of(uint64_t max_bytes, uint64_t max_duration_ms)
{
	return json_pack("{s:I, s:I}", "bytes", (json_int_t)max_bytes, "seconds", (json_int_t)(max_duration_ms / 1000));
}

static uint64_t number_of(json_t *facts, const char *name)
{
	return (uint64_t)json_integer_value(json_object_get(facts, name));
}

static int request_work(struct call *c, struct db *d, struct error *e)
{
	struct link_view v = {0};
	int r = link_resolve(d, c->input, &v, e);
	if (r == ERR_NOTFOUND)
		return session_refuse_unknown(c);
	if (r < 0)
		return r;
	r = session_refuse(c, v.verdict);
	if (r == 0 && !c->refusal) {
		c->answer =
		    json_pack("{s:{s:O}, s:o, s:O, s:{s:O}, s:o}", "account", "name",
			      json_object_get(v.facts, "account_name"), "requester", requester_of(v.facts),
			      "expires_at", json_object_get(v.facts, "expires_at"), "consent", "text",
			      json_object_get(v.facts, "consent_text"), "limits",
			      limits_of(number_of(v.facts, "max_bytes"), number_of(v.facts, "max_duration_ms")));
		if (!c->answer)
			r = error_set(e, ERR_CORRUPT, "link_resolve: a fact is missing");
	}
	link_view_done(&v);
	return r;
}

struct exchange {
	uint8_t code_hash[HMAC_BYTES];
	json_t *consent;
	char *resume;
	const char *consent_text; /* borrowed from `consent` */
};

static const struct json_field exchange_fields[] = {
    {"consent", JSON_FIELD_OBJECT, false, 0, 0, NULL, offsetof(struct exchange, consent), 0},
    {"resume", JSON_FIELD_STRING, false, SESSION_SECRET_CHARS, SESSION_SECRET_CHARS, NULL,
     offsetof(struct exchange, resume), 0},
    {0},
};

static void exchange_done(void *input)
{
	json_read_done(exchange_fields, input);
}

static int exchange_read(struct call *c, struct error *e)
{
	struct exchange *in = c->input;
	json_t *body = NULL;
	int r = request_read(c, e);
	if (r < 0 || c->refusal)
		return r;
	r = call_read_json(c, &body, e);
	if (r < 0)
		return r;
	r = json_read(body, exchange_fields, false, in, e);
	json_decref(body);
	if (r < 0)
		return r;
	in->consent_text = json_string_value(json_object_get(in->consent, "text"));
	if (in->consent && (!in->consent_text || strlen(in->consent_text) > CONSENT_BYTES_MAX))
		return error_set(e, ERR_REJECT, "consent: want {\"text\": the text that was accepted}");
	if (!in->consent && !in->resume)
		return error_set(e, ERR_REJECT, "want consent, or resume, or both");
	return 0;
}

static int sign(struct call *c, const struct session_grant *g, char **ret, struct error *e)
{
	int64_t now_us = clock_wall_us();
	struct session_token t = {
	    .account = g->account,
	    .session = g->session,
	    /* the database's clock set the end; ours may be a little behind it */
	    .made_us = MAX(now_us, g->expires_us - SESSION_TOKEN_LIFE_MAX_US),
	    .expires_us = g->expires_us,
	    .max_bytes = g->max_bytes,
	    .max_duration_ms = g->max_duration_ms,
	    .send_on_stop = g->send_on_stop,
	};
	return session_token_sign(c->app->token_keys, c->app->config->platform.region, &t, ret, e);
}

static int grant(struct call *c, const struct session_grant *g, const char *secret, struct error *e)
{
	_cleanup_(freep) char *token = NULL;
	char id[UUID_TEXT_BYTES], expires[CLOCK_TEXT_BYTES];
	int r = sign(c, g, &token, e);
	if (r < 0)
		return r;
	uuid_format(&g->session, id);
	clock_format(g->expires_us, expires);
	c->answer = json_pack("{s:s, s:s, s:s, s:s, s:s, s:o, s:b}", "session", id, "resume", secret, "token", token,
			      "token_expires_at", expires, "ingest_url", c->app->config->ingest_url, "limits",
			      limits_of(g->max_bytes, g->max_duration_ms), "send_on_stop", (int)g->send_on_stop);
	c->status = g->is_resumed ? 200 : 201;
	return c->answer ? 0 : error_nomem(e);
}

static int exchange_work(struct call *c, struct db *d, struct error *e)
{
	struct exchange *in = c->input;
	char secret[SESSION_SECRET_BYTES];
	uint8_t secret_hash[SHA256_BYTES], resumed_hash[SHA256_BYTES];
	struct session_grant g;
	session_secret_new(secret);
	int r = session_secret_hash(secret, secret_hash, e);
	if (r == 0 && in->resume)
		r = session_secret_hash(in->resume, resumed_hash, e);
	if (r < 0)
		return r;
	struct session_request q = {
	    .code_hash = in->code_hash,
	    .consent_text = in->consent_text,
	    .secret_hash = secret_hash,
	    .resumed_hash = in->resume ? resumed_hash : NULL,
	    .life_ms = SESSION_LIFE_MS,
	};
	r = session_open(d, &q, &g, e);
	if (r == ERR_NOTFOUND)
		return session_refuse_unknown(c);
	if (r < 0)
		return r;
	r = session_refuse(c, g.verdict);
	if (r < 0 || c->refusal)
		return r;
	return grant(c, &g, g.is_resumed ? in->resume : secret, e);
}

void session_request_get(struct http_request *r, void *arg)
{
	static const struct call_kind kind = {
	    .operation = "request",
	    .limit = LIMIT_REQUEST,
	    .input_bytes = HMAC_BYTES,
	    .read = request_read,
	    .work = request_work,
	};
	call_begin(r, arg, &kind);
}

void session_post(struct http_request *r, void *arg)
{
	static const struct call_kind kind = {
	    .operation = "session",
	    .limit = LIMIT_SESSION,
	    .input_bytes = sizeof(struct exchange),
	    .read = exchange_read,
	    .work = exchange_work,
	    .done = exchange_done,
	};
	call_begin(r, arg, &kind);
}
