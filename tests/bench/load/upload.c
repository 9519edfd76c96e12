#include "load.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* A request's head, then `body` bytes of the payload over and over: the body is sent a message at a time. */
static void put_request(struct peer *p, const char *method, const char *path, const char *headers, uint64_t length)
{
	const struct options *o = &p->load->o;
	int n = snprintf(p->head, sizeof(p->head),
			 "%s %s HTTP/1.1\r\nHost: %s:%u\r\n%s%s%s%sContent-Length: %" PRIu64 "\r\n\r\n", method, path,
			 o->name, o->port, o->token[0] ? "Authorization: Bearer " : "", o->token,
			 o->token[0] ? "\r\n" : "", headers, length);
	p->head_n = (size_t)n < sizeof(p->head) ? (size_t)n : 0;
	p->head_at = p->body_n = p->body_at = 0;
}

static void begin(struct peer *p)
{
	struct options *o = &p->load->o;
	char text[640];
	switch (o->mode) {
	case MODE_TUS:
		(void)snprintf(text, sizeof(text), "Tus-Resumable: 1.0.0\r\nUpload-Length: %" PRIu64 "\r\n", o->bytes);
		put_request(p, "POST", o->path, text, 0);
		return;
	case MODE_PUT:
		(void)snprintf(text, sizeof(text), "%s%u", o->path, p->number);
		put_request(p, "PUT", text, "", o->bytes);
		break;
	default:
		put_request(p, "POST", o->path, "Content-Type: video/webm\r\n", o->bytes);
	}
	peer_set_ready(p);
}

static void sent(struct peer *p)
{
	const struct options *o = &p->load->o;
	if (p->state != PEER_READY)
		return;
	if (p->sent == o->bytes) {
		p->state = PEER_ENDING;
		return;
	}
	p->head_n = p->head_at = p->body_at = 0;
	p->body_n = o->bytes - p->sent < o->message_bytes ? o->bytes - p->sent : o->message_bytes;
	p->sent += p->body_n;
}

/* Copies a header's value; false without it. */
static bool header(const char *head, const char *end, const char *name, char *ret, size_t room)
{
	size_t n = strlen(name);
	for (const char *line = head; line && line < end; line = memmem(line, (size_t)(end - line), "\r\n", 2)) {
		if (line != head)
			line += 2;
		if ((size_t)(end - line) <= n || strncasecmp(line, name, n) != 0 || line[n] != ':')
			continue;
		const char *value = line + n + 1 + strspn(line + n + 1, " ");
		(void)snprintf(ret, room, "%.*s", (int)strcspn(value, "\r\n"), value);
		return true;
	}
	return false;
}

static void created(struct peer *p, const char *head, const char *end)
{
	char value[512];
	if (!header(head, end, "location", value, sizeof(value))) {
		peer_fail(p, "stream %u: the answer to POST names no location", p->number);
		return;
	}
	/* an absolute one is of the same server */
	const char *scheme = strstr(value, "://"), *path = scheme ? strchr(scheme + 3, '/') : value;
	if (!path) {
		peer_fail(p, "stream %u: %s is no location", p->number, value);
		return;
	}
	(void)snprintf(p->location, sizeof(p->location), "%s", path);
	peer_set_ready(p);
	put_request(p, "PATCH", p->location,
		    "Tus-Resumable: 1.0.0\r\nUpload-Offset: 0\r\nContent-Type: application/offset+octet-stream\r\n",
		    p->load->o.bytes);
	peer_flush(p);
}

static size_t received(struct peer *p, const char *data, size_t n)
{
	if (p->skip > 0) {
		size_t take = n < p->skip ? n : (size_t)p->skip;
		p->skip -= take;
		return take;
	}
	/* what is left of an answer that was sent in chunks: no body of interest */
	if (n >= 5 && memcmp(data, "0\r\n\r\n", 5) == 0)
		return 5;
	const char *end = memmem(data, n, "\r\n\r\n", 4);
	if (!end)
		return 0;
	int status = n > 12 ? (int)strtol(data + 9, NULL, 10) : 0;
	char length[32];
	if (status == 100)
		return (size_t)(end + 4 - data);
	if (header(data, end, "content-length", length, sizeof(length)))
		p->skip = strtoull(length, NULL, 10);
	if (status < 200 || status > 299)
		peer_fail(p, "stream %u: answered %.400s", p->number, data);
	else if (p->state == PEER_OPENING)
		created(p, data, end);
	else if (p->state == PEER_ENDING)
		peer_done(p);
	else
		peer_fail(p, "stream %u: answered %d before the end", p->number, status);
	return (size_t)(end + 4 - data);
}

const struct protocol upload_protocol = {.begin = begin, .sent = sent, .received = received};
