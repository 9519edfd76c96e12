#include "load.h"

#include <endian.h>
#include <inttypes.h>
#include <openssl/rand.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CHUNK_HEAD_BYTES 12

enum { OPCODE_TEXT = 1, OPCODE_BINARY = 2, OPCODE_CLOSE = 8, OPCODE_PING = 9, OPCODE_PONG = 10 };

/* The head of a masked frame of `n` bytes behind what is queued. */
static void put_frame_head(struct peer *p, unsigned opcode, uint64_t n)
{
	uint8_t *at = (uint8_t *)p->head + p->head_n;
	size_t used = 2;
	at[0] = (uint8_t)(0x80 | opcode);
	if (n < 126) {
		at[1] = (uint8_t)(0x80 | n);
	} else if (n <= UINT16_MAX) {
		at[1] = 0x80 | 126;
		uint16_t length = htobe16((uint16_t)n);
		memcpy(at + 2, &length, 2);
		used = 4;
	} else {
		at[1] = 0x80 | 127;
		uint64_t length = htobe64(n);
		memcpy(at + 2, &length, 8);
		used = 10;
	}
	memcpy(at + used, MASK_KEY, 4);
	p->head_n += used + 4;
}

static void put_masked(struct peer *p, const void *data, size_t n)
{
	const uint8_t *from = data;
	for (size_t i = 0; i < n; i++)
		p->head[p->head_n++] = (char)(from[i] ^ (uint8_t)MASK_KEY[i % 4]);
}

/* Control and text frames are small and few: they wait only for what is on its way. */
static void put_small(struct peer *p, unsigned opcode, const void *data, size_t n)
{
	if (peer_is_idle(p))
		p->head_n = p->head_at = p->body_n = p->body_at = 0;
	else if (p->body_n > p->body_at || p->head_n + n + 16 > HEAD_BYTES)
		return; /* a pong to a stream that is sending: its bytes say as much */
	put_frame_head(p, opcode, n);
	put_masked(p, data, n);
}

static void put_text(struct peer *p, const char *text)
{
	put_small(p, OPCODE_TEXT, text, strlen(text));
}

/* Queues the next message; nothing may wait to go out. */
static void put_chunk(struct peer *p, size_t n)
{
	uint8_t head[CHUNK_HEAD_BYTES];
	uint64_t offset = htobe64(p->sent);
	uint32_t crc = htobe32(n == p->load->o.message_bytes ? p->load->payload_crc : load_crc(p->load, n));
	memcpy(head, &offset, 8);
	memcpy(head + 8, &crc, 4);
	p->head_n = p->head_at = 0;
	put_frame_head(p, OPCODE_BINARY, CHUNK_HEAD_BYTES + n);
	put_masked(p, head, sizeof(head));
	p->body_at = 0;
	p->body_n = n;
	p->sent += n;
}

static void begin(struct peer *p)
{
	const struct options *o = &p->load->o;
	int n = snprintf(p->head, sizeof(p->head),
			 "GET %s HTTP/1.1\r\nHost: %s\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
			 "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
			 "Sec-WebSocket-Protocol: rushes.stream.v1\r\nAuthorization: Bearer %s\r\n\r\n",
			 o->path, o->name, o->token);
	p->head_n = (size_t)n < sizeof(p->head) ? (size_t)n : 0;
	p->head_at = 0;
}

static void start(struct peer *p)
{
	uint8_t b[16];
	char text[160];
	(void)RAND_bytes(b, sizeof(b));
	(void)snprintf(text, sizeof(text),
		       "{\"type\":\"start\",\"mime\":\"video/webm\",\"source\":\"screen\",\"take\":"
		       "\"%02x%02x%02x%02x-%02x%02x-4%x%02x-8%x%02x-%02x%02x%02x%02x%02x%02x\"}",
		       b[0], b[1], b[2], b[3], b[4], b[5], b[6] & 15, b[7], b[8] & 15, b[9], b[10], b[11], b[12], b[13],
		       b[14], b[15]);
	put_text(p, text);
}

static void end(struct peer *p)
{
	char text[128];
	(void)snprintf(text, sizeof(text), "{\"type\":\"stop\",\"bytes\":%" PRIu64 ",\"crc32\":\"%08x\"}", p->sent,
		       load_crc(p->load, p->sent));
	put_text(p, text);
	put_small(p, OPCODE_TEXT, "{\"type\":\"send\"}", 15);
	p->state = PEER_ENDING;
}

static void sent(struct peer *p)
{
	const struct load *l = p->load;
	if (p->state != PEER_READY || l->paced)
		return;
	if (p->sent < l->o.bytes)
		put_chunk(p, l->o.bytes - p->sent < l->o.message_bytes ? l->o.bytes - p->sent : l->o.message_bytes);
	else if (l->o.hold && p->sent > 0)
		stream_pause(p);
	else if (!l->o.hold)
		end(p);
}

void stream_pause(struct peer *p)
{
	p->state = PEER_ENDING;
	put_text(p, "{\"type\":\"pause\"}");
}

void stream_send_chunk(struct peer *p, int64_t due_us)
{
	if (p->state != PEER_READY)
		return;
	if (p->n_waiting == OUTSTANDING_MAX || !peer_is_idle(p)) {
		p->load->overrun++;
		return;
	}
	put_chunk(p, p->load->o.message_bytes);
	p->waiting[(p->first_waiting + p->n_waiting++) % OUTSTANDING_MAX] =
	    (struct outstanding){.end = p->sent, .since_us = due_us};
	peer_flush(p);
}

static void acknowledged(struct peer *p, uint64_t offset)
{
	int64_t now = now_us();
	p->acked = offset;
	while (p->n_waiting > 0 && p->waiting[p->first_waiting].end <= offset) {
		load_latency(p->load, now - p->waiting[p->first_waiting].since_us);
		p->first_waiting = (p->first_waiting + 1) % OUTSTANDING_MAX;
		p->n_waiting--;
	}
	if (p->load->o.hold && p->state == PEER_ENDING && offset == p->sent)
		p->load->done++;
}

static void text_arrived(struct peer *p, const char *text)
{
	const char *offset = strstr(text, "\"offset\":");
	if (strstr(text, "\"type\":\"ack\"") && offset) {
		acknowledged(p, strtoull(offset + 9, NULL, 10));
	} else if (strstr(text, "\"type\":\"ready\"")) {
		peer_set_ready(p);
		/* the first chunk opens a segment, which is not what is measured */
		if (p->load->paced)
			stream_send_chunk(p, now_us());
		else
			peer_flush(p);
	} else if (strstr(text, "\"type\":\"saved\"")) {
		peer_done(p);
	} else if (strstr(text, "\"type\":\"error\"")) {
		peer_fail(p, "stream %u: %.180s", p->number, text);
	}
}

/* One frame of the server, which never masks and never sends much. 0: not all of it is there. */
static size_t take_frame(struct peer *p, const char *data, size_t n)
{
	const uint8_t *b = (const uint8_t *)data;
	if (n < 2)
		return 0;
	size_t length = b[1] & 127, head = 2;
	if (length == 126) {
		if (n < 4)
			return 0;
		length = (size_t)b[2] << 8 | b[3];
		head = 4;
	}
	if (n < head + length)
		return 0;
	char text[1024];
	unsigned opcode = b[0] & 15;
	if (opcode == OPCODE_TEXT && length < sizeof(text)) {
		memcpy(text, data + head, length);
		text[length] = '\0';
		text_arrived(p, text);
	} else if (opcode == OPCODE_PING) {
		put_small(p, OPCODE_PONG, data + head, length);
	} else if (opcode == OPCODE_CLOSE) {
		peer_fail(p, "stream %u: closed by the server with %d", p->number,
			  length >= 2 ? b[head] << 8 | b[head + 1] : 0);
	}
	return head + length;
}

static size_t received(struct peer *p, const char *data, size_t n)
{
	size_t used = 0;
	if (p->state == PEER_OPENING && memcmp(data, "HTTP/", n < 5 ? n : 5) == 0) {
		const char *head = memmem(data, n, "\r\n\r\n", 4);
		if (!head)
			return 0;
		if (n < 12 || memcmp(data + 9, "101", 3) != 0) {
			peer_fail(p, "stream %u: answered %.3s", p->number, data + 9);
			return n;
		}
		used = (size_t)(head + 4 - data);
		start(p);
	}
	while (used < n && p->state < PEER_DONE) {
		size_t took = take_frame(p, data + used, n - used);
		if (took == 0)
			break;
		used += took;
	}
	return used;
}

const struct protocol stream_protocol = {.begin = begin, .sent = sent, .received = received};
