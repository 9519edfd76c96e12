#include "call.h"

#include "domain/access_code.h"

#include <inttypes.h>
#include <stdarg.h>
#include <string.h>
#include <strings.h>

/* Wait that a client is asked for while the service is busy or the database away. */
#define RETRY_AFTER_S 2

static void call_free(struct call *c)
{
	if (c->kind->done)
		c->kind->done(c->input);
	c->app->calls--;
	if (c->app->stopped && c->app->calls == 0)
		free(c->app);
	http_request_unref(c->request);
	json_decref(c->answer);
	free(c->location);
	free(c->input);
	free(c);
}

int call_refuse(struct call *c, int status, const char *code, const char *fmt, ...)
{
	char detail[ERROR_TEXT_BYTES];
	va_list args;
	va_start(args, fmt);
	(void)vsnprintf(detail, sizeof(detail), fmt, args);
	va_end(args);
	c->status = status;
	c->refusal = code;
	(void)error_set(&c->error, ERR_REJECT, "%s", detail);
	return 0;
}

static void refuse_by_error(struct call *c)
{
	static const struct {
		int error, status;
		const char *code;
	} map[] = {
	    {ERR_REJECT, 400, "bad-request"}, {ERR_DENIED, 403, "denied"},   {ERR_NOTFOUND, 404, "not-found"},
	    {ERR_CONFLICT, 409, "conflict"},  {ERR_RETRY, 503, "try-again"}, {ERR_FULL, 503, "try-again"},
	};
	c->status = 500;
	c->refusal = "internal";
	for (size_t i = 0; i < ARRAY_SIZE(map); i++)
		if (map[i].error == c->error.code) {
			c->status = map[i].status;
			c->refusal = map[i].code;
		}
}

static void log_failure(struct call *c)
{
	char account[UUID_TEXT_BYTES];
	uuid_format(&c->account, account);
	struct log_context ctx = {.account = c->kind->scope ? account : NULL, .trace = http_request_trace(c->request)};
	if (c->status >= 500)
		log_warning(&ctx, "%s: %s", c->kind->operation, c->error.text);
}

static void respond_problem(struct call *c)
{
	char seconds[24];
	int64_t wait_s = c->status == 503 ? RETRY_AFTER_S : (c->wait_ms + 999) / 1000;
	if (c->status == 503 || c->status == 429) {
		(void)snprintf(seconds, sizeof(seconds), "%" PRId64, MAX(wait_s, 1));
		(void)http_response_header(c->request, "Retry-After", seconds);
	}
	if (c->status == 401)
		(void)http_response_header(c->request, "WWW-Authenticate", "Bearer");
	const char *detail = c->status >= 500 ? "please try again later" : c->error.text;
	(void)http_respond_problem(c->request, c->status, c->refusal, "%s", detail);
}

/* On the loop: the end of every call. */
static void finish(void *arg)
{
	struct call *c = arg;
	if (c->app->stopped) {
		call_free(c);
		return;
	}
	if (c->error.code != 0 && !c->refusal)
		refuse_by_error(c);
	log_failure(c);
	metric_count(c->app->answers, c->kind->operation, c->refusal ? c->refusal : "ok");
	if (!c->refusal && c->kind->answer) {
		c->kind->answer(c);
		call_free(c);
		return;
	}
	(void)http_response_security_headers(c->request, NULL);
	if (c->location)
		(void)http_response_header(c->request, "Location", c->location);
	if (c->refusal)
		respond_problem(c);
	else if (c->answer)
		(void)http_respond_json(c->request, c->status, c->answer);
	else
		(void)http_respond(c->request, c->status, NULL, "", 0);
	call_free(c);
}

/* The key's right, asked of the database at every call: a revoked key ends at once. */
static int authorise(struct call *c, struct db *d, struct error *e)
{
	unsigned scopes = 0;
	int r = api_key_check(d, &c->key, c->key_hash, &c->account, &scopes, e);
	if (r == ERR_DENIED)
		return call_refuse(c, 401, "unauthorized", "the API key is not known, or was revoked");
	if (r == 0 && !(scopes & c->kind->scope))
		return call_refuse(c, 403, "scope", "the API key lacks the scope %s",
				   api_scope_to_string((enum api_scope)(c->kind->scope & -c->kind->scope)));
	return r;
}

static void work(void *arg)
{
	struct call *c = arg;
	struct error *e = &c->error;
	_cleanup_(db_releasep) struct db *d = NULL;
	int r = db_acquire(platform_db(c->app->platform), &d, e);
	if (r == 0 && c->kind->scope)
		r = authorise(c, d, e);
	if (r == 0 && !c->refusal)
		r = c->kind->work(c, d, e);
	if (r < 0)
		c->refusal = NULL;
}

static void submit(struct call *c)
{
	if (pool_submit(platform_pool(c->app->platform), work, finish, c) == 0)
		return;
	(void)error_set(&c->error, ERR_FULL, "the pool of threads is full");
	finish(c);
}

static void limited(void *arg, bool allowed, int64_t wait_ms)
{
	struct call *c = arg;
	if (allowed) {
		submit(c);
		return;
	}
	c->wait_ms = wait_ms;
	(void)call_refuse(c, 429, "too-many-requests", "too many requests: wait %" PRId64 " ms", wait_ms);
	finish(c);
}

/* The form of a key says nothing about its right, but what has not the form needs no question to the database. */
static int read_key(struct call *c, struct error *e)
{
	const char *secret = NULL;
	const char *bearer = http_request_bearer(c->request);
	if (!bearer || !api_key_parse(bearer, &c->key, &secret))
		return call_refuse(c, 401, "unauthorized", "an API key is needed: Authorization: Bearer rk_...");
	char id[UUID_TEXT_BYTES];
	uuid_format(&c->key, id);
	(void)snprintf(c->actor, sizeof(c->actor), "api-key/%s", id);
	return api_key_hash(c->app->link_pepper, &c->key, secret, c->key_hash, e);
}

void call_begin(struct http_request *r, struct linkgen *app, const struct call_kind *kind)
{
	struct call *c = calloc(1, sizeof(*c));
	void *input = calloc(1, MAX(kind->input_bytes, 1));
	if (!c || !input) {
		free(c);
		free(input);
		(void)http_respond_problem(r, 503, "try-again", "please try again later");
		return;
	}
	c->kind = kind;
	c->app = app;
	c->request = http_request_ref(r);
	c->input = input;
	c->status = 200;
	app->calls++;
	int result = kind->scope ? read_key(c, &c->error) : 0;
	if (result == 0 && !c->refusal && kind->read)
		result = kind->read(c, &c->error);
	if (result < 0 || c->refusal)
		finish(c);
	else
		limiter_take(app->limiter, kind->limit, http_request_remote(r), limited, c);
}

int call_read_id(struct call *c, struct uuid *ret, struct error *e)
{
	const char *id = http_request_parameter(c->request, "id");
	if (!id || !uuid_parse(id, ret))
		return error_set(e, ERR_NOTFOUND, "this is no id");
	return 0;
}

int call_read_json(struct call *c, json_t **ret, struct error *e)
{
	static const char type[] = "application/json";
	const char *given = http_request_header(c->request, "Content-Type");
	if (!given || strncasecmp(given, type, strlen(type)) != 0)
		return error_set(e, ERR_REJECT, "the body must be application/json");
	return http_request_json(c->request, ret, e);
}
