/* The head of one HTTP/1.1 request: libhttp-parser cuts it up, strict checks around it refuse what lets two parties
 * read one message differently (RFC 9112 sections 2.2, 3, 5 and 6; request smuggling). Pure: no sockets, no clock. */
#ifndef RUSHES_NET_HTTP_PARSE_H
#define RUSHES_NET_HTTP_PARSE_H

#include "base/error.h"

#include <stdbool.h>

struct http_parse_limits {
	size_t head_bytes_max;
	size_t target_bytes_max;
	unsigned headers_max;
};

struct http_field {
	const char *name;
	const char *value; /* without the spaces around it */
};

struct http_head {
	char *text; /* the copy that all strings point into; owned */
	const char *method, *target, *path;
	const char *query;	   /* behind the '?', NULL without */
	struct http_field *fields; /* owned */
	unsigned n_fields;
	unsigned minor; /* HTTP/1.<minor> */
	bool chunked;
	bool expect_continue;
	bool keep_alive;
	bool upgrade;		 /* Connection: upgrade */
	uint64_t content_length; /* 0 also when there is none */
};

/* Looks for the end of a head in the first bytes of a connection or behind the former request. `*scanned` is 0 for a
 * new head and remembers between calls, with more of the same bytes, how far the look has come. Returns 0 and `*ret_n`:
 * the head's length with its empty line, or 0 when more bytes are needed. Otherwise the status to be answered, with the
 * reason: 400, 414, 431. */
int http_head_find(const char *data, size_t n, const struct http_parse_limits *l, size_t *scanned, size_t *ret_n,
		   const char **ret_reason) _must_check_;

/* Reads the head of exactly `n` bytes that http_head_find() found. Returns 0 (release by http_head_done) or the status
 * to be answered: 400, 414, 417, 431, 500 (no memory), 501, 505. The reason is a literal. */
int http_head_parse(const char *data, size_t n, const struct http_parse_limits *l, struct http_head *ret,
		    const char **ret_reason) _must_check_;

/* Frees the contents. */
void http_head_done(struct http_head *h);

/* The first field of this name in any case; NULL when absent. */
const char *http_head_field(const struct http_head *h, const char *name);

/* True when a comma separated list in any field of this name has the token, in any case. */
bool http_head_has_token(const struct http_head *h, const char *name, const char *token);

/* Decodes %XX (and '+' as a space when `plus`) into `ret`, which holds n + 1 bytes. False on broken encoding, control
 * characters or bytes that are not valid UTF-8. */
bool http_decode(const char *text, size_t n, bool plus, char *ret) _must_check_;

/* Valid UTF-8 without surrogates and overlong forms (RFC 3629). */
bool http_utf8_valid(const char *text, size_t n) _must_check_;

#endif
