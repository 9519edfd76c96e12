#include "net/http_body.h"

/* 15 hexadecimal digits cannot overflow 64 bits. */
#define CHUNK_DIGITS_MAX 15
/* Extensions and trailers of a whole body: nobody needs them. */
#define EXTRA_BYTES_MAX 4096

enum body_state {
	BODY_FIXED,	/* `left` bytes to come */
	BODY_SIZE,	/* the digits of a chunk's size */
	BODY_EXTENSION, /* behind the ';' */
	BODY_SIZE_LF,	/* the line feed behind the size */
	BODY_DATA,	/* `left` bytes of the chunk to come */
	BODY_DATA_CR,	/* the line end behind the chunk */
	BODY_DATA_LF,
	BODY_TRAILER, /* the first byte of a trailer line, or of the empty one */
	BODY_TRAILER_LINE,
	BODY_TRAILER_LF,
	BODY_LAST_LF,
	BODY_COMPLETE,
	BODY_BROKEN,
};

void http_body_init(struct http_body *b, const struct http_head *h)
{
	*b = (struct http_body){0};
	if (h->chunked) {
		b->state = BODY_SIZE;
		return;
	}
	b->left = h->content_length;
	b->state = b->left > 0 ? BODY_FIXED : BODY_COMPLETE;
}

bool http_body_complete(const struct http_body *b)
{
	return b->state == BODY_COMPLETE;
}

static int digit_of(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

static enum body_state size_byte(struct http_body *b, char c)
{
	int digit = digit_of(c);
	if (digit >= 0) {
		if (++b->digits > CHUNK_DIGITS_MAX)
			return BODY_BROKEN;
		b->left = b->left * 16 + (unsigned)digit;
		return BODY_SIZE;
	}
	if (b->digits == 0)
		return BODY_BROKEN;
	if (c == ';')
		return BODY_EXTENSION;
	return c == '\r' ? BODY_SIZE_LF : BODY_BROKEN;
}

/* A byte of an extension or a trailer line. */
static enum body_state extra_byte(struct http_body *b, char c, enum body_state same, enum body_state behind)
{
	if (c == '\r')
		return behind;
	bool control = ((unsigned char)c < 0x20 && c != '\t') || c == 0x7f;
	return control || ++b->extra > EXTRA_BYTES_MAX ? BODY_BROKEN : same;
}

/* The state behind one byte of framing. */
static enum body_state framing_byte(struct http_body *b, char c)
{
	switch ((enum body_state)b->state) {
	case BODY_SIZE:
		return size_byte(b, c);
	case BODY_EXTENSION:
		return extra_byte(b, c, BODY_EXTENSION, BODY_SIZE_LF);
	case BODY_SIZE_LF:
		if (c != '\n')
			return BODY_BROKEN;
		return b->left > 0 ? BODY_DATA : BODY_TRAILER;
	case BODY_DATA_CR:
		return c == '\r' ? BODY_DATA_LF : BODY_BROKEN;
	case BODY_DATA_LF:
		b->digits = 0;
		return c == '\n' ? BODY_SIZE : BODY_BROKEN;
	case BODY_TRAILER:
		if (c == ' ' || c == '\t')
			return BODY_BROKEN;
		return extra_byte(b, c, BODY_TRAILER_LINE, BODY_LAST_LF);
	case BODY_TRAILER_LINE:
		return extra_byte(b, c, BODY_TRAILER_LINE, BODY_TRAILER_LF);
	case BODY_TRAILER_LF:
		return c == '\n' ? BODY_TRAILER : BODY_BROKEN;
	case BODY_LAST_LF:
		return c == '\n' ? BODY_COMPLETE : BODY_BROKEN;
	case BODY_FIXED:
	case BODY_DATA:
	case BODY_COMPLETE:
	case BODY_BROKEN:
		break;
	}
	return BODY_BROKEN;
}

static enum http_body_result take_piece(struct http_body *b, const char *data, size_t n, size_t *used,
					const char **ret_piece, size_t *ret_piece_n)
{
	size_t take = n < b->left ? n : (size_t)b->left;
	*ret_piece = data;
	*ret_piece_n = take;
	*used += take;
	b->left -= take;
	if (b->left == 0)
		b->state = b->state == BODY_FIXED ? BODY_COMPLETE : BODY_DATA_CR;
	return HTTP_BODY_PIECE;
}

enum http_body_result http_body_next(struct http_body *b, const char *data, size_t n, size_t *ret_used,
				     const char **ret_piece, size_t *ret_piece_n)
{
	size_t i = 0;
	enum http_body_result result = HTTP_BODY_MORE;
	while (result == HTTP_BODY_MORE) {
		if (b->state == BODY_COMPLETE)
			result = HTTP_BODY_DONE;
		else if (b->state == BODY_BROKEN)
			result = HTTP_BODY_BAD;
		else if (i == n)
			break;
		else if (b->state == BODY_FIXED || b->state == BODY_DATA)
			result = take_piece(b, data + i, n - i, &i, ret_piece, ret_piece_n);
		else
			b->state = framing_byte(b, data[i++]);
	}
	*ret_used = i;
	return result;
}
