#include "net/websocket.h"

#include "base/clock.h"
#include "net/http_internal.h"
#include "net/websocket_frame.h"

#include <assert.h>
#include <openssl/evp.h>
#include <openssl/sha.h>
#include <string.h>
#include <strings.h>

/* RFC 6455 section 1.3. */
#define HANDSHAKE_GUID	  "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
#define HANDSHAKE_VERSION "13"
/* 16 bytes in base64. */
#define KEY_TEXT_BYTES	      24
#define SUBPROTOCOL_BYTES_MAX 64
/* A close frame's payload begins with the code. */
#define REASON_BYTES_MAX (WEBSOCKET_CONTROL_BYTES_MAX - 2)

enum websocket_state {
	WEBSOCKET_OPEN,
	WEBSOCKET_CLOSING,  /* our close frame is queued, the peer's is awaited */
	WEBSOCKET_FINISHED, /* both are through, or the peer broke the rules: the rest goes out */
};

struct websocket {
	struct http_request *request; /* referenced */
	struct http_connection *connection;
	struct http_upgrade upgrade;
	struct websocket_callbacks callbacks;
	void *arg;
	enum websocket_state state;
	int code; /* what on_end tells; 0: nothing yet */
	char subprotocol[SUBPROTOCOL_BYTES_MAX];
	struct websocket_parser parser;
	bool text;	       /* the message under way is text */
	struct buffer message; /* of text */
	unsigned char control[WEBSOCKET_CONTROL_BYTES_MAX];
	size_t control_n;
	int64_t ping_us, pong_us, close_us; /* limits */
	int64_t heard_us;
	int64_t asked_us; /* when the ping was sent; 0: none is open */
	int64_t closing_us;
};

static size_t on_data(void *arg, char *data, size_t n);
static void on_flushed(void *arg);
static void on_tick(void *arg, int64_t now_us);
static void on_drain(void *arg);
static void on_gone(void *arg);

bool websocket_requested(const struct http_request *r)
{
	return r->head.upgrade && http_head_has_token(&r->head, "upgrade", "websocket");
}

/* Queues one frame whatever the room: control frames may not wait behind a full queue's refusal. */
static void put_frame(struct websocket *w, enum websocket_opcode opcode, const void *data, size_t n)
{
	unsigned char head[WEBSOCKET_SERVER_HEAD_BYTES_MAX];
	connection_send(w->connection, head, websocket_frame_head(opcode, n, head));
	if (n > 0)
		connection_send(w->connection, data, n);
}

static bool choose_subprotocol(struct websocket *w, const struct http_request *r, const char *const *offered)
{
	if (!offered)
		return true;
	for (; *offered; offered++)
		if (http_head_has_token(&r->head, "sec-websocket-protocol", *offered)) {
			(void)snprintf(w->subprotocol, sizeof(w->subprotocol), "%s", *offered);
			return true;
		}
	return false;
}

static bool key_good(const char *key)
{
	unsigned char raw[20];
	return key && strlen(key) == KEY_TEXT_BYTES && strcmp(key + KEY_TEXT_BYTES - 2, "==") == 0 &&
	       EVP_DecodeBlock(raw, (const unsigned char *)key, KEY_TEXT_BYTES) == 18;
}

/* 0, or the status to be answered. */
static int check_handshake(struct websocket *w, const struct http_request *r, const char *const *subprotocols,
			   const char **ret_reason)
{
	const char *version = http_request_header(r, "sec-websocket-version");
	if (!websocket_requested(r)) {
		*ret_reason = "a WebSocket is spoken here";
		return 426;
	}
	if (!version || strcmp(version, HANDSHAKE_VERSION) != 0) {
		*ret_reason = "version 13 of WebSocket is spoken here";
		return 426;
	}
	if (strcmp(r->head.method, "GET") != 0 || !http_body_complete(&r->body) ||
	    !key_good(http_request_header(r, "sec-websocket-key"))) {
		*ret_reason = "malformed WebSocket handshake";
		return 400;
	}
	if (!choose_subprotocol(w, r, subprotocols)) {
		*ret_reason = "none of the offered subprotocols is spoken here";
		return 400;
	}
	return 0;
}

static void refuse(struct http_request *r, int status, const char *reason)
{
	if (status == 426) {
		(void)http_response_header(r, "Upgrade", "websocket");
		(void)http_response_header(r, "Sec-WebSocket-Version", HANDSHAKE_VERSION);
	}
	(void)http_respond_problem(r, status, status == 426 ? "upgrade-required" : "bad-request", "%s", reason);
}

static void answer(struct websocket *w, const char *key)
{
	char joined[KEY_TEXT_BYTES + sizeof(HANDSHAKE_GUID)];
	unsigned char digest[SHA_DIGEST_LENGTH];
	char accept[32], head[512];
	(void)snprintf(joined, sizeof(joined), "%s%s", key, HANDSHAKE_GUID);
	(void)SHA1((const unsigned char *)joined, strlen(joined), digest);
	(void)EVP_EncodeBlock((unsigned char *)accept, digest, sizeof(digest));
	int n = snprintf(head, sizeof(head),
			 "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
			 "Sec-WebSocket-Accept: %s\r\n%s%s%s\r\n",
			 accept, w->subprotocol[0] ? "Sec-WebSocket-Protocol: " : "", w->subprotocol,
			 w->subprotocol[0] ? "\r\n" : "");
	assert(n > 0 && (size_t)n < sizeof(head));
	connection_send(w->connection, head, (size_t)n);
}

static void set_options(struct websocket *w, const struct websocket_options *o)
{
	websocket_parser_init(&w->parser, o->message_bytes_max ? o->message_bytes_max : 64 * MIB);
	buffer_init(&w->message, o->text_bytes_max ? o->text_bytes_max : 64 * KIB);
	w->ping_us = (o->ping_ms ? o->ping_ms : 10000) * 1000;
	w->pong_us = (o->pong_ms ? o->pong_ms : 10000) * 1000;
	w->close_us = (o->close_ms ? o->close_ms : 5000) * 1000;
	w->upgrade = (struct http_upgrade){.on_data = on_data,
					   .on_flushed = on_flushed,
					   .on_tick = on_tick,
					   .on_drain = on_drain,
					   .on_end = on_gone,
					   .output_bytes_max = o->output_bytes_max ? o->output_bytes_max : 256 * KIB};
}

int websocket_accept(struct http_request *r, const struct websocket_options *o, const struct websocket_callbacks *c,
		     void *arg, struct websocket **ret)
{
	if (r->over)
		return ERR_CANCELLED;
	_cleanup_(freep) struct websocket *w = calloc(1, sizeof(*w));
	if (!w) {
		(void)http_respond_problem(r, 503, "try-again", "no memory");
		return ERR_NOMEM;
	}
	const char *reason = NULL;
	int status = check_handshake(w, r, o->subprotocols, &reason);
	if (status != 0) {
		refuse(r, status, reason);
		return ERR_REJECT;
	}
	w->connection = r->connection;
	w->request = http_request_ref(r);
	w->callbacks = *c;
	w->arg = arg;
	w->heard_us = clock_monotonic_us();
	set_options(w, o);
	answer(w, http_request_header(r, "sec-websocket-key"));
	r->response = RESPONSE_ENDED;
	r->status = 101;
	http_response_count(w->connection->server, 101, r->began_us);
	connection_upgrade(w->connection, &w->upgrade, w);
	*ret = TAKE_PTR(w);
	return 0;
}

struct http_request *websocket_request(struct websocket *w)
{
	return w->request;
}

const char *websocket_subprotocol(const struct websocket *w)
{
	return w->subprotocol[0] ? w->subprotocol : NULL;
}

static void put_close(struct websocket *w, int code, const char *reason)
{
	unsigned char payload[WEBSOCKET_CONTROL_BYTES_MAX];
	size_t n = strnlen(reason, REASON_BYTES_MAX);
	/* never cut inside a character */
	while (n > 0 && !http_utf8_valid(reason, n))
		n--;
	payload[0] = (unsigned char)(code >> 8);
	payload[1] = (unsigned char)code;
	memcpy(payload + 2, reason, n);
	put_frame(w, WEBSOCKET_CLOSE, payload, n + 2);
}

/* Both sides are through: what is queued goes out, then the socket closes. */
static void finish(struct websocket *w, int code)
{
	w->state = WEBSOCKET_FINISHED;
	if (w->code == 0)
		w->code = code;
	connection_finish(w->connection);
}

/* The peer broke the rules: it is told why and not listened to any more. */
static void fail(struct websocket *w, int code, const char *reason)
{
	if (w->state == WEBSOCKET_OPEN)
		put_close(w, code, reason);
	finish(w, code);
}

void websocket_close(struct websocket *w, int code, const char *reason)
{
	if (w->state != WEBSOCKET_OPEN)
		return;
	assert(websocket_code_valid(code));
	put_close(w, code, reason ? reason : "");
	w->state = WEBSOCKET_CLOSING;
	w->code = code;
	w->closing_us = clock_monotonic_us();
	websocket_resume(w); /* the peer's close frame is wanted */
}

void websocket_abort(struct websocket *w)
{
	if (w->code == 0)
		w->code = WEBSOCKET_ABNORMAL;
	w->connection->abort = true;
	connection_kick(w->connection);
}

size_t websocket_room(const struct websocket *w)
{
	size_t used = w->connection->output.size + WEBSOCKET_SERVER_HEAD_BYTES_MAX;
	return w->state == WEBSOCKET_OPEN && used < w->upgrade.output_bytes_max ? w->upgrade.output_bytes_max - used
										: 0;
}

static int send_message(struct websocket *w, enum websocket_opcode opcode, const void *data, size_t n)
{
	if (w->state != WEBSOCKET_OPEN)
		return ERR_CANCELLED;
	if (n > websocket_room(w))
		return ERR_FULL;
	put_frame(w, opcode, data, n);
	return 0;
}

int websocket_send_text(struct websocket *w, const char *text, size_t n)
{
	return send_message(w, WEBSOCKET_TEXT, text, n);
}

int websocket_send_binary(struct websocket *w, const void *data, size_t n)
{
	return send_message(w, WEBSOCKET_BINARY, data, n);
}

void websocket_pause(struct websocket *w)
{
	if (w->state == WEBSOCKET_OPEN)
		w->connection->paused = true;
}

void websocket_resume(struct websocket *w)
{
	if (!w->connection->paused)
		return;
	w->connection->paused = false;
	w->heard_us = clock_monotonic_us();
	w->asked_us = 0;
	connection_kick(w->connection);
}

static bool is_control(const struct websocket *w)
{
	return w->parser.opcode >= WEBSOCKET_CLOSE;
}

static void frame_begins(struct websocket *w)
{
	if (is_control(w)) {
		w->control_n = 0;
		return;
	}
	if (w->parser.opcode == WEBSOCKET_CONTINUATION)
		return;
	w->text = w->parser.opcode == WEBSOCKET_TEXT;
	if (!w->text && w->state == WEBSOCKET_OPEN && w->callbacks.on_binary_begin)
		w->callbacks.on_binary_begin(w, w->arg);
}

static void take_piece(struct websocket *w, const unsigned char *piece, size_t n)
{
	if (is_control(w)) {
		assert(n <= sizeof(w->control) - w->control_n);
		memcpy(w->control + w->control_n, piece, n);
		w->control_n += n;
	} else if (w->state != WEBSOCKET_OPEN) {
		return;
	} else if (!w->text) {
		if (w->callbacks.on_binary)
			w->callbacks.on_binary(w, piece, n, w->arg);
	} else {
		int r = buffer_append(&w->message, piece, n);
		if (r < 0)
			fail(w, r == ERR_FULL ? WEBSOCKET_TOO_BIG : WEBSOCKET_INTERNAL, "the text is too long");
	}
}

static void close_arrived(struct websocket *w)
{
	int code = WEBSOCKET_NO_CODE;
	if (w->control_n >= 2) {
		code = w->control[0] << 8 | w->control[1];
		if (!websocket_code_valid(code) || !http_utf8_valid((char *)w->control + 2, w->control_n - 2)) {
			fail(w, WEBSOCKET_PROTOCOL_ERROR, "malformed close");
			return;
		}
	} else if (w->control_n == 1) {
		fail(w, WEBSOCKET_PROTOCOL_ERROR, "malformed close");
		return;
	}
	if (w->state == WEBSOCKET_OPEN)
		put_frame(w, WEBSOCKET_CLOSE, w->control, MIN(w->control_n, (size_t)2));
	finish(w, code);
}

static void control_ends(struct websocket *w)
{
	switch (w->parser.opcode) {
	case WEBSOCKET_CLOSE:
		close_arrived(w);
		break;
	case WEBSOCKET_PING:
		/* a peer that asks but does not read gets no queue of answers */
		if (w->state == WEBSOCKET_OPEN && websocket_room(w) > w->control_n)
			put_frame(w, WEBSOCKET_PONG, w->control, w->control_n);
		break;
	default:
		break;
	}
}

static void message_ends(struct websocket *w)
{
	if (w->state != WEBSOCKET_OPEN)
		return;
	if (!w->text) {
		if (w->callbacks.on_binary_end)
			w->callbacks.on_binary_end(w, w->arg);
		return;
	}
	const char *text = w->message.data ? w->message.data : "";
	if (!http_utf8_valid(text, w->message.size))
		fail(w, WEBSOCKET_BAD_DATA, "the text is not UTF-8");
	else if (w->callbacks.on_text)
		w->callbacks.on_text(w, text, w->message.size, w->arg);
	buffer_done(&w->message);
}

static void frame_ends(struct websocket *w)
{
	if (is_control(w))
		control_ends(w);
	else if (w->parser.final)
		message_ends(w);
}

/* Goes on while bytes are there and wanted; ends of frames are told even when no byte follows them. */
static size_t on_data(void *arg, char *data, size_t n)
{
	struct websocket *w = arg;
	size_t used = 0;
	w->heard_us = clock_monotonic_us();
	w->asked_us = 0;
	while (w->state != WEBSOCKET_FINISHED) {
		size_t took = 0, piece_n = 0;
		unsigned char *piece = NULL;
		int code = 0;
		/* paused: a frame's end is still told, since no further bytes would bring it later */
		if (w->connection->paused && !(w->parser.in_payload && w->parser.left == 0))
			return used;
		switch (websocket_parse(&w->parser, (unsigned char *)data + used, n - used, &took, &piece, &piece_n,
					&code)) {
		case WEBSOCKET_MORE:
			return n;
		case WEBSOCKET_FRAME:
			frame_begins(w);
			break;
		case WEBSOCKET_PIECE:
			take_piece(w, piece, piece_n);
			break;
		case WEBSOCKET_END:
			frame_ends(w);
			break;
		case WEBSOCKET_BROKEN:
			fail(w, code, code == WEBSOCKET_TOO_BIG ? "the message is too long" : "malformed frame");
			break;
		}
		used += took;
	}
	return n;
}

static void on_flushed(void *arg)
{
	struct websocket *w = arg;
	if (w->state == WEBSOCKET_OPEN && w->callbacks.on_writable)
		w->callbacks.on_writable(w, w->arg);
}

static void on_tick(void *arg, int64_t now_us)
{
	struct websocket *w = arg;
	if (w->state == WEBSOCKET_CLOSING) {
		if (now_us - w->closing_us > w->close_us)
			websocket_abort(w);
		return;
	}
	if (w->state != WEBSOCKET_OPEN || w->connection->paused)
		return;
	if (w->asked_us != 0) {
		if (now_us - w->asked_us > w->pong_us)
			websocket_abort(w);
	} else if (now_us - w->heard_us > w->ping_us) {
		put_frame(w, WEBSOCKET_PING, NULL, 0);
		w->asked_us = now_us;
	}
}

static void on_drain(void *arg)
{
	struct websocket *w = arg;
	if (w->callbacks.on_drain)
		w->callbacks.on_drain(w, w->arg);
	else
		websocket_close(w, WEBSOCKET_GOING_AWAY, "the server is stopping");
}

static void on_gone(void *arg)
{
	struct websocket *w = arg;
	if (w->callbacks.on_end)
		w->callbacks.on_end(w, w->code ? w->code : WEBSOCKET_ABNORMAL, w->arg);
	buffer_done(&w->message);
	http_request_unref(w->request);
	free(w);
}
