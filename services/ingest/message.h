/* The messages of the recorder's stream (proto/stream.md): reading what a page sends, writing what it is told. Pure. */
#ifndef RUSHES_INGEST_MESSAGE_H
#define RUSHES_INGEST_MESSAGE_H

#include "base/json.h"
#include "base/uuid.h"

/* A binary frame: offset (8 bytes), CRC-32 of the payload (4 bytes), both big-endian, payload. */
#define FRAME_HEAD_BYTES    12
#define FRAME_PAYLOAD_BYTES ((size_t)1024 * 1024)

/* The first text frame carries the token: 4 KiB of it at most; no other message needs more. */
#define MESSAGE_BYTES_MAX ((size_t)8 * 1024)

/* Room for every message to the page. */
#define MESSAGE_OUT_BYTES 512

struct frame_head {
	uint64_t offset;
	uint32_t crc32;
};

struct frame_head frame_head_read(const uint8_t head[FRAME_HEAD_BYTES]);

enum message_type {
	MESSAGE_TOKEN, /* when there was no Authorization header */
	MESSAGE_START,
	MESSAGE_PAUSE,
	MESSAGE_STOP,
	MESSAGE_SEND,
	MESSAGE_ABORT,
	MESSAGE_TYPE_MAX
};

/* What a message says; texts are the message's. Absent texts are NULL, absent objects too. */
struct message {
	enum message_type type;
	char *token;			     /* token */
	struct uuid take;		     /* start */
	char *mime;			     /* start */
	char *source;			     /* start: "screen", "camera", "microphone", "file" */
	json_t *devices;		     /* start */
	char *referrer;			     /* start */
	char *file_name;		     /* start */
	struct uuid replaces;		     /* start; zero: nothing */
	bool has_bytes, has_crc, has_sha256; /* stop */
	uint64_t bytes;
	uint32_t crc32; /* of the whole take, as the next */
	uint8_t sha256[32];
	bool has_acked;
	uint64_t acked; /* start: what the client was told before */
};

/* Reads one text frame. ERR_REJECT says what is wrong with it, ERR_NOTFOUND: there is no such type. Unknown members are
 * ignored. */
int message_read(const char *text, size_t n, struct message *ret, struct error *e) _must_check_;
void message_done(struct message *m);

/* The recording of a page's take: the same session and take always give the same UUIDv7, whose time is the session's.
 * So a repeated `start` finds its recording, and no page can name another session's. */
int message_recording(const struct uuid *session, const struct uuid *take, struct uuid *ret,
		      struct error *e) _must_check_;

/* Messages to the page; the length without the end. */
size_t message_ready(char ret[MESSAGE_OUT_BYTES], const struct uuid *recording, uint64_t offset, bool send_on_stop,
		     bool is_finished);
size_t message_ack(char ret[MESSAGE_OUT_BYTES], uint64_t offset);
size_t message_saved(char ret[MESSAGE_OUT_BYTES], const struct uuid *recording, uint64_t bytes, bool is_recovered);
size_t message_copied(char ret[MESSAGE_OUT_BYTES]);
size_t message_discarded(char ret[MESSAGE_OUT_BYTES]);
/* `text` is cut when it is long; both are our own words. */
size_t message_error(char ret[MESSAGE_OUT_BYTES], const char *code, const char *text, bool retry);

#endif
