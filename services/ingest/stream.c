#include "stream.h"

#include "admission.h"
#include "crypto/digest.h"
#include "message.h"
#include "net/websocket.h"

#include <string.h>

/* How long a connection whose bytes found no buffer waits before it looks again. */
#define POOL_WAIT_MS 20

/* How long a page that was admitted may take to begin. */
#define START_WAIT_MS 600000

enum stream_state {
	STREAM_TOKEN,	/* waits for the token */
	STREAM_START,	/* admitted: waits for `start` */
	STREAM_OPENING, /* the recording is being opened */
	STREAM_RUNNING, /* `ready` was sent */
	STREAM_CLOSING, /* a close frame was sent: nothing is heard any more */
	STREAM_STATE_MAX
};

struct stream {
	struct ingest *g;
	struct websocket *ws;
	enum stream_state state;
	struct session_token token;
	struct loop_timer *timer; /* of the token, then of a pause for want of buffers */
	struct intake *intake;	  /* NULL: none attached */
	uint64_t ack_due;	  /* an acknowledgement that found no room in the queue; 0: none */

	/* the binary message that is arriving */
	uint8_t head[FRAME_HEAD_BYTES];
	size_t head_size;
	struct frame_head frame;
	uint32_t crc;
	struct chunks bytes;
};

static void put(struct stream *s, const char *text, size_t n)
{
	/* a client that takes no answers holds up only itself */
	if (s->state != STREAM_CLOSING && websocket_send_text(s->ws, text, n) == ERR_FULL)
		websocket_abort(s->ws);
}

static void close_with(struct stream *s, int code, const char *reason)
{
	if (s->state == STREAM_CLOSING)
		return;
	s->state = STREAM_CLOSING;
	chunks_clear(&s->bytes, s->g->chunks);
	loop_timer_cancel(s->timer);
	websocket_close(s->ws, code, reason);
	struct intake *i = TAKE_PTR(s->intake);
	if (i)
		intake_detach(i, false);
}

/* The close code that goes with an error's code. */
static int close_code(const char *code, bool retry)
{
	if (strcmp(code, "draining") == 0)
		return WEBSOCKET_GOING_AWAY;
	if (strcmp(code, "too-large") == 0)
		return WEBSOCKET_TOO_BIG;
	if (strcmp(code, "internal") == 0)
		return WEBSOCKET_INTERNAL;
	return retry ? WEBSOCKET_TRY_AGAIN : WEBSOCKET_POLICY;
}

static void refuse(struct stream *s, const char *code, const char *text, bool retry)
{
	if (s->state == STREAM_CLOSING)
		return;
	char out[MESSAGE_OUT_BYTES];
	put(s, out, message_error(out, code, text, retry));
	close_with(s, close_code(code, retry), code);
}

/* What the intake tells. */

static void on_ack(void *arg, uint64_t offset)
{
	struct stream *s = arg;
	char out[MESSAGE_OUT_BYTES];
	size_t n = message_ack(out, offset);
	/* acknowledgements are cumulative: one that finds no room is made up for by a later one */
	s->ack_due = websocket_room(s->ws) < 2 * MESSAGE_OUT_BYTES ? offset : 0;
	if (!s->ack_due)
		put(s, out, n);
}

static void on_open(void *arg, const struct uuid *recording, uint64_t offset, bool send_on_stop)
{
	struct stream *s = arg;
	char out[MESSAGE_OUT_BYTES];
	s->state = STREAM_RUNNING;
	bool is_finished = intake_state(s->intake) == INTAKE_SAVED;
	uint64_t durable = intake_durable(s->intake);
	put(s, out, message_ready(out, recording, offset, send_on_stop, is_finished));
	/* an earlier line may have been lost before this was heard */
	if (!is_finished && durable > 0)
		on_ack(s, durable);
}

static void on_room(void *arg)
{
	struct stream *s = arg;
	websocket_resume(s->ws);
}

static void on_copied(void *arg)
{
	struct stream *s = arg;
	char out[MESSAGE_OUT_BYTES];
	put(s, out, message_copied(out));
}

static void on_saved(void *arg, bool is_copied)
{
	struct stream *s = arg;
	char out[MESSAGE_OUT_BYTES];
	struct uuid recording = intake_recording(s->intake);
	put(s, out, message_saved(out, &recording, intake_received(s->intake), intake_is_recovered(s->intake)));
	if (is_copied)
		on_copied(s);
}

static void on_discarded(void *arg)
{
	struct stream *s = arg;
	char out[MESSAGE_OUT_BYTES];
	s->intake = NULL;
	put(s, out, message_discarded(out));
	close_with(s, WEBSOCKET_NORMAL, "discarded");
}

static void on_failed(void *arg, const struct intake_failure *why)
{
	struct stream *s = arg;
	s->intake = NULL;
	refuse(s, why->code, why->message, why->retry);
}

static const struct intake_callbacks intake_callbacks = {
    .on_open = on_open,
    .on_ack = on_ack,
    .on_room = on_room,
    .on_saved = on_saved,
    .on_copied = on_copied,
    .on_discarded = on_discarded,
    .on_failed = on_failed,
};

/* What the page sends. */

static void admit(struct stream *s, const char *token)
{
	const char *code = NULL;
	struct error e = {0};
	if (admission_check(s->g, token, &s->token, &code, &e) < 0) {
		refuse(s, code, e.text, false);
		return;
	}
	loop_timer_set(s->timer, START_WAIT_MS);
	s->state = STREAM_START;
}

/* `source` and `devices` go into one object of the row. */
static char *devices_of(const struct message *m)
{
	json_t *devices = m->devices ? json_copy(m->devices) : json_object();
	if (devices && m->source)
		(void)json_object_set_new(devices, "source", json_string(m->source));
	char *text = devices && json_object_size(devices) > 0 ? json_dumps(devices, JSON_COMPACT) : NULL;
	json_decref(devices);
	return text;
}

static void start(struct stream *s, const struct message *m)
{
	if (s->state != STREAM_START) {
		refuse(s, "bad-request", "a connection has one start, after its token", false);
		return;
	}
	struct intake_start start;
	struct error e = {0};
	bool retry = true;
	admission_start(&s->token, websocket_request(s->ws), &start);
	_cleanup_(freep) char *devices = devices_of(m);
	start.mime = m->mime;
	start.devices = devices;
	start.referrer = m->referrer;
	start.file_name = m->file_name;
	/* sending one may take longer than it lasts */
	start.is_upload = m->source && strcmp(m->source, "file") == 0;
	start.replaces = m->replaces;
	start.has_acked = m->has_acked;
	start.acked = m->acked;
	s->state = STREAM_OPENING;
	loop_timer_cancel(s->timer);
	int r = message_recording(&s->token.session, &m->take, &start.recording, &e);
	if (r == 0)
		r = intake_attach(s->g->intakes, &start, &intake_callbacks, s, &s->intake, &e);
	if (r < 0) {
		s->intake = NULL;
		const char *code = admission_code(r, &retry);
		refuse(s, code, e.text, retry);
	}
}

static void stop(struct stream *s, const struct message *m)
{
	struct intake_total total = {.has_bytes = m->has_bytes,
				     .has_crc = m->has_crc,
				     .has_sha256 = m->has_sha256,
				     .bytes = m->bytes,
				     .crc32 = m->crc32};
	memcpy(total.sha256, m->sha256, sizeof(total.sha256));
	intake_stop(s->intake, &total);
}

static void handle(struct stream *s, const struct message *m)
{
	if (m->type == MESSAGE_TOKEN && s->state == STREAM_TOKEN) {
		admit(s, m->token);
	} else if (m->type == MESSAGE_START) {
		start(s, m);
	} else if (m->type == MESSAGE_ABORT && (s->state == STREAM_OPENING || s->state == STREAM_RUNNING)) {
		intake_abort(s->intake);
	} else if (s->state != STREAM_RUNNING || m->type == MESSAGE_TOKEN) {
		refuse(s, s->state == STREAM_TOKEN ? "token-invalid" : "bad-request", "this message may not come now",
		       false);
	} else if (m->type == MESSAGE_PAUSE) {
		intake_pause(s->intake);
	} else if (m->type == MESSAGE_STOP) {
		stop(s, m);
	} else {
		intake_send(s->intake);
	}
}

static void on_text(struct websocket *ws, const char *text, size_t n, void *arg)
{
	(void)ws;
	struct stream *s = arg;
	struct message m = {0};
	struct error e = {0};
	if (s->state == STREAM_CLOSING)
		return;
	int r = message_read(text, n, &m, &e);
	if (r < 0) {
		refuse(s, r == ERR_NOTFOUND ? "unknown-message" : "bad-request", e.text, false);
		return;
	}
	handle(s, &m);
	message_done(&m);
}

static void on_binary_begin(struct websocket *ws, void *arg)
{
	(void)ws;
	struct stream *s = arg;
	s->head_size = 0;
	s->crc = 0;
	if (s->state != STREAM_RUNNING && s->state != STREAM_CLOSING)
		refuse(s, "bad-request", "bytes may come only after ready", false);
}

static void on_binary(struct websocket *ws, const void *data, size_t n, void *arg)
{
	(void)ws;
	struct stream *s = arg;
	const uint8_t *p = data;
	if (s->state != STREAM_RUNNING)
		return;
	size_t head = MIN(n, FRAME_HEAD_BYTES - s->head_size);
	memcpy(s->head + s->head_size, p, head);
	s->head_size += head;
	p += head;
	n -= head;
	if (n == 0)
		return;
	bool pool_is_empty = false;
	struct error e = {0};
	s->crc = crc32_update(s->crc, p, n);
	if (chunks_add(&s->bytes, s->g->chunks, p, n, &pool_is_empty, &e) < 0) {
		refuse(s, "internal", e.text, true);
	} else if (pool_is_empty) {
		websocket_pause(s->ws);
		loop_timer_set(s->timer, POOL_WAIT_MS);
	}
}

static void on_binary_end(struct websocket *ws, void *arg)
{
	(void)ws;
	struct stream *s = arg;
	if (s->state != STREAM_RUNNING)
		return;
	struct error e = {0};
	struct frame_head head = frame_head_read(s->head);
	if (s->head_size < FRAME_HEAD_BYTES) {
		refuse(s, "bad-request", "a binary message has a head of 12 bytes", false);
		return;
	}
	if (s->crc != head.crc32) {
		refuse(s, "crc-mismatch", "the bytes fail their CRC-32", true);
		return;
	}
	int r = intake_give(s->intake, head.offset, &s->bytes, &e);
	if (r == ERR_CONFLICT)
		refuse(s, "gap", e.text, true);
	else if (r < 0)
		refuse(s, "bad-request", e.text, false);
	else if (intake_is_full(s->intake))
		websocket_pause(s->ws);
}

static void on_writable(struct websocket *ws, void *arg)
{
	(void)ws;
	struct stream *s = arg;
	if (s->ack_due)
		on_ack(s, s->ack_due);
}

static void on_drain(struct websocket *ws, void *arg)
{
	(void)ws;
	struct stream *s = arg;
	/* a connection with a recording is told by its intake, which closes the segment first */
	if (!s->intake)
		refuse(s, "draining", "this node is stopping: connect again", true);
}

static void on_end(struct websocket *ws, int code, void *arg)
{
	(void)ws;
	(void)code;
	struct stream *s = arg;
	struct intake *i = TAKE_PTR(s->intake);
	if (i)
		intake_detach(i, false);
	chunks_clear(&s->bytes, s->g->chunks);
	loop_timer_free(s->timer);
	free(s);
}

/* Nobody said who they are or what they want, or a pause for want of buffers is over. */
static void on_timer(void *arg)
{
	struct stream *s = arg;
	if (s->state == STREAM_TOKEN)
		refuse(s, "token-timeout", "no token came", false);
	else if (s->state == STREAM_START)
		refuse(s, "idle", "no start came", true);
	else if (s->state != STREAM_RUNNING || slab_has_spare(s->g->chunks))
		websocket_resume(s->ws);
	else
		loop_timer_set(s->timer, POOL_WAIT_MS);
}

static const struct websocket_callbacks websocket_callbacks = {
    .on_text = on_text,
    .on_binary_begin = on_binary_begin,
    .on_binary = on_binary,
    .on_binary_end = on_binary_end,
    .on_writable = on_writable,
    .on_drain = on_drain,
    .on_end = on_end,
};

void stream_handle(struct http_request *r, void *arg)
{
	static const char *const subprotocols[] = {STREAM_SUBPROTOCOL, NULL};
	const struct websocket_options options = {.subprotocols = subprotocols,
						  .message_bytes_max = FRAME_HEAD_BYTES + FRAME_PAYLOAD_BYTES,
						  .text_bytes_max = MESSAGE_BYTES_MAX};
	struct ingest *g = arg;
	struct stream *s = calloc(1, sizeof(*s));
	if (!s || loop_timer_new(platform_loop(g->platform), on_timer, s, &s->timer) < 0) {
		free(s);
		(void)http_respond_problem(r, 503, "unavailable", "no memory");
		return;
	}
	s->g = g;
	if (websocket_accept(r, &options, &websocket_callbacks, s, &s->ws) < 0) {
		loop_timer_free(s->timer);
		free(s);
		return;
	}
	loop_timer_set(s->timer, g->config->token_ms);
	const char *bearer = http_request_bearer(r);
	if (bearer)
		admit(s, bearer);
}
