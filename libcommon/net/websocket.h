/* The server side of WebSocket (RFC 6455) on a request of net/http.h. Binary messages are given on as they arrive, so
 * their size costs no memory; text messages are collected up to a limit. The loop's thread only. */
#ifndef RUSHES_NET_WEBSOCKET_H
#define RUSHES_NET_WEBSOCKET_H

#include "net/http.h"

struct websocket;

/* Close codes, RFC 6455 section 7.4.1. */
enum websocket_code {
	WEBSOCKET_NORMAL = 1000,
	WEBSOCKET_GOING_AWAY = 1001,
	WEBSOCKET_PROTOCOL_ERROR = 1002,
	WEBSOCKET_UNSUPPORTED = 1003,
	WEBSOCKET_NO_CODE = 1005,  /* only reported: the peer's close carried none */
	WEBSOCKET_ABNORMAL = 1006, /* only reported: the connection broke */
	WEBSOCKET_BAD_DATA = 1007,
	WEBSOCKET_POLICY = 1008,
	WEBSOCKET_TOO_BIG = 1009,
	WEBSOCKET_INTERNAL = 1011,
	WEBSOCKET_TRY_AGAIN = 1013,
};

/* Zero takes the default. */
struct websocket_options {
	/* Offered by the server, best first, NULL-ended; a client that offers none of them is answered 400. NULL:
	 * no subprotocol. Borrowed for the call. */
	const char *const *subprotocols;
	uint64_t message_bytes_max; /* of one binary message: 64 MiB; above closes 1009 */
	size_t text_bytes_max;	    /* of one text message: 64 KiB; above closes 1009 */
	size_t output_bytes_max;    /* queued for the peer: 256 KiB */
	int64_t ping_ms;	    /* a silent peer is asked after: 10 s; reading paused counts as heard */
	int64_t pong_ms;	    /* and given up after another: 10 s */
	int64_t close_ms;	    /* wait for the peer's close frame: 5 s */
};

/* Any may be NULL. None is called after on_end. */
struct websocket_callbacks {
	void (*on_text)(struct websocket *w, const char *text, size_t n, void *arg); /* valid UTF-8, ended by a NUL */
	void (*on_binary_begin)(struct websocket *w, void *arg);
	void (*on_binary)(struct websocket *w, const void *data, size_t n, void *arg); /* a piece, any size > 0 */
	void (*on_binary_end)(struct websocket *w, void *arg);
	void (*on_writable)(struct websocket *w, void *arg); /* the queue has emptied to less than half */
	void (*on_drain)(struct websocket *w, void *arg);    /* finish and close; NULL: closed with 1001 at once */
	/* Exactly once, last: the peer's code, ours, or WEBSOCKET_ABNORMAL. Then the socket is gone. */
	void (*on_end)(struct websocket *w, int code, void *arg);
};

/* True when the request asks for a WebSocket: to answer 426 or go another way otherwise. */
bool websocket_requested(const struct http_request *r);

/* Answers 101, or the error itself and returns ERR_REJECT (400, 426; no callback is then called). Called in the handler
 * of a GET route. `*ret` is valid until on_end returns. */
int websocket_accept(struct http_request *r, const struct websocket_options *o, const struct websocket_callbacks *c,
		     void *arg, struct websocket **ret) _must_check_;

/* The request it came from, for trace, address, peer and headers; valid until on_end returns. */
struct http_request *websocket_request(struct websocket *w);

/* The subprotocol agreed on, NULL for none. */
const char *websocket_subprotocol(const struct websocket *w);

/* Queues one message. ERR_FULL when the queue would exceed its limit, ERR_CANCELLED once closing. */
int websocket_send_text(struct websocket *w, const char *text, size_t n) _must_check_;
int websocket_send_binary(struct websocket *w, const void *data, size_t n) _must_check_;
size_t websocket_room(const struct websocket *w);

/* Back-pressure. After pause nothing but what is being delivered in this very call is delivered. */
void websocket_pause(struct websocket *w);
void websocket_resume(struct websocket *w);

/* Sends a close frame behind what is queued and delivers no more messages; on_end follows later, never inside this
 * call. `reason` is at most 123 bytes (longer is cut), without personal data. */
void websocket_close(struct websocket *w, int code, const char *reason);

/* Cuts the connection; on_end follows later. */
void websocket_abort(struct websocket *w);

#endif
