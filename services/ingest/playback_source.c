#include "playback_source.h"

#include "domain/key.h"
#include "spool/sealed.h"

#include <fcntl.h>
#include <sodium.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

/* A run of the recording, from one segment. */
struct part {
	struct uuid copy;
	uint32_t number;
	uint64_t start;	     /* of the segment, in the recording */
	uint64_t begin, end; /* of what is taken from it, in the recording */
	bool is_open;
};

struct playback_source {
	const struct segment_host *host;
	struct uuid account, recording;
	uint8_t key[KEY_BYTES];
	char mime[PLAYBACK_MIME_BYTES];
	struct part *parts;
	size_t n_parts;
	/* the one that is being read */
	const struct part *current;
	int fd;
	struct sealed_reader *reader;
};

struct row {
	struct uuid copy;
	uint64_t number, start, bytes;
	bool has_copy, is_closed, is_here;
};

#define NUMBER_MAX ((uint64_t)1 << 53)

static const struct json_field row_fields[] = {
    {.name = "copy",
     .type = JSON_FIELD_UUID,
     .offset = offsetof(struct row, copy),
     .seen_offset = offsetof(struct row, has_copy)},
    {.name = "number",
     .type = JSON_FIELD_UINT,
     .required = true,
     .max = UINT32_MAX,
     .offset = offsetof(struct row, number)},
    {.name = "start",
     .type = JSON_FIELD_UINT,
     .required = true,
     .max = NUMBER_MAX,
     .offset = offsetof(struct row, start)},
    {.name = "bytes",
     .type = JSON_FIELD_UINT,
     .max = NUMBER_MAX,
     .offset = offsetof(struct row, bytes),
     .seen_offset = offsetof(struct row, is_closed)},
    {.name = "is_here", .type = JSON_FIELD_BOOL, .required = true, .offset = offsetof(struct row, is_here)},
    {0},
};

static int ask(const struct segment_host *h, const struct playback_question *q, json_t **ret, struct error *e)
{
	static const struct db_statement st = {
	    "recording_playback", "SELECT rushes.recording_playback($1::uuid, $2::uuid, $3::uuid, $4::uuid)::text", 4};
	char recording[UUID_TEXT_BYTES], account[UUID_TEXT_BYTES], session[UUID_TEXT_BYTES];
	uuid_format(&q->recording, recording);
	uuid_format(&q->account, account);
	uuid_format(&q->session, session);
	_cleanup_(db_result_freep) struct db_result *rows = NULL;
	int r = db_run(h->db, &st, (const char *[]){recording, account, session, spool_node_text(h->spool)}, &rows, e);
	if (r < 0)
		return r;
	const char *text = db_text(rows, 0, 0);
	return json_parse(text, strlen(text), ret, e);
}

static int verdict_of(json_t *answer, struct error *e)
{
	const char *verdict = json_string_value(json_object_get(answer, "verdict"));
	const char *reason = json_string_value(json_object_get(answer, "reason"));
	if (verdict && strcmp(verdict, "yes") == 0)
		return 0;
	if (verdict && strcmp(verdict, "gone") == 0)
		return error_set(e, ERR_CANCELLED, "the recording cannot be played any more");
	if (verdict && strcmp(verdict, "refused") == 0)
		return error_set(e, ERR_DENIED, "%s", reason ? reason : "session-refused");
	return error_set(e, ERR_NOTFOUND, "this session has no such recording");
}

/* Of an open segment only whole slots that are in its file are read: the rest is in the writer's memory. */
static uint64_t readable_end(const struct playback_source *s, const struct playback_question *q, const struct row *row)
{
	_cleanup_(closep) int fd = -1;
	struct stat st;
	if (!q->is_live || q->durable <= row->start ||
	    spool_open_copy(s->host->spool, &row->copy, O_RDONLY, &fd, NULL) < 0 || fstat(fd, &st) < 0 ||
	    st.st_size < SEALED_HEADER_BYTES)
		return row->start;
	uint64_t written = ((uint64_t)st.st_size - SEALED_HEADER_BYTES) / SEALED_SLOT_BYTES;
	uint64_t durable = (q->durable - row->start) / SEALED_SLOT_PAYLOAD;
	return row->start + MIN(written, durable) * SEALED_SLOT_PAYLOAD;
}

/* Where segments overlap, the earlier one counts; behind a gap nothing does. */
static int add_part(struct playback_source *s, const struct playback_question *q, const struct row *row,
		    struct error *e)
{
	uint64_t at = playback_source_size(s);
	if (row->start > at || (row->is_closed && row->start + row->bytes <= at))
		return 0;
	if (!row->is_here || !row->has_copy)
		return error_set(e, ERR_CONFLICT, "a part of the recording lies on another node");
	uint64_t end = row->is_closed ? row->start + row->bytes : readable_end(s, q, row);
	if (end > at)
		s->parts[s->n_parts++] = (struct part){.copy = row->copy,
						       .number = (uint32_t)row->number,
						       .start = row->start,
						       .begin = at,
						       .end = end,
						       .is_open = !row->is_closed};
	return 0;
}

static int add_parts(struct playback_source *s, const struct playback_question *q, json_t *segments, struct error *e)
{
	s->parts = calloc(json_array_size(segments) + 1, sizeof(*s->parts));
	if (!s->parts)
		return error_nomem(e);
	int r = 0;
	for (size_t i = 0; i < json_array_size(segments) && r == 0; i++) {
		struct row row = {0};
		r = json_read(json_array_get(segments, i), row_fields, false, &row, e);
		if (r == 0)
			r = add_part(s, q, &row, e);
	}
	return r;
}

/* The type comes from the page: only what a player needs is repeated, nothing that a browser would run. */
static void set_mime(struct playback_source *s, const char *mime)
{
	static const char harmless[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
				       "/;=,.+-_ \"";
	bool is_media = mime && (strncasecmp(mime, "video/", 6) == 0 || strncasecmp(mime, "audio/", 6) == 0) &&
			mime[strspn(mime, harmless)] == '\0' && strlen(mime) < sizeof(s->mime);
	(void)snprintf(s->mime, sizeof(s->mime), "%s", is_media ? mime : "application/octet-stream");
}

int playback_source_new(const struct segment_host *h, const struct playback_question *q, struct playback_source **ret,
			struct error *e)
{
	_cleanup_(playback_source_freep) struct playback_source *s = calloc(1, sizeof(*s));
	json_t *answer = NULL;
	if (!s)
		return error_nomem(e);
	s->host = h;
	s->account = q->account;
	s->recording = q->recording;
	s->fd = -1;
	int r = ask(h, q, &answer, e);
	if (r == 0)
		r = verdict_of(answer, e);
	if (r == 0)
		r = add_parts(s, q, json_object_get(answer, "segments"), e);
	if (r == 0)
		set_mime(s, json_string_value(json_object_get(answer, "mime")));
	json_decref(answer);
	if (r == 0 && s->n_parts > 0)
		r = recording_key_get(h->db, h->root, &q->recording, s->key, NULL, e);
	if (r == 0)
		*ret = TAKE_PTR(s);
	return r;
}

static void close_part(struct playback_source *s)
{
	sealed_reader_free(TAKE_PTR(s->reader));
	closep(&s->fd);
	s->current = NULL;
}

void playback_source_free(struct playback_source *s)
{
	if (!s)
		return;
	close_part(s);
	sodium_memzero(s->key, sizeof(s->key));
	free(s->parts);
	free(s);
}

uint64_t playback_source_size(const struct playback_source *s)
{
	return s->n_parts > 0 ? s->parts[s->n_parts - 1].end : 0;
}

const char *playback_source_mime(const struct playback_source *s)
{
	return s->mime;
}

static int open_part(struct playback_source *s, const struct part *p, struct error *e)
{
	const struct sealed_header expected = {.kind = SEALED_RAW_SEGMENT,
					       .account = s->account,
					       .recording = s->recording,
					       .segment = p->number};
	close_part(s);
	int r = spool_open_copy(s->host->spool, &p->copy, O_RDONLY, &s->fd, e);
	if (r == 0)
		r = p->is_open ? sealed_reader_new_part(s->fd, s->key, &expected, p->end - p->start, &s->reader, e)
			       : sealed_reader_new(s->fd, s->key, &expected, &s->reader, e);
	if (r == 0)
		s->current = p;
	return r;
}

int playback_source_read(struct playback_source *s, uint64_t offset, void *ret, size_t n, size_t *ret_n,
			 struct error *e)
{
	size_t i = 0;
	*ret_n = 0;
	while (i < s->n_parts && offset >= s->parts[i].end)
		i++;
	if (i == s->n_parts)
		return 0;
	const struct part *p = &s->parts[i];
	int r = s->current == p ? 0 : open_part(s, p, e);
	if (r < 0)
		return r;
	r = sealed_reader_read(s->reader, offset - p->start, ret, (size_t)MIN((uint64_t)n, p->end - offset), ret_n, e);
	/* its row says that it has these bytes */
	if (r == 0 && *ret_n == 0)
		r = error_set(e, ERR_CORRUPT, "segment %u ends before offset %llu", p->number,
			      (unsigned long long)offset);
	return r;
}
