#include "net/http_internal.h"

#include "base/clock.h"
#include "base/hex.h"

#include <assert.h>
#include <string.h>
#include <strings.h>
#include <sys/random.h>

struct http_text {
	struct http_text *next;
	char text[];
};

/* The caller's trace goes on with a span of ours; without one a trace begins here. */
static struct trace trace_of(const struct http_head *head)
{
	struct trace t = trace_new();
	struct trace given;
	if (trace_parse(http_head_field(head, "traceparent"), &given))
		memcpy(t.id, given.id, sizeof(t.id));
	return t;
}

struct http_request *http_request_new(struct http_connection *c, struct http_head *head)
{
	struct http_request *r = calloc(1, sizeof(*r));
	struct tls_identity *peer = r && c->peer ? malloc(sizeof(*peer)) : NULL;
	if (!r || (c->peer && !peer)) {
		free(r);
		http_head_done(head);
		return NULL;
	}
	r->refs = 1;
	r->connection = c;
	r->head = *head;
	*head = (struct http_head){0};
	r->trace = trace_of(&r->head);
	if (peer)
		*peer = *c->peer;
	r->peer = peer;
	memcpy(r->remote, c->remote, sizeof(r->remote));
	r->began_us = clock_monotonic_us();
	r->head_only = strcmp(r->head.method, "HEAD") == 0;
	http_body_init(&r->body, &r->head);
	buffer_init(&r->headers, HTTP_RESPONSE_HEAD_BYTES_MAX);
	return r;
}

void http_request_over(struct http_request *r, bool complete)
{
	assert(!r->over);
	r->over = true;
	if (r->callbacks.on_end)
		r->callbacks.on_end(r, complete, r->arg);
	r->connection = NULL;
	http_request_unref(r);
}

static void request_free(struct http_request *r)
{
	for (unsigned i = 0; i < r->n_parameters; i++)
		free(r->parameters[i].value);
	for (struct http_text *t = r->texts, *next; t; t = next) {
		next = t->next;
		free(t);
	}
	free(r->peer);
	buffer_done(&r->collected);
	buffer_done(&r->headers);
	http_head_done(&r->head);
	free(r);
}

struct http_request *http_request_ref(struct http_request *r)
{
	assert(r->refs > 0);
	r->refs++;
	return r;
}

/* True when only the connection still knows the request, so that nobody is left to answer it. */
static bool is_forgotten(const struct http_request *r)
{
	const struct http_request_callbacks *c = &r->callbacks;
	bool has_callbacks = c->on_body || c->on_body_end || c->on_writable || c->on_end;
	return r->refs == 1 && r->connection && !r->over && r->dispatched && r->response == RESPONSE_NONE &&
	       !has_callbacks && !r->connection->upgrade;
}

void http_request_unref(struct http_request *r)
{
	if (!r)
		return;
	assert(r->refs > 0);
	if (--r->refs == 0)
		request_free(r);
	else if (is_forgotten(r))
		(void)http_respond_problem(r, 500, "internal", "the request was not answered");
}

bool http_request_alive(const struct http_request *r)
{
	return !r->over && r->response != RESPONSE_ENDED && !r->connection->abort;
}

const char *http_request_method(const struct http_request *r)
{
	return r->head.method;
}

const char *http_request_path(const struct http_request *r)
{
	return r->head.path;
}

const char *http_request_pattern(const struct http_request *r)
{
	return r->route ? r->route->pattern : "";
}

const char *http_request_remote(const struct http_request *r)
{
	return r->remote;
}

const char *http_request_header(const struct http_request *r, const char *name)
{
	return http_head_field(&r->head, name);
}

const char *http_request_parameter(const struct http_request *r, const char *name)
{
	size_t n = strlen(name);
	for (unsigned i = 0; i < r->n_parameters; i++)
		if (r->parameters[i].name_n == n && memcmp(r->parameters[i].name, name, n) == 0)
			return r->parameters[i].value;
	return NULL;
}

/* Decodes into a text that lives as long as the request. */
static const char *decode(struct http_request *r, const char *text, size_t n)
{
	struct http_text *t = malloc(sizeof(*t) + n + 1);
	if (!t || !http_decode(text, n, true, t->text)) {
		free(t);
		return NULL;
	}
	t->next = r->texts;
	r->texts = t;
	return t->text;
}

const char *http_request_query(struct http_request *r, const char *name)
{
	size_t name_n = strlen(name);
	const char *p = r->head.query;
	while (p && *p) {
		size_t n = strcspn(p, "&");
		const char *equals = memchr(p, '=', n);
		size_t key_n = equals ? (size_t)(equals - p) : n;
		/* our own names are plain words, so an encoded name is not one of them */
		if (key_n == name_n && memcmp(p, name, name_n) == 0)
			return equals ? decode(r, equals + 1, n - key_n - 1) : "";
		p += n;
		p += *p == '&';
	}
	return NULL;
}

const char *http_request_bearer(const struct http_request *r)
{
	const char *value = http_request_header(r, "authorization");
	if (!value || strncasecmp(value, "Bearer ", 7) != 0)
		return NULL;
	value += 7 + strspn(value + 7, " ");
	return *value && !strpbrk(value, " \t") ? value : NULL;
}

const struct tls_identity *http_request_peer(const struct http_request *r)
{
	return r->peer;
}

const struct trace *http_request_trace(const struct http_request *r)
{
	return &r->trace;
}

int64_t http_request_content_length(const struct http_request *r)
{
	return r->head.chunked ? -1 : (int64_t)r->head.content_length;
}

const char *http_request_body(const struct http_request *r, size_t *ret_n)
{
	*ret_n = r->collected.size;
	return r->collected.data ? r->collected.data : "";
}

int http_request_json(const struct http_request *r, json_t **ret, struct error *e)
{
	size_t n;
	const char *text = http_request_body(r, &n);
	return json_parse(text, n, ret, e);
}

static bool read_number(const char **p, uint64_t *ret)
{
	size_t n = strspn(*p, "0123456789");
	if (n == 0 || n > 18)
		return false;
	*ret = strtoull(*p, NULL, 10);
	*p += n;
	return true;
}

int http_request_range(const struct http_request *r, uint64_t size, uint64_t *ret_offset, uint64_t *ret_length)
{
	return http_request_range_of(r, NULL, size, ret_offset, ret_length);
}

int http_request_range_of(const struct http_request *r, const char *etag, uint64_t size, uint64_t *ret_offset,
			  uint64_t *ret_length)
{
	*ret_offset = 0;
	*ret_length = size;
	const char *p = http_request_header(r, "range");
	const char *condition = http_request_header(r, "if-range");
	/* a date, or another validator than the answer's: the whole is right then */
	if (!p || strncasecmp(p, "bytes=", 6) != 0 || (condition && (!etag || strcmp(condition, etag) != 0)))
		return 200;
	p += 6;
	uint64_t first = 0, last = 0;
	if (*p == '-') {
		p++;
		if (!read_number(&p, &last) || *p != '\0')
			return 200;
		if (last == 0 || size == 0)
			return 416;
		*ret_length = MIN(last, size);
		*ret_offset = size - *ret_length;
		return 206;
	}
	if (!read_number(&p, &first) || *p++ != '-')
		return 200;
	if (*p == '\0')
		last = UINT64_MAX;
	else if (!read_number(&p, &last) || *p != '\0' || last < first)
		return 200;
	if (first >= size)
		return 416;
	*ret_offset = first;
	*ret_length = MIN(last, size - 1) - first + 1;
	return 206;
}

void http_request_set_callbacks(struct http_request *r, const struct http_request_callbacks *c, void *arg)
{
	r->callbacks = *c;
	r->arg = arg;
}

void http_request_pause(struct http_request *r)
{
	r->paused = true;
}

void http_request_resume(struct http_request *r)
{
	if (!r->paused)
		return;
	r->paused = false;
	if (r->connection)
		connection_kick(r->connection);
}
