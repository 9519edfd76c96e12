#include "raw_plan.h"

#include "base/hex.h"

#include <string.h>

/* Where a peer serves a copy (DESIGN section 4, "Spool peers"). */
#define COPY_PATH "/spool/v1/copies/"

void raw_plan_done(struct raw_plan *p)
{
	free(p->segments);
	*p = (struct raw_plan){0};
}

static bool read_number(json_t *o, const char *name, uint64_t *ret)
{
	json_t *v = json_object_get(o, name);
	if (!json_is_integer(v) || json_integer_value(v) < 0)
		return false;
	*ret = (uint64_t)json_integer_value(v);
	return true;
}

static bool read_segment(json_t *o, struct raw_segment *ret)
{
	uint64_t number, crc32 = 0;
	const char *sha256 = json_string_value(json_object_get(o, "sha256"));
	const char *copy = json_string_value(json_object_get(o, "copy"));
	const char *peer = json_string_value(json_object_get(o, "peer_url"));
	ret->is_open = json_is_true(json_object_get(o, "is_open"));
	ret->is_silent = json_is_true(json_object_get(o, "is_silent"));
	if (!read_number(o, "number", &number) || number > RAW_SEGMENT_NUMBER_MAX ||
	    !read_number(o, "start_offset", &ret->start) || !copy || !uuid_parse(copy, &ret->copy) || !peer)
		return false;
	if (!ret->is_open && (!read_number(o, "bytes", &ret->bytes) || !read_number(o, "crc32", &crc32) ||
			      crc32 > UINT32_MAX || !sha256 || !hex_decode(sha256, ret->sha256, SHA256_BYTES)))
		return false;
	ret->number = (uint32_t)number;
	ret->crc32 = (uint32_t)crc32;
	size_t n = strlen(peer);
	while (n > 0 && peer[n - 1] == '/')
		n--;
	int length = snprintf(ret->url, sizeof(ret->url), "%.*s" COPY_PATH "%s", (int)n, peer, copy);
	return length > 0 && (size_t)length < sizeof(ret->url);
}

/* Whether the segments on nodes that answer hold all of it; then the others are left out. */
static void leave_out_silent(struct raw_plan *p)
{
	uint64_t end = 0;
	size_t kept = 0;
	for (size_t i = 0; i < p->n; i++) {
		const struct raw_segment *s = &p->segments[i];
		if (!s->is_silent && s->start <= end && s->bytes <= UINT64_MAX - s->start)
			end = MAX(end, s->start + s->bytes);
	}
	if (end < p->bytes)
		return;
	for (size_t i = 0; i < p->n; i++)
		if (!p->segments[i].is_silent)
			p->segments[kept++] = p->segments[i];
	p->n = kept;
}

/* Each segment begins where the ones before end, or earlier. */
static int join(struct raw_plan *p, struct error *e)
{
	uint64_t end = 0;
	for (size_t i = 0; i < p->n; i++) {
		struct raw_segment *s = &p->segments[i];
		uint64_t s_end;
		if (__builtin_add_overflow(s->start, s->bytes, &s_end))
			return error_set(e, ERR_FATAL, "segment %u has an impossible size", s->number);
		if (s->start > end)
			return error_set(e, ERR_RETRY, "bytes %lu to %lu of the recording are on no spool now",
					 (unsigned long)end, (unsigned long)s->start);
		s->skip = MIN(end - s->start, s->bytes);
		end = MAX(end, s_end);
	}
	if (end != p->bytes)
		return error_set(e, ERR_RETRY, "the spools hold %lu of the recording's %lu bytes now",
				 (unsigned long)end, (unsigned long)p->bytes);
	return 0;
}

int raw_plan_read(json_t *context, struct raw_plan *ret, struct error *e)
{
	struct raw_plan p = {0};
	const char *conversion = json_string_value(json_object_get(context, "conversion"));
	const char *state = json_string_value(json_object_get(context, "state"));
	json_t *segments = json_object_get(context, "segments");
	p.is_open = state && strcmp(state, "open") == 0;
	bool is_known = p.is_open || read_number(context, "bytes", &p.bytes);
	if (!conversion || !is_known || !json_is_array(segments) || json_array_size(segments) > RAW_SEGMENTS_MAX)
		return error_set(e, ERR_FATAL, "the copy job's context lacks conversion, bytes or segments");
	p.kind = strcmp(conversion, "never") == 0 ? FILE_MAIN : FILE_RAW;
	p.n = json_array_size(segments);
	p.segments = calloc(p.n ? p.n : 1, sizeof(*p.segments));
	if (!p.segments)
		return error_nomem(e);
	int r = 0;
	for (size_t i = 0; i < p.n && r == 0; i++)
		if (!read_segment(json_array_get(segments, i), &p.segments[i]))
			r = error_set(e, ERR_FATAL, "segment %zu of the copy job's context cannot be read", i);
	if (r == 0 && !p.is_open) {
		leave_out_silent(&p);
		r = join(&p, e);
	}
	if (r < 0) {
		raw_plan_done(&p);
		return r;
	}
	*ret = p;
	return 0;
}
