#include "message.h"

#include "base/bytes.h"
#include "base/hex.h"
#include "crypto/digest.h"

#include <assert.h>
#include <inttypes.h>
#include <string.h>

/* Longest texts that are kept of a page; the rows cut them further. */
#define MIME_CHARS     200
#define SOURCE_CHARS   64
#define REFERRER_CHARS 2000
#define NAME_CHARS     500
#define TOKEN_CHARS    4096
#define CRC_CHARS      8
#define SHA256_CHARS   (2 * SHA256_BYTES)

/* Largest number that JSON carries exactly. */
#define NUMBER_MAX ((uint64_t)1 << 53)

static const char *const type_names[] = {"token", "start", "pause", "stop", "send", "abort", NULL};

struct fields {
	const char *type;
	char *token, *mime, *source, *referrer, *file_name, *crc32, *sha256;
	json_t *devices;
	struct uuid take, replaces;
	uint64_t bytes, acked;
	bool has_take, has_bytes, has_acked;
};

#define TEXT(name, limit)                                                                         \
	{                                                                                         \
#name, JSON_FIELD_STRING, false, 0, limit, NULL, offsetof(struct fields, name), 0 \
	}

static const struct json_field message_fields[] = {
    {"type", JSON_FIELD_CHOICE, true, 0, 0, type_names, offsetof(struct fields, type), 0},
    TEXT(token, TOKEN_CHARS),
    TEXT(mime, MIME_CHARS),
    TEXT(source, SOURCE_CHARS),
    TEXT(referrer, REFERRER_CHARS),
    TEXT(file_name, NAME_CHARS),
    TEXT(crc32, CRC_CHARS),
    TEXT(sha256, SHA256_CHARS),
    {"devices", JSON_FIELD_OBJECT, false, 0, 0, NULL, offsetof(struct fields, devices), 0},
    {"take", JSON_FIELD_UUID, false, 0, 0, NULL, offsetof(struct fields, take), offsetof(struct fields, has_take)},
    {"replaces", JSON_FIELD_UUID, false, 0, 0, NULL, offsetof(struct fields, replaces), 0},
    {"bytes", JSON_FIELD_UINT, false, 0, NUMBER_MAX, NULL, offsetof(struct fields, bytes),
     offsetof(struct fields, has_bytes)},
    {"acked", JSON_FIELD_UINT, false, 0, NUMBER_MAX, NULL, offsetof(struct fields, acked),
     offsetof(struct fields, has_acked)},
    {0},
};

struct frame_head frame_head_read(const uint8_t head[FRAME_HEAD_BYTES])
{
	return (struct frame_head){bytes_get64(head), bytes_get32(head + sizeof(uint64_t))};
}

static bool type_is_known(const json_t *type)
{
	const char *name = json_string_value(type);
	for (int t = 0; name && type_names[t]; t++)
		if (strcmp(type_names[t], name) == 0)
			return true;
	return !json_is_string(type); /* the reader says what is wrong with it */
}

static enum message_type type_of(const char *name)
{
	int t = 0;
	while (strcmp(type_names[t], name) != 0)
		t++;
	return (enum message_type)t;
}

static bool crc_of(const char *text, uint32_t *ret)
{
	if (strlen(text) != CRC_CHARS || strspn(text, "0123456789abcdefABCDEF") != CRC_CHARS)
		return false;
	*ret = (uint32_t)strtoul(text, NULL, 16);
	return true;
}

int message_read(const char *text, size_t n, struct message *ret, struct error *e)
{
	if (n > MESSAGE_BYTES_MAX)
		return error_set(e, ERR_REJECT, "a message has at most %zu bytes", MESSAGE_BYTES_MAX);
	json_t *object = NULL;
	int r = json_parse(text, n, &object, e);
	if (r < 0)
		return r;
	struct fields f = {0};
	if (!type_is_known(json_object_get(object, "type"))) {
		json_decref(object);
		return error_set(e, ERR_NOTFOUND, "there is no such type of message");
	}
	r = json_read(object, message_fields, true, &f, e);
	json_decref(object);
	if (r < 0)
		return r;
	struct message m = {.type = type_of(f.type), .bytes = f.bytes, .has_bytes = f.has_bytes};
	if (m.type == MESSAGE_TOKEN && !f.token)
		r = error_set(e, ERR_REJECT, "token: the member token is missing");
	else if (m.type == MESSAGE_START && !f.has_take)
		r = error_set(e, ERR_REJECT, "start: the member take is missing");
	else if (f.crc32 && !crc_of(f.crc32, &m.crc32))
		r = error_set(e, ERR_REJECT, "crc32 is not 8 hexadecimal digits");
	else if (f.sha256 && !hex_decode(f.sha256, m.sha256, sizeof(m.sha256)))
		r = error_set(e, ERR_REJECT, "sha256 is not 64 hexadecimal digits");
	if (r < 0) {
		json_read_done(message_fields, &f);
		return r;
	}
	m.has_crc = f.crc32 != NULL;
	m.has_sha256 = f.sha256 != NULL;
	m.has_acked = f.has_acked;
	m.acked = f.acked;
	m.token = TAKE_PTR(f.token);
	m.mime = TAKE_PTR(f.mime);
	m.source = TAKE_PTR(f.source);
	m.referrer = TAKE_PTR(f.referrer);
	m.file_name = TAKE_PTR(f.file_name);
	m.devices = TAKE_PTR(f.devices);
	m.take = f.take;
	m.replaces = f.replaces;
	json_read_done(message_fields, &f);
	*ret = m;
	return 0;
}

void message_done(struct message *m)
{
	free(m->token);
	free(m->mime);
	free(m->source);
	free(m->referrer);
	free(m->file_name);
	json_decref(m->devices);
	*m = (struct message){0};
}

/* Bytes of a UUID that hold its time, and where version and variant stand (RFC 9562). */
#define UUID_TIME_BYTES	  6
#define UUID_VERSION_BYTE 6
#define UUID_VARIANT_BYTE 8

int message_recording(const struct uuid *session, const struct uuid *take, struct uuid *ret, struct error *e)
{
	static const char label[] = "rushes take";
	uint8_t input[sizeof(label) - 1 + 2 * UUID_BYTES];
	uint8_t digest[SHA256_BYTES];
	memcpy(input, label, sizeof(label) - 1);
	memcpy(input + sizeof(label) - 1, session->b, UUID_BYTES);
	memcpy(input + sizeof(label) - 1 + UUID_BYTES, take->b, UUID_BYTES);
	int r = sha256_of(input, sizeof(input), digest, e);
	if (r < 0)
		return r;
	struct uuid u;
	memcpy(u.b, digest, UUID_BYTES);
	memcpy(u.b, session->b, UUID_TIME_BYTES);
	u.b[UUID_VERSION_BYTE] = (uint8_t)((u.b[UUID_VERSION_BYTE] & 0x0f) | 0x70);
	u.b[UUID_VARIANT_BYTE] = (uint8_t)((u.b[UUID_VARIANT_BYTE] & 0x3f) | 0x80);
	*ret = u;
	return 0;
}

static size_t length(int n)
{
	assert(n > 0 && (size_t)n < MESSAGE_OUT_BYTES);
	return (size_t)n;
}

size_t message_ready(char ret[MESSAGE_OUT_BYTES], const struct uuid *recording, uint64_t offset, bool send_on_stop,
		     bool is_finished)
{
	char id[UUID_TEXT_BYTES];
	uuid_format(recording, id);
	return length(snprintf(ret, MESSAGE_OUT_BYTES,
			       "{\"type\":\"ready\",\"recording\":\"%s\",\"offset\":%" PRIu64
			       ",\"max_message_bytes\":%zu,\"send_on_stop\":%s,\"finished\":%s}",
			       id, offset, FRAME_HEAD_BYTES + FRAME_PAYLOAD_BYTES, send_on_stop ? "true" : "false",
			       is_finished ? "true" : "false"));
}

size_t message_ack(char ret[MESSAGE_OUT_BYTES], uint64_t offset)
{
	return length(snprintf(ret, MESSAGE_OUT_BYTES, "{\"type\":\"ack\",\"offset\":%" PRIu64 "}", offset));
}

size_t message_saved(char ret[MESSAGE_OUT_BYTES], const struct uuid *recording, uint64_t bytes, bool is_recovered)
{
	char id[UUID_TEXT_BYTES];
	uuid_format(recording, id);
	return length(snprintf(ret, MESSAGE_OUT_BYTES,
			       "{\"type\":\"saved\",\"recording\":\"%s\",\"bytes\":%" PRIu64 ",\"recovered\":%s}", id,
			       bytes, is_recovered ? "true" : "false"));
}

size_t message_copied(char ret[MESSAGE_OUT_BYTES])
{
	return length(snprintf(ret, MESSAGE_OUT_BYTES, "{\"type\":\"copied\"}"));
}

size_t message_discarded(char ret[MESSAGE_OUT_BYTES])
{
	return length(snprintf(ret, MESSAGE_OUT_BYTES, "{\"type\":\"discarded\"}"));
}

/* A text that needs no escapes in JSON: what does is left out. */
static void plain_text(const char *text, char *ret, size_t room)
{
	size_t n = 0;
	for (const char *c = text; *c && n + 1 < room; c++)
		if (*c >= ' ' && *c < 0x7f && *c != '"' && *c != '\\')
			ret[n++] = *c;
	ret[n] = '\0';
}

size_t message_error(char ret[MESSAGE_OUT_BYTES], const char *code, const char *text, bool retry)
{
	char plain[300];
	plain_text(text, plain, sizeof(plain));
	return length(snprintf(ret, MESSAGE_OUT_BYTES,
			       "{\"type\":\"error\",\"code\":\"%.64s\",\"message\":\"%s\",\"retry\":%s}", code, plain,
			       retry ? "true" : "false"));
}
