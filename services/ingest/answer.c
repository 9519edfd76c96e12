#include "answer.h"

#include <string.h>

/* Seconds after which somebody else may have let go, or room may have come. */
#define RETRY_SOON_S  "1"
#define RETRY_LATER_S "30"

/* Of our answers, what scripts may read beside what they always may. */
static const char exposed[] =
    "Accept-Ranges, Content-Range, ETag, Location, Retry-After, Tus-Checksum-Algorithm, Tus-Extension, Tus-Max-Size, "
    "Tus-Resumable, Tus-Version, Upload-Defer-Length, Upload-Expires, Upload-Length, Upload-Metadata, Upload-Offset";

const char *const answer_headers[] = {
    "Access-Control-Allow-Origin", "*", "Access-Control-Expose-Headers", exposed, "Tus-Resumable", "1.0.0", NULL,
};

static const struct {
	const char *code;
	int status;
} statuses[] = {
    {"bad-request", 400},	{"empty", 400},
    {"bytes-mismatch", 400},	{"total-mismatch", 400},

    {"length-changed", 400},	{"checksum-unknown", 400},
    {"token-invalid", 401},	{"token-expired", 401},
    {"unknown-upload", 404},	{"not-yours", 404},
    {"offset-mismatch", 409},	{"recording-deleted", 410},
    {"upload-expired", 410},	{"version-unknown", 412},
    {"too-large", 413},		{"unsupported-type", 415},
    {"superseded", 423},	{"elsewhere", 423},
    {"checksum-mismatch", 460}, {"full", 507},
};

void answer_preflight(struct http_request *r, const char *methods)
{
	static const char headers[] =
	    "Authorization, Content-Digest, Content-Disposition, Content-Type, If-Range, Range, "
	    "Repr-Digest, Rushes-Take, Traceparent, Tus-Resumable, Upload-Checksum, Upload-Defer-Length, "
	    "Upload-Length, Upload-Metadata, Upload-Offset, X-HTTP-Method-Override, "
	    "X-Request-ID, X-Requested-With";
	(void)http_response_header(r, "Allow", methods);
	(void)http_response_header(r, "Access-Control-Allow-Methods", methods);
	(void)http_response_header(r, "Access-Control-Allow-Headers", headers);
	(void)http_response_header(r, "Access-Control-Max-Age", "86400");
	(void)http_respond(r, 204, NULL, NULL, 0);
}

int answer_status(const char *code, bool retry)
{
	for (size_t s = 0; s < ARRAY_SIZE(statuses); s++)
		if (strcmp(statuses[s].code, code) == 0)
			return statuses[s].status;
	return retry ? 503 : 403;
}

void answer_problem(struct http_request *r, const char *code, bool retry, const char *text)
{
	int status = answer_status(code, retry);
	if (status == 401)
		(void)http_response_header(r, "WWW-Authenticate", "Bearer");
	if (status == 423 || status == 503)
		(void)http_response_header(r, "Retry-After", RETRY_SOON_S);
	if (status == 507)
		(void)http_response_header(r, "Retry-After", RETRY_LATER_S);
	(void)http_response_header(r, "Cache-Control", "no-store");
	(void)http_respond_problem(r, status, code, "%s", text);
}
