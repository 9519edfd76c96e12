/* The frames of WebSocket as a server reads and writes them (RFC 6455 section 5). Pure: no sockets, no clock, no
 * allocation. Payloads are unmasked where they lie, eight bytes at a time. */
#ifndef RUSHES_NET_WEBSOCKET_FRAME_H
#define RUSHES_NET_WEBSOCKET_FRAME_H

#include "base/macros.h"

#include <stdbool.h>

enum websocket_opcode {
	WEBSOCKET_CONTINUATION = 0,
	WEBSOCKET_TEXT = 1,
	WEBSOCKET_BINARY = 2,
	WEBSOCKET_CLOSE = 8,
	WEBSOCKET_PING = 9,
	WEBSOCKET_PONG = 10,
};

/* Payload of a control frame at most. */
#define WEBSOCKET_CONTROL_BYTES_MAX 125
/* A client's head: 2, length 8, mask 4. A server's has no mask. */
#define WEBSOCKET_HEAD_BYTES_MAX	14
#define WEBSOCKET_SERVER_HEAD_BYTES_MAX 10

struct websocket_parser {
	unsigned char head[WEBSOCKET_HEAD_BYTES_MAX];
	unsigned head_have;
	bool in_payload;
	bool in_message;	      /* a fragmented message is under way */
	uint64_t left;		      /* of the payload */
	uint64_t mask;		      /* the key twice, turned to the next payload byte */
	enum websocket_opcode opcode; /* of this frame */
	bool final;
	uint64_t message_bytes;
	uint64_t message_bytes_max;
};

enum websocket_event {
	WEBSOCKET_MORE,	  /* all bytes were used; more are needed */
	WEBSOCKET_FRAME,  /* a frame begins: opcode, final, left */
	WEBSOCKET_PIECE,  /* some of its payload, unmasked in the given bytes */
	WEBSOCKET_END,	  /* the frame is complete */
	WEBSOCKET_BROKEN, /* the peer broke the rules: close with `ret_code`; the parser is of no use any more */
};

/* Messages longer than `message_bytes_max`, fragments added up, are BROKEN with code 1009. */
void websocket_parser_init(struct websocket_parser *p, uint64_t message_bytes_max);

/* Goes on with `n` more bytes, of which `*ret_used` were used and which may have been changed. Every frame gives FRAME,
 * PIECE (none for an empty one, else one or more), END. To be called again until MORE or BROKEN: END comes without
 * further bytes. */
enum websocket_event websocket_parse(struct websocket_parser *p, unsigned char *data, size_t n, size_t *ret_used,
				     unsigned char **ret_piece, size_t *ret_piece_n, int *ret_code) _must_check_;

/* Writes the head of a server's whole frame and returns its length. */
size_t websocket_frame_head(enum websocket_opcode opcode, uint64_t length,
			    unsigned char ret[WEBSOCKET_SERVER_HEAD_BYTES_MAX]);

/* True for codes that may stand in a close frame (RFC 6455 section 7.4). */
bool websocket_code_valid(int code);

#endif
