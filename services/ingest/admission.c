#include "admission.h"

#include "base/clock.h"

#include <string.h>

int admission_check(const struct ingest *g, const char *token, struct session_token *ret, const char **ret_code,
		    struct error *e)
{
	struct error why = {0};
	int r = session_token_check(g->token_keys, g->config->platform.region, token, clock_wall_us(), ret, &why);
	if (r < 0) {
		*ret_code = strstr(why.text, "expired") ? "token-expired" : "token-invalid";
		return error_set(e, r, "%s", why.text);
	}
	ret->max_bytes = MIN(ret->max_bytes, g->config->recording_bytes_max);
	return 0;
}

void admission_start(const struct session_token *t, const struct http_request *r, struct intake_start *ret)
{
	*ret = (struct intake_start){.account = t->account,
				     .session = t->session,
				     .max_bytes = t->max_bytes,
				     .max_duration_ms = t->max_duration_ms,
				     .send_on_stop = t->send_on_stop,
				     .ip = http_request_remote(r),
				     .user_agent = http_request_header(r, "user-agent"),
				     .referrer = http_request_header(r, "referer"),
				     .trace = http_request_trace(r)};
}

const char *admission_code(int error_code, bool *ret_retry)
{
	*ret_retry = error_code != ERR_DENIED && error_code != ERR_CANCELLED;
	switch (error_code) {
	case ERR_DENIED:
		return "not-yours";
	case ERR_CANCELLED:
		return "recording-deleted";
	case ERR_FULL:
		return "full";
	case ERR_RETRY:
		return "unavailable";
	default:
		return "internal";
	}
}
