/* The framing of a request's body: a known length, or chunks (RFC 9112 section 7.1) read strictly. Pure. */
#ifndef RUSHES_NET_HTTP_BODY_H
#define RUSHES_NET_HTTP_BODY_H

#include "net/http_parse.h"

struct http_body {
	int state;	 /* enum in http_body.c */
	uint64_t left;	 /* bytes of the body, or of this chunk, still to come */
	unsigned digits; /* of a chunk's size */
	unsigned extra;	 /* bytes spent on extensions and trailers, which are limited and ignored */
};

enum http_body_result {
	HTTP_BODY_MORE,	 /* all bytes were used; more are needed */
	HTTP_BODY_PIECE, /* a piece of the body, inside the given bytes */
	HTTP_BODY_DONE,	 /* the body is complete; what is not used belongs to the next request */
	HTTP_BODY_BAD,	 /* broken chunks: 400, and nothing behind them can be trusted */
};

void http_body_init(struct http_body *b, const struct http_head *h);

/* Goes on with `n` more bytes; `*ret_used` of them are used up. To be called again until MORE, DONE or BAD. A body
 * without bytes is DONE at the first call, even with n 0. */
enum http_body_result http_body_next(struct http_body *b, const char *data, size_t n, size_t *ret_used,
				     const char **ret_piece, size_t *ret_piece_n) _must_check_;

/* True once DONE was returned, or would be without more bytes. */
bool http_body_complete(const struct http_body *b);

#endif
