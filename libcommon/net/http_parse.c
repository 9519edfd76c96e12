#include "net/http_parse.h"

#include <assert.h>
#include <ctype.h>
#include <http_parser.h>
#include <string.h>
#include <strings.h>

/* Longest method that is looked at; longer ones are unknown anyway. */
#define METHOD_BYTES_MAX 16
/* 18 digits cannot overflow 64 bits. */
#define LENGTH_DIGITS_MAX 18

static const char *const known_methods[] = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"};

/* Headers whose second occurrence would leave open which one counts. */
static const char *const single_fields[] = {
    "host",
    "content-length",
    "transfer-encoding",
    "content-type",
    "content-encoding",
    "authorization",
    "range",
    "expect",
    "origin",
    "sec-websocket-key",
    "sec-websocket-version",
    "traceparent",
    "content-range",
    "content-digest",
    "repr-digest",
    "tus-resumable",
    "upload-offset",
    "upload-length",
    "upload-defer-length",
    "upload-metadata",
    "upload-checksum",
    "x-http-method-override",
};

static bool is_token_char(unsigned char c)
{
	return c > 0x20 && c < 0x7f && !strchr("\"(),/:;<=>?@[\\]{}", c);
}

int http_head_find(const char *data, size_t n, const struct http_parse_limits *l, size_t *scanned, size_t *ret_n,
		   const char **ret_reason)
{
	*ret_n = 0;
	size_t i = *scanned;
	for (; i < n && i < l->head_bytes_max; i++) {
		unsigned char c = (unsigned char)data[i];
		if (c >= 0x20 && c != 0x7f)
			continue;
		if (c == '\t')
			continue;
		if (c == '\r') {
			/* look again when its line feed is here; behind the limit nothing is looked at, so that the
			 * answer does not depend on what was read together */
			if (i + 1 == n || i + 1 == l->head_bytes_max)
				break;
			if (data[i + 1] == '\n')
				continue;
		} else if (c == '\n' && i > 0 && data[i - 1] == '\r') {
			if (i >= 3 && data[i - 2] == '\n') {
				*ret_n = i + 1;
				return 0;
			}
			continue;
		}
		*ret_reason = "a control character or a bare line end in the head";
		return 400;
	}
	*scanned = i;
	if (i < l->head_bytes_max && n < l->head_bytes_max)
		return 0;
	bool one_line = !memchr(data, '\n', MIN(n, l->head_bytes_max));
	*ret_reason = one_line ? "the request line is too long" : "the headers are too large";
	return one_line ? 414 : 431;
}

/* What libhttp-parser tells, with pointers into the copied head. */
struct collector {
	struct http_head *head;
	unsigned headers_max;
	const char *url;
	size_t url_n;
	size_t *lengths; /* of names and values, two a field */
	bool in_value, complete, overflow;
};

static int on_url(http_parser *p, const char *at, size_t n)
{
	struct collector *c = p->data;
	if (!c->url)
		c->url = at;
	c->url_n += n;
	return 0;
}

static int on_field(http_parser *p, const char *at, size_t n)
{
	struct collector *c = p->data;
	if (c->head->n_fields == 0 || c->in_value) {
		if (c->head->n_fields == c->headers_max) {
			c->overflow = true;
			return 1;
		}
		c->head->fields[c->head->n_fields++] = (struct http_field){.name = at};
		c->in_value = false;
	}
	c->lengths[2 * (c->head->n_fields - 1)] += n;
	return 0;
}

static int on_value(http_parser *p, const char *at, size_t n)
{
	struct collector *c = p->data;
	struct http_field *f = &c->head->fields[c->head->n_fields - 1];
	if (!f->value)
		f->value = at;
	c->in_value = true;
	c->lengths[2 * (c->head->n_fields - 1) + 1] += n;
	return 0;
}

static int on_complete(http_parser *p)
{
	((struct collector *)p->data)->complete = true;
	return 0;
}

static const http_parser_settings settings = {.on_url = on_url,
					      .on_header_field = on_field,
					      .on_header_value = on_value,
					      .on_headers_complete = on_complete};

/* "METHOD SP target SP HTTP/x.y": the parser is laxer, and tells an unknown method only as an error. */
static int check_request_line(const char *line, size_t n, const struct http_parse_limits *l, const char **ret_reason)
{
	size_t method = 0;
	while (method < n && is_token_char((unsigned char)line[method]))
		method++;
	*ret_reason = "malformed request line";
	if (method == 0 || method == n || line[method] != ' ')
		return 400;
	const char *target = line + method + 1;
	const char *space = memchr(target, ' ', n - method - 1);
	size_t target_n = space ? (size_t)(space - target) : 0;
	if (target_n == 0)
		return 400;
	const char *version = space + 1;
	if (line + n - version != 8 || memcmp(version, "HTTP/", 5) != 0 || !isdigit((unsigned char)version[5]) ||
	    version[6] != '.' || !isdigit((unsigned char)version[7]))
		return 400;
	for (size_t i = 0; i < target_n; i++)
		if ((unsigned char)target[i] >= 0x7f || target[i] <= 0x20 || target[i] == '\\' || target[i] == '#')
			return 400;
	if (target_n > l->target_bytes_max) {
		*ret_reason = "the target is too long";
		return 414;
	}
	if (version[5] != '1' || (version[7] != '0' && version[7] != '1')) {
		*ret_reason = "HTTP/1.1 is spoken here";
		return 505;
	}
	for (size_t i = 0; i < ARRAY_SIZE(known_methods); i++)
		if (strlen(known_methods[i]) == method && memcmp(line, known_methods[i], method) == 0)
			return 0;
	*ret_reason = "unknown method";
	return 501;
}

/* Header lines that other parsers read differently: folded ones, a space before the colon, no colon at all. */
static bool header_line_good(const char *line, size_t n)
{
	size_t i = 0;
	while (i < n && is_token_char((unsigned char)line[i]))
		i++;
	return i > 0 && i < n && line[i] == ':';
}

/* http_head_find() has seen to control characters and line ends; each line here ends with CR LF. */
static int check_lines(const char *data, size_t n, const struct http_parse_limits *l, const char **ret_reason)
{
	const char *end = memchr(data, '\r', n);
	int status = check_request_line(data, (size_t)(end - data), l, ret_reason);
	if (status != 0)
		return status;
	unsigned count = 0;
	for (const char *line = end + 2; (end = memchr(line, '\r', n - (size_t)(line - data))) != line;
	     line = end + 2) {
		if (!header_line_good(line, (size_t)(end - line))) {
			*ret_reason = "malformed header line";
			return 400;
		}
		if (++count > l->headers_max) {
			*ret_reason = "too many headers";
			return 431;
		}
	}
	return 0;
}

/* Ends the strings in place: behind each token stands a separator that is not needed any more. */
static void cut(struct collector *c)
{
	struct http_head *h = c->head;
	for (unsigned i = 0; i < h->n_fields; i++) {
		struct http_field *f = &h->fields[i];
		((char *)f->name)[c->lengths[2 * i]] = '\0';
		size_t n = c->lengths[2 * i + 1];
		while (n > 0 && (f->value[n - 1] == ' ' || f->value[n - 1] == '\t'))
			n--;
		/* the parser's pointer to an empty value is the next line's first byte, which is not to be cut */
		if (n == 0)
			f->value = "";
		else
			((char *)f->value)[n] = '\0';
	}
	((char *)c->url)[c->url_n] = '\0';
	h->target = c->url;
}

static int run_parser(struct http_head *h, size_t n, unsigned headers_max, const char **ret_reason)
{
	_cleanup_(freep) size_t *lengths = calloc((size_t)headers_max * 2, sizeof(*lengths));
	h->fields = calloc(headers_max, sizeof(*h->fields));
	*ret_reason = "no memory";
	if (!lengths || !h->fields)
		return 500;
	struct collector c = {.head = h, .headers_max = headers_max, .lengths = lengths};
	http_parser p;
	http_parser_init(&p, HTTP_REQUEST);
	p.data = &c;
	size_t used = http_parser_execute(&p, &settings, h->text, n);
	if (c.overflow) {
		*ret_reason = "too many headers";
		return 431;
	}
	if (HTTP_PARSER_ERRNO(&p) == HPE_INVALID_TRANSFER_ENCODING) {
		*ret_reason = "unknown transfer coding";
		return 501;
	}
	if (HTTP_PARSER_ERRNO(&p) != HPE_OK || used != n || !c.complete || !c.url) {
		*ret_reason = "malformed request head";
		return 400;
	}
	h->method = http_method_str((enum http_method)p.method);
	h->minor = p.http_minor;
	cut(&c);
	return 0;
}

static unsigned count_fields(const struct http_head *h, const char *name)
{
	unsigned n = 0;
	for (unsigned i = 0; i < h->n_fields; i++)
		n += strcasecmp(h->fields[i].name, name) == 0;
	return n;
}

/* host or [IPv6], with an optional port (RFC 9110 section 7.2). */
static bool host_good(const char *host)
{
	const char *p = host;
	if (*p == '[') {
		p++;
		size_t n = strspn(p, "0123456789abcdefABCDEF:.");
		if (n < 2 || p[n] != ']')
			return false;
		p += n + 1;
	} else {
		while (isalnum((unsigned char)*p) || (*p && strchr("-._~%!$&'()*+,;=", *p)))
			p++;
		if (p == host)
			return false;
	}
	if (*p == '\0')
		return true;
	size_t digits = *p == ':' ? strspn(p + 1, "0123456789") : 0;
	return *p == ':' && digits <= 5 && p[1 + digits] == '\0';
}

static int check_framing(struct http_head *h, const char **ret_reason)
{
	const char *coding = http_head_field(h, "transfer-encoding");
	const char *length = http_head_field(h, "content-length");
	if (coding && (length || h->minor == 0)) {
		*ret_reason = "Transfer-Encoding with Content-Length or in HTTP/1.0";
		return 400;
	}
	if (coding && strcasecmp(coding, "chunked") != 0) {
		*ret_reason = "unknown transfer coding";
		return 501;
	}
	h->chunked = coding;
	if (!length)
		return 0;
	size_t digits = strspn(length, "0123456789");
	if (digits == 0 || digits > LENGTH_DIGITS_MAX || length[digits] != '\0') {
		*ret_reason = "malformed Content-Length";
		return 400;
	}
	h->content_length = strtoull(length, NULL, 10);
	return 0;
}

static int check_fields(struct http_head *h, const char **ret_reason)
{
	for (size_t i = 0; i < ARRAY_SIZE(single_fields); i++)
		if (count_fields(h, single_fields[i]) > 1) {
			*ret_reason = "a header that may be there once is repeated";
			return 400;
		}
	const char *host = http_head_field(h, "host");
	if ((!host && h->minor > 0) || (host && !host_good(host))) {
		*ret_reason = "Host is missing or malformed";
		return 400;
	}
	int status = check_framing(h, ret_reason);
	if (status != 0)
		return status;
	const char *expect = http_head_field(h, "expect");
	if (expect && strcasecmp(expect, "100-continue") != 0) {
		*ret_reason = "unknown expectation";
		return 417;
	}
	h->expect_continue = expect && h->minor > 0;
	/* HTTP/1.0 clients get one answer a connection: their keep-alive is an extension nobody needs */
	h->keep_alive = h->minor > 0 && !http_head_has_token(h, "connection", "close");
	h->upgrade = h->minor > 0 && http_head_has_token(h, "connection", "upgrade");
	return 0;
}

/* Origin form, "*" of OPTIONS, or absolute form (RFC 9112 section 3.2), of which the path is used. */
static int split_target(struct http_head *h, const char **ret_reason)
{
	*ret_reason = "malformed target";
	char *target = (char *)h->target;
	if (strcmp(target, "*") == 0) {
		h->path = target;
		return strcmp(h->method, "OPTIONS") == 0 ? 0 : 400;
	}
	if (target[0] != '/') {
		size_t scheme = strncasecmp(target, "http://", 7) == 0 ? 7 : 8;
		if (scheme == 8 && strncasecmp(target, "https://", 8) != 0)
			return 400;
		size_t authority = strcspn(target + scheme, "/?");
		if (authority == 0)
			return 400;
		target += scheme + authority;
		if (*target != '/') {
			/* an empty path: "/" takes the place of the authority's last byte, which is not needed */
			*--target = '/';
		}
	}
	h->path = target;
	char *query = strchr(target, '?');
	if (query) {
		*query = '\0';
		h->query = query + 1;
	}
	return 0;
}

int http_head_parse(const char *data, size_t n, const struct http_parse_limits *l, struct http_head *ret,
		    const char **ret_reason)
{
	assert(n >= 4 && memcmp(data + n - 4, "\r\n\r\n", 4) == 0);
	*ret_reason = NULL;
	int status = check_lines(data, n, l, ret_reason);
	if (status != 0)
		return status;
	struct http_head h = {.text = malloc(n + 1)};
	if (!h.text) {
		*ret_reason = "no memory";
		return 500;
	}
	memcpy(h.text, data, n);
	h.text[n] = '\0';
	status = run_parser(&h, n, l->headers_max, ret_reason);
	if (status == 0)
		status = check_fields(&h, ret_reason);
	if (status == 0)
		status = split_target(&h, ret_reason);
	if (status != 0) {
		http_head_done(&h);
		return status;
	}
	*ret = h;
	return 0;
}

void http_head_done(struct http_head *h)
{
	free(h->text);
	free(h->fields);
	*h = (struct http_head){0};
}

const char *http_head_field(const struct http_head *h, const char *name)
{
	for (unsigned i = 0; i < h->n_fields; i++)
		if (strcasecmp(h->fields[i].name, name) == 0)
			return h->fields[i].value;
	return NULL;
}

static bool list_has(const char *list, const char *token)
{
	size_t n = strlen(token);
	while (*list) {
		list += strspn(list, " \t,");
		size_t m = strcspn(list, " \t,;");
		if (m == n && strncasecmp(list, token, n) == 0)
			return true;
		list += strcspn(list, ",");
	}
	return false;
}

bool http_head_has_token(const struct http_head *h, const char *name, const char *token)
{
	for (unsigned i = 0; i < h->n_fields; i++)
		if (strcasecmp(h->fields[i].name, name) == 0 && list_has(h->fields[i].value, token))
			return true;
	return false;
}
