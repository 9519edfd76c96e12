/* Bytes waiting to be sent to one client: a list of chunks that are freed as they go out, so that an idle connection
 * holds none. */
#ifndef RUSHES_NET_HTTP_OUTPUT_H
#define RUSHES_NET_HTTP_OUTPUT_H

#include "base/error.h"

struct http_output_chunk;

struct http_output {
	struct http_output_chunk *first, *last;
	size_t size; /* bytes waiting */
};

/* Copies `n` bytes behind what waits; all or nothing. ERR_NOMEM. */
int http_output_append(struct http_output *o, const void *data, size_t n) _must_check_;

/* The first run of waiting bytes: its length, 0 when none waits. */
size_t http_output_peek(const struct http_output *o, const char **ret_data);

/* Drops `n` bytes at the front, not more than the last peek gave. */
void http_output_consume(struct http_output *o, size_t n);

void http_output_done(struct http_output *o);

#endif
