#include "base/buffer.h"

#include <assert.h>
#include <stdarg.h>
#include <string.h>

/* The first allocation: most log lines and messages fit. */
#define BUFFER_FIRST_BYTES 256

void buffer_init(struct buffer *b, size_t limit)
{
	*b = (struct buffer){.limit = limit};
}

void buffer_done(struct buffer *b)
{
	free(b->data);
	buffer_init(b, b->limit);
}

void buffer_clear(struct buffer *b)
{
	b->size = 0;
	if (b->data)
		b->data[0] = '\0';
}

int buffer_reserve(struct buffer *b, size_t n)
{
	assert(b->size <= b->limit);
	if (n > b->limit - b->size)
		return ERR_FULL;
	size_t need = b->size + n + 1;
	if (need <= b->capacity)
		return 0;
	size_t capacity = MAX(b->capacity, (size_t)BUFFER_FIRST_BYTES);
	while (capacity < need)
		capacity = capacity > SIZE_MAX / 2 ? need : capacity * 2;
	char *data = realloc(b->data, capacity);
	if (!data)
		return ERR_NOMEM;
	b->data = data;
	b->capacity = capacity;
	b->data[b->size] = '\0';
	return 0;
}

int buffer_append(struct buffer *b, const void *data, size_t n)
{
	int r = buffer_reserve(b, n);
	if (r < 0)
		return r;
	if (n > 0)
		memcpy(b->data + b->size, data, n);
	b->size += n;
	b->data[b->size] = '\0';
	return 0;
}

int buffer_append_string(struct buffer *b, const char *s)
{
	return buffer_append(b, s, strlen(s));
}

int buffer_printf(struct buffer *b, const char *fmt, ...)
{
	va_list args;
	va_start(args, fmt);
	int n = vsnprintf(NULL, 0, fmt, args);
	va_end(args);
	if (n < 0)
		return ERR_REJECT;
	int r = buffer_reserve(b, (size_t)n);
	if (r < 0)
		return r;
	va_start(args, fmt);
	(void)vsnprintf(b->data + b->size, (size_t)n + 1, fmt, args);
	va_end(args);
	b->size += (size_t)n;
	return 0;
}

void buffer_consume(struct buffer *b, size_t n)
{
	assert(n <= b->size);
	if (n == 0)
		return;
	memmove(b->data, b->data + n, b->size - n);
	b->size -= n;
	b->data[b->size] = '\0';
}

char *buffer_take(struct buffer *b)
{
	if (!b->data)
		return strdup("");
	char *data = b->data;
	buffer_init(b, b->limit);
	return data;
}
