#include "tus.h"

#include "admission.h"
#include "answer.h"
#include "message.h"
#include "tus_field.h"
#include "tus_internal.h"

#include <string.h>

#define TUS_VERSION    "1.0.0"
#define TUS_EXTENSIONS "creation,creation-with-upload,creation-defer-length,expiration,checksum,termination"

#define UPLOADS_METHODS "OPTIONS, POST"
#define UPLOAD_METHODS	"OPTIONS, HEAD, PATCH, DELETE"

/* What the server can do; asked without a token, so that browsers may ask first. */
static void options(struct ingest *g, struct http_request *r, const char *methods)
{
	char size[24];
	struct session_token token;
	const char *code = NULL, *bearer = http_request_bearer(r);
	uint64_t max = g->config->recording_bytes_max;
	struct error ignored = {0};
	if (bearer && admission_check(g, bearer, &token, &code, &ignored) == 0)
		max = token.max_bytes;
	(void)snprintf(size, sizeof(size), "%llu", (unsigned long long)max);
	(void)http_response_header(r, "Tus-Version", TUS_VERSION);
	(void)http_response_header(r, "Tus-Extension", TUS_EXTENSIONS);
	(void)http_response_header(r, "Tus-Max-Size", size);
	(void)http_response_header(r, "Tus-Checksum-Algorithm", TUS_CHECKSUM_ALGORITHMS);
	answer_preflight(r, methods);
}

/* The method that is meant: of clients that cannot send every one, X-HTTP-Method-Override. */
static const char *method_of(const struct http_request *r)
{
	const char *override = http_request_header(r, "x-http-method-override");
	return override ? override : http_request_method(r);
}

static void not_allowed(struct http_request *r, const char *methods)
{
	(void)http_response_header(r, "Allow", methods);
	(void)http_respond_problem(r, 405, "method-not-allowed", "allowed here: %s", methods);
}

/* Version and token; false when it was answered. */
static bool check(struct tus_request *q)
{
	const char *version = http_request_header(q->r, "tus-resumable");
	const char *bearer = http_request_bearer(q->r), *code = "token-invalid";
	struct error e = {0};
	if (!version || strcmp(version, TUS_VERSION) != 0) {
		(void)http_response_header(q->r, "Tus-Version", TUS_VERSION);
		answer_problem(q->r, "version-unknown", false, "Tus-Resumable: " TUS_VERSION " is spoken here");
		return false;
	}
	if (!bearer || admission_check(q->g, bearer, &q->token, &code, &e) < 0) {
		answer_problem(q->r, code, false, bearer ? e.text : "a session token is needed");
		return false;
	}
	return true;
}

void tus_uploads_handle(struct http_request *r, void *arg)
{
	struct tus_request q = {.g = arg, .r = r, .action = TUS_CREATE};
	const char *method = method_of(r);
	if (strcmp(method, "OPTIONS") == 0) {
		options(arg, r, UPLOADS_METHODS);
		return;
	}
	if (strcmp(method, "POST") != 0) {
		not_allowed(r, UPLOADS_METHODS);
		return;
	}
	if (!check(&q))
		return;
	struct error e = {0};
	struct uuid take = uuid_v4();
	if (message_recording(&q.token.session, &take, &q.recording, &e) < 0)
		answer_problem(r, "internal", true, "an internal error");
	else
		tus_transfer(&q);
}

void tus_upload_handle(struct http_request *r, void *arg)
{
	static const struct {
		const char *method;
		enum tus_action action;
	} actions[] = {{"HEAD", TUS_HEAD}, {"PATCH", TUS_PATCH}, {"DELETE", TUS_DELETE}};
	struct tus_request q = {.g = arg, .r = r, .action = TUS_ACTION_MAX};
	const char *method = method_of(r);
	if (strcmp(method, "OPTIONS") == 0) {
		options(arg, r, UPLOAD_METHODS);
		return;
	}
	for (size_t a = 0; a < ARRAY_SIZE(actions); a++)
		if (strcmp(actions[a].method, method) == 0)
			q.action = actions[a].action;
	if (q.action == TUS_ACTION_MAX) {
		not_allowed(r, UPLOAD_METHODS);
		return;
	}
	if (!check(&q))
		return;
	if (!uuid_parse(http_request_parameter(r, "id"), &q.recording))
		answer_problem(r, "unknown-upload", false, "there is no such upload");
	else if (q.action == TUS_DELETE)
		tus_delete(&q);
	else
		tus_transfer(&q);
}
