#include "net/http_internal.h"

#include "base/clock.h"

#include <http_parser.h>
#include <stdarg.h>
#include <string.h>
#include <strings.h>
#include <time.h>

/* "ffffffffffffffff\r\n" before and "\r\n" behind a chunk. */
#define CHUNK_FRAME_BYTES 20

const char *http_status_title(int status)
{
	/* of tus 1.0.0: the parser does not know it */
	if (status == 460)
		return "Checksum Mismatch";
	const char *title = http_status_str((enum http_status)status);
	return strcmp(title, "<unknown>") == 0 ? "Unknown" : title;
}

void http_response_count(struct http_server *s, int status, int64_t began_us)
{
	char text[12];
	(void)snprintf(text, sizeof(text), "%d", status);
	metric_count(s->requests_total, s->name, text);
	metric_observe(s->request_seconds, (double)(clock_monotonic_us() - began_us) / 1e6);
}

static const char *date_of(struct http_server *s)
{
	int64_t second = clock_wall_us() / 1000000;
	if (second != s->date_second) {
		time_t t = (time_t)second;
		struct tm tm;
		(void)gmtime_r(&t, &tm);
		(void)strftime(s->date, sizeof(s->date), "%a, %d %b %Y %H:%M:%S GMT", &tm);
		s->date_second = second;
	}
	return s->date;
}

static bool header_good(const char *name, const char *value)
{
	for (const char *p = name; *p; p++)
		if ((unsigned char)*p <= 0x20 || (unsigned char)*p >= 0x7f || strchr("\"(),/:;<=>?@[\\]{}", *p))
			return false;
	for (const char *p = value; *p; p++)
		if (((unsigned char)*p < 0x20 && *p != '\t') || *p == 0x7f)
			return false;
	return *name != '\0';
}

int http_response_header(struct http_request *r, const char *name, const char *value)
{
	if (r->over)
		return ERR_CANCELLED;
	if (r->response != RESPONSE_NONE)
		return ERR_CONFLICT;
	if (!header_good(name, value))
		return ERR_REJECT;
	return buffer_printf(&r->headers, "%s: %s\r\n", name, value);
}

int http_response_security_headers(struct http_request *r, const char *csp)
{
	const char *const pairs[] = {
	    "Content-Security-Policy", csp ? csp : "default-src 'none'; frame-ancestors 'none'",
	    "X-Content-Type-Options",  "nosniff",
	    "X-Frame-Options",	       "DENY",
	    "Referrer-Policy",	       "no-referrer",
	    "Cache-Control",	       "no-store",
	};
	for (size_t i = 0; i < ARRAY_SIZE(pairs); i += 2) {
		int result = http_response_header(r, pairs[i], pairs[i + 1]);
		if (result < 0)
			return result;
	}
	if (!r->connection->ssl)
		return 0;
	return http_response_header(r, "Strict-Transport-Security", "max-age=31536000");
}

static bool without_body(int status)
{
	return status == 204 || status == 304;
}

/* The status line and what the server adds to every answer. */
static int head_begin(struct http_server *s, struct buffer *head, int status)
{
	int result =
	    buffer_printf(head, "HTTP/1.1 %d %s\r\nDate: %s\r\n", status, http_status_title(status), date_of(s));
	for (const char *const *h = s->headers; h && h[0] && result == 0; h += 2)
		result = buffer_printf(head, "%s: %s\r\n", h[0], h[1]);
	return result;
}

static int build_head(struct http_request *r, struct buffer *head, const char *type, int64_t length)
{
	int result = head_begin(r->connection->server, head, r->status);
	if (result == 0)
		result = buffer_append(head, r->headers.data ? r->headers.data : "", r->headers.size);
	if (result == 0 && type)
		result = buffer_printf(head, "Content-Type: %s\r\n", type);
	if (result == 0 && length >= 0 && !without_body(r->status))
		result = buffer_printf(head, "Content-Length: %lld\r\n", (long long)length);
	if (result == 0 && r->chunked)
		result = buffer_append_string(head, "Transfer-Encoding: chunked\r\n");
	if (result == 0 && !r->connection->keep_alive)
		result = buffer_append_string(head, "Connection: close\r\n");
	return result == 0 ? buffer_append_string(head, "\r\n") : result;
}

int http_response_start(struct http_request *r, int status, const char *content_type, int64_t content_length)
{
	if (r->over)
		return ERR_CANCELLED;
	if (r->response != RESPONSE_NONE)
		return ERR_CONFLICT;
	struct http_connection *c = r->connection;
	/* the rest of the body would have to be read to find the next request */
	if (!http_body_complete(&r->body))
		c->keep_alive = false;
	if (content_length < 0 && r->head.minor == 0)
		c->keep_alive = false;
	r->status = status;
	r->chunked = content_length < 0 && r->head.minor > 0 && !without_body(status);
	r->content_left = content_length;
	r->head_only = r->head_only || without_body(status);
	r->continue_due = false;
	struct buffer head;
	buffer_init(&head, 2 * HTTP_RESPONSE_HEAD_BYTES_MAX);
	int result = build_head(r, &head, content_type, content_length);
	if (result == 0)
		connection_send(c, head.data, head.size);
	else
		http_response_abort(r);
	buffer_done(&head);
	buffer_done(&r->headers);
	r->response = r->head_only ? RESPONSE_ENDED : RESPONSE_STARTED;
	r->writable_due = true;
	return result == 0 ? 0 : ERR_NOMEM;
}

size_t http_response_room(const struct http_request *r)
{
	if (r->over || r->response != RESPONSE_STARTED)
		return 0;
	size_t limit = r->connection->server->limits.output_bytes_max;
	size_t used = r->connection->output.size + CHUNK_FRAME_BYTES;
	return used < limit ? limit - used : 0;
}

/* Queues a piece of an answer's body whatever the room. */
static void put_body(struct http_request *r, const void *data, size_t n)
{
	char size[CHUNK_FRAME_BYTES];
	r->writable_due = true;
	if (r->content_left >= 0)
		r->content_left -= (int64_t)n;
	if (r->chunked) {
		int size_n = snprintf(size, sizeof(size), "%zx\r\n", n);
		connection_send(r->connection, size, (size_t)size_n);
	}
	connection_send(r->connection, data, n);
	if (r->chunked)
		connection_send(r->connection, "\r\n", 2);
}

int http_response_write(struct http_request *r, const void *data, size_t n)
{
	if (r->over)
		return ERR_CANCELLED;
	if (r->head_only && r->response == RESPONSE_ENDED)
		return 0;
	if (r->response != RESPONSE_STARTED)
		return ERR_CONFLICT;
	if (n == 0)
		return 0;
	if (n > http_response_room(r))
		return ERR_FULL;
	if (r->content_left >= 0 && n > (uint64_t)r->content_left)
		return ERR_REJECT;
	put_body(r, data, n);
	return 0;
}

int http_response_end(struct http_request *r)
{
	if (r->over)
		return ERR_CANCELLED;
	if (r->head_only && r->response == RESPONSE_ENDED)
		return 0;
	if (r->response != RESPONSE_STARTED)
		return ERR_CONFLICT;
	if (r->content_left > 0) {
		http_response_abort(r);
		return ERR_REJECT;
	}
	if (r->chunked)
		connection_send(r->connection, "0\r\n\r\n", 5);
	if (!r->chunked && r->content_left < 0)
		r->connection->keep_alive = false;
	r->response = RESPONSE_ENDED;
	connection_kick(r->connection);
	return 0;
}

void http_response_abort(struct http_request *r)
{
	if (r->over)
		return;
	r->connection->abort = true;
	connection_kick(r->connection);
}

int http_respond(struct http_request *r, int status, const char *content_type, const void *body, size_t n)
{
	int result = http_response_start(r, status, n > 0 ? content_type : NULL, (int64_t)n);
	if (result < 0 || r->head_only)
		return result;
	if (n > 0)
		put_body(r, body, n);
	return http_response_end(r);
}

int http_respond_json(struct http_request *r, int status, const json_t *body)
{
	if (r->over)
		return ERR_CANCELLED;
	_cleanup_(freep) char *text = json_dumps(body, JSON_COMPACT);
	if (!text) {
		http_response_abort(r);
		return ERR_NOMEM;
	}
	return http_respond(r, status, "application/json", text, strlen(text));
}

static char *problem_text(int status, const char *code, const char *detail)
{
	json_t *o = json_pack("{s:s, s:s, s:i, s:s, s:s}", "type", "about:blank", "title", http_status_title(status),
			      "status", status, "code", code, "detail", detail);
	char *text = o ? json_dumps(o, JSON_COMPACT) : NULL;
	json_decref(o);
	return text;
}

int http_respond_problem(struct http_request *r, int status, const char *code, const char *fmt, ...)
{
	if (r->over)
		return ERR_CANCELLED;
	char detail[ERROR_TEXT_BYTES];
	va_list args;
	va_start(args, fmt);
	(void)vsnprintf(detail, sizeof(detail), fmt, args);
	va_end(args);
	/* a detail that was cut inside a character, or quotes bytes of the request, is not JSON */
	_cleanup_(freep) char *text = problem_text(status, code, http_utf8_valid(detail, strlen(detail)) ? detail : "");
	if (!text) {
		http_response_abort(r);
		return ERR_NOMEM;
	}
	return http_respond(r, status, "application/problem+json", text, strlen(text));
}

int http_respond_error(struct http_request *r, const struct error *e)
{
	static const struct {
		int error, status;
		const char *code;
	} map[] = {
	    {ERR_REJECT, 400, "bad-request"}, {ERR_DENIED, 403, "denied"}, {ERR_NOTFOUND, 404, "not-found"},
	    {ERR_CONFLICT, 409, "conflict"},  {ERR_FULL, 503, "full"},	   {ERR_RETRY, 503, "try-again"},
	};
	for (size_t i = 0; i < ARRAY_SIZE(map); i++)
		if (map[i].error == e->code)
			return http_respond_problem(r, map[i].status, map[i].code, "%s",
						    map[i].status == 503 ? "try again later" : e->text);
	return http_respond_problem(r, 500, "internal", "an error that was logged");
}

static const char *refusal_code(int status)
{
	switch (status) {
	case 408:
		return "too-slow";
	case 413:
	case 414:
	case 431:
		return "too-large";
	case 417:
	case 501:
	case 505:
		return "unsupported";
	case 503:
		return "try-again";
	default:
		return "bad-request";
	}
}

void http_response_refuse(struct http_connection *c, int status, const char *reason)
{
	_cleanup_(freep) char *text = problem_text(status, refusal_code(status), reason);
	struct buffer answer;
	buffer_init(&answer, HTTP_RESPONSE_HEAD_BYTES_MAX);
	c->keep_alive = false;
	int result = text ? head_begin(c->server, &answer, status) : ERR_NOMEM;
	if (result == 0)
		result = buffer_printf(&answer,
				       "Content-Type: application/problem+json\r\nContent-Length: %zu\r\n"
				       "Connection: close\r\n\r\n%s",
				       strlen(text), text);
	if (result == 0)
		connection_send(c, answer.data, answer.size);
	buffer_done(&answer);
}
