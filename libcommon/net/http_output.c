#include "net/http_output.h"

#include <assert.h>
#include <string.h>

/* A head and a small body fit in one chunk. */
#define CHUNK_BYTES_MIN 2048

struct http_output_chunk {
	struct http_output_chunk *next;
	size_t capacity, size, sent;
	char data[];
};

int http_output_append(struct http_output *o, const void *data, size_t n)
{
	struct http_output_chunk *last = o->last;
	size_t fits = last ? MIN(n, last->capacity - last->size) : 0;
	size_t rest = n - fits;
	if (rest > 0) {
		size_t capacity = MAX(rest, (size_t)CHUNK_BYTES_MIN);
		struct http_output_chunk *c = malloc(sizeof(*c) + capacity);
		if (!c)
			return ERR_NOMEM;
		*c = (struct http_output_chunk){.capacity = capacity, .size = rest};
		memcpy(c->data, (const char *)data + fits, rest);
		if (last)
			last->next = c;
		else
			o->first = c;
		o->last = c;
	}
	if (fits > 0) {
		memcpy(last->data + last->size, data, fits);
		last->size += fits;
	}
	o->size += n;
	return 0;
}

size_t http_output_peek(const struct http_output *o, const char **ret_data)
{
	if (!o->first)
		return 0;
	*ret_data = o->first->data + o->first->sent;
	return o->first->size - o->first->sent;
}

void http_output_consume(struct http_output *o, size_t n)
{
	struct http_output_chunk *c = o->first;
	if (n == 0)
		return;
	assert(c && n <= c->size - c->sent);
	c->sent += n;
	o->size -= n;
	if (c->sent < c->size)
		return;
	o->first = c->next;
	if (!o->first)
		o->last = NULL;
	free(c);
}

void http_output_done(struct http_output *o)
{
	for (struct http_output_chunk *c = o->first, *next; c; c = next) {
		next = c->next;
		free(c);
	}
	*o = (struct http_output){0};
}
