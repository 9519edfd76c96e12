/* A growable run of bytes with a hard limit, so that nothing from outside sizes an allocation unchecked. */
#ifndef RUSHES_BASE_BUFFER_H
#define RUSHES_BASE_BUFFER_H

#include "base/error.h"

struct buffer {
	char *data;	 /* always ended by a NUL behind `size`, once something was added; NULL before */
	size_t size;	 /* bytes in use */
	size_t capacity; /* bytes allocated, the end included */
	size_t limit;	 /* most bytes that may be in use */
};

/* An empty buffer that refuses to grow over `limit` bytes. Nothing is allocated yet. */
void buffer_init(struct buffer *b, size_t limit);

/* Frees the contents and leaves an empty buffer with the same limit. Accepts a zeroed struct. */
void buffer_done(struct buffer *b);

/* Forgets the contents, keeps the memory. */
void buffer_clear(struct buffer *b);

/* Makes room for `n` more bytes; their place is data + size. ERR_FULL over the limit, ERR_NOMEM. */
int buffer_reserve(struct buffer *b, size_t n) _must_check_;

int buffer_append(struct buffer *b, const void *data, size_t n) _must_check_;
int buffer_append_string(struct buffer *b, const char *s) _must_check_;
int buffer_printf(struct buffer *b, const char *fmt, ...) _printf_(2, 3) _must_check_;

/* Drops `n` bytes at the front (n <= size); moves the rest. */
void buffer_consume(struct buffer *b, size_t n);

/* Hands over the allocated, ended string (free() it; never NULL but without memory) and leaves an empty buffer. */
char *buffer_take(struct buffer *b);

#endif
