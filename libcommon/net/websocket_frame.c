#include "net/websocket_frame.h"

#include "base/bytes.h"

#include <string.h>

enum { CODE_PROTOCOL_ERROR = 1002, CODE_TOO_BIG = 1009 };

void websocket_parser_init(struct websocket_parser *p, uint64_t message_bytes_max)
{
	*p = (struct websocket_parser){.message_bytes_max = message_bytes_max};
}

/* A register of the architecture's baseline. */
typedef uint64_t mask_lane __attribute__((vector_size(16)));

/* `mask` holds the key twice, beginning at the payload's first byte; what comes back begins behind its last. */
static uint64_t unmask(unsigned char *data, size_t n, uint64_t mask)
{
	const mask_lane wide = {mask, mask};
	size_t i = 0;
	for (; i + 4 * sizeof(wide) <= n; i += 4 * sizeof(wide)) {
		mask_lane a, b, c, d;
		unsigned char *at = data + i;
		memcpy(&a, at, sizeof(a));
		memcpy(&b, at + sizeof(a), sizeof(b));
		memcpy(&c, at + 2 * sizeof(a), sizeof(c));
		memcpy(&d, at + 3 * sizeof(a), sizeof(d));
		a ^= wide;
		b ^= wide;
		c ^= wide;
		d ^= wide;
		memcpy(at, &a, sizeof(a));
		memcpy(at + sizeof(a), &b, sizeof(b));
		memcpy(at + 2 * sizeof(a), &c, sizeof(c));
		memcpy(at + 3 * sizeof(a), &d, sizeof(d));
	}
	for (; i + 8 <= n; i += 8) {
		uint64_t word;
		memcpy(&word, data + i, 8);
		word ^= mask;
		memcpy(data + i, &word, 8);
	}
	unsigned char key[8];
	memcpy(key, &mask, 8);
	size_t rest = n - i;
	for (size_t k = 0; k < rest; k++)
		data[i + k] ^= key[k];
	unsigned char turned[8];
	for (size_t k = 0; k < 8; k++)
		turned[k] = key[(k + rest) % 4];
	memcpy(&mask, turned, 8);
	return mask;
}

static bool is_control(enum websocket_opcode opcode)
{
	return opcode & 8;
}

/* The first two bytes tell how long the head is and whether the frame may stand here. 0 or the close code. */
static int check_start(const struct websocket_parser *p, unsigned *ret_head_n)
{
	enum websocket_opcode opcode = p->head[0] & 0x0f;
	bool final = p->head[0] & 0x80;
	unsigned length = p->head[1] & 0x7f;
	/* reserved bits belong to extensions, of which none was agreed on; clients mask always */
	if ((p->head[0] & 0x70) || !(p->head[1] & 0x80))
		return CODE_PROTOCOL_ERROR;
	switch (opcode) {
	case WEBSOCKET_CONTINUATION:
		if (!p->in_message)
			return CODE_PROTOCOL_ERROR;
		break;
	case WEBSOCKET_TEXT:
	case WEBSOCKET_BINARY:
		if (p->in_message)
			return CODE_PROTOCOL_ERROR;
		break;
	case WEBSOCKET_CLOSE:
	case WEBSOCKET_PING:
	case WEBSOCKET_PONG:
		if (!final || length > WEBSOCKET_CONTROL_BYTES_MAX)
			return CODE_PROTOCOL_ERROR;
		break;
	default:
		return CODE_PROTOCOL_ERROR;
	}
	*ret_head_n = 6 + (length == 126 ? 2 : length == 127 ? 8 : 0);
	return 0;
}

/* The whole head is there. 0 or the close code. */
static int begin_frame(struct websocket_parser *p)
{
	p->opcode = p->head[0] & 0x0f;
	p->final = p->head[0] & 0x80;
	uint64_t length = p->head[1] & 0x7f;
	const unsigned char *key = p->head + 2;
	if (length == 126) {
		length = bytes_get16(p->head + 2);
		key += 2;
		if (length < 126)
			return CODE_PROTOCOL_ERROR;
	} else if (length == 127) {
		length = bytes_get64(p->head + 2);
		key += 8;
		if (length <= UINT16_MAX || length >> 63)
			return CODE_PROTOCOL_ERROR;
	}
	if (!is_control(p->opcode)) {
		if (p->opcode != WEBSOCKET_CONTINUATION)
			p->message_bytes = 0;
		if (length > p->message_bytes_max - p->message_bytes)
			return CODE_TOO_BIG;
		p->message_bytes += length;
		p->in_message = !p->final;
	}
	unsigned char twice[8];
	memcpy(twice, key, 4);
	memcpy(twice + 4, key, 4);
	memcpy(&p->mask, twice, 8);
	p->left = length;
	p->in_payload = true;
	p->head_have = 0;
	return 0;
}

static enum websocket_event parse_head(struct websocket_parser *p, const unsigned char *data, size_t n,
				       size_t *ret_used, int *ret_code)
{
	size_t used = 0;
	*ret_code = 0;
	unsigned want = 2;
	if (p->head_have >= want)
		*ret_code = check_start(p, &want);
	while (*ret_code == 0 && p->head_have < want && used < n) {
		p->head[p->head_have++] = data[used++];
		if (p->head_have >= 2)
			*ret_code = check_start(p, &want);
	}
	*ret_used = used;
	if (*ret_code == 0 && p->head_have < want)
		return WEBSOCKET_MORE;
	if (*ret_code == 0)
		*ret_code = begin_frame(p);
	return *ret_code == 0 ? WEBSOCKET_FRAME : WEBSOCKET_BROKEN;
}

enum websocket_event websocket_parse(struct websocket_parser *p, unsigned char *data, size_t n, size_t *ret_used,
				     unsigned char **ret_piece, size_t *ret_piece_n, int *ret_code)
{
	*ret_used = 0;
	if (!p->in_payload)
		return parse_head(p, data, n, ret_used, ret_code);
	if (p->left == 0) {
		p->in_payload = false;
		return WEBSOCKET_END;
	}
	if (n == 0)
		return WEBSOCKET_MORE;
	size_t take = n < p->left ? n : (size_t)p->left;
	p->mask = unmask(data, take, p->mask);
	p->left -= take;
	*ret_piece = data;
	*ret_piece_n = take;
	*ret_used = take;
	return WEBSOCKET_PIECE;
}

size_t websocket_frame_head(enum websocket_opcode opcode, uint64_t length,
			    unsigned char ret[WEBSOCKET_SERVER_HEAD_BYTES_MAX])
{
	ret[0] = (unsigned char)(0x80 | opcode);
	if (length < 126) {
		ret[1] = (unsigned char)length;
		return 2;
	}
	if (length <= UINT16_MAX) {
		ret[1] = 126;
		bytes_put16(ret + 2, (uint16_t)length);
		return 4;
	}
	ret[1] = 127;
	bytes_put64(ret + 2, length);
	return 10;
}

bool websocket_code_valid(int code)
{
	return (code >= 1000 && code <= 1003) || (code >= 1007 && code <= 1014) || (code >= 3000 && code <= 4999);
}
