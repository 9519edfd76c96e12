#include "parts.h"

#include <string.h>

/* Enough for the longest signature; an EBML header names its DocType within SIGNATURE_BYTES. */
#define HEAD_BYTES	16
#define SCAN_BYTES	(64 * 1024)
#define SIGNATURE_BYTES 64
/* Top-level boxes of a .mp4 that are looked at: a fragment a second for a day has fewer. */
#define BOXES_MAX 200000

static const uint8_t EBML[4] = {0x1a, 0x45, 0xdf, 0xa3};
static const uint8_t DOCTYPE[2] = {0x42, 0x82};

const char *parts_sniff(const uint8_t *head, size_t n, bool *ret_lost_first)
{
	*ret_lost_first = false;
	if (n >= sizeof(EBML) && memcmp(head, EBML, sizeof(EBML)) == 0)
		return "matroska";
	if (n >= sizeof(EBML) && memcmp(head, EBML + 1, sizeof(EBML) - 1) == 0) {
		*ret_lost_first = true;
		return "matroska";
	}
	if (n >= 4 && memcmp(head, "OggS", 4) == 0)
		return "ogg";
	static const char boxes[][5] = {"ftyp", "styp", "moov", "mdat", "wide", "free", "skip", "pnot"};
	for (size_t i = 0; n >= 8 && i < ARRAY_SIZE(boxes); i++)
		if (memcmp(head + 4, boxes[i], 4) == 0)
			return "mov";
	return NULL;
}

static int add_part(struct media_parts *p, uint64_t start)
{
	if (p->n == PARTS_MAX)
		return -1;
	p->part[p->n - 1].end = start;
	p->part[p->n++] = (struct media_part){.start = start, .end = p->bytes};
	return 0;
}

/* A header begins at `at`: the ID, a length that holds a DocType "webm" or "matroska" soon behind it. */
static bool is_header(const uint8_t *at, size_t n)
{
	if (n < sizeof(EBML) || memcmp(at, EBML, sizeof(EBML)) != 0)
		return false;
	n = MIN(n, (size_t)SIGNATURE_BYTES);
	for (size_t i = sizeof(EBML); i + 7 <= n; i++)
		if (memcmp(at + i, DOCTYPE, sizeof(DOCTYPE)) == 0 &&
		    (memcmp(at + i + 3, "webm", 4) == 0 || memcmp(at + i + 3, "matr", 4) == 0))
			return true;
	return false;
}

static int scan_matroska(struct media_io *input, struct media_parts *p)
{
	_cleanup_(freep) uint8_t *buf = malloc(SCAN_BYTES);
	if (!buf)
		return ERR_NOMEM;
	/* windows overlap by a signature, so one that lies across a border is seen whole in the next window */
	for (uint64_t offset = 1; offset < p->bytes; offset += SCAN_BYTES - SIGNATURE_BYTES) {
		size_t n = 0;
		while (n < SCAN_BYTES) {
			size_t got;
			int r = media_io_read(input, offset + n, buf + n, SCAN_BYTES - n, &got);
			if (r < 0)
				return r;
			if (got == 0)
				break;
			n += got;
		}
		size_t border = n == SCAN_BYTES ? SCAN_BYTES - SIGNATURE_BYTES : n;
		for (const uint8_t *at = buf; (at = memchr(at, EBML[0], border - (size_t)(at - buf))); at++)
			if (is_header(at, n - (size_t)(at - buf)) && add_part(p, offset + (uint64_t)(at - buf)) < 0)
				return 0;
		if (n < SCAN_BYTES)
			break;
	}
	return 0;
}

static uint64_t big_endian(const uint8_t *p, size_t n)
{
	uint64_t v = 0;
	while (n--)
		v = v << 8 | *p++;
	return v;
}

/* A second `ftyp` behind a `moov` begins another recording. */
static int scan_mov(struct media_io *input, struct media_parts *p)
{
	bool moov = false;
	uint64_t at = 0;
	for (unsigned i = 0; i < BOXES_MAX && at + 8 <= p->bytes; i++) {
		uint8_t box[16] = {0};
		size_t got;
		int r = media_io_read(input, at, box, sizeof(box), &got);
		if (r < 0)
			return r;
		uint64_t size = big_endian(box, 4);
		if (size == 1)
			size = big_endian(box + 8, 8);
		if (got < 8 || size < 8 || size > p->bytes - at)
			return 0; /* to the end, cut, or no box: the demuxer knows what to do */
		if (memcmp(box + 4, "moov", 4) == 0) {
			moov = true;
		} else if (moov && memcmp(box + 4, "ftyp", 4) == 0) {
			if (add_part(p, at) < 0)
				return 0;
			moov = false;
		}
		at += size;
	}
	return 0;
}

int parts_find(struct media_io *input, struct media_parts *ret, struct error *e)
{
	struct media_parts p = {.n = 1};
	uint8_t head[HEAD_BYTES];
	size_t n = 0;
	int r = media_io_size(input, &p.bytes);
	if (r == 0)
		r = media_io_read(input, 0, head, sizeof(head), &n);
	if (r < 0)
		goto failed;
	if (p.bytes == 0)
		return error_set(e, ERR_REJECT, "the recording is empty");
	p.part[0].end = p.bytes;
	p.demuxer = parts_sniff(head, n, &p.part[0].lost_first);
	if (!p.demuxer)
		return error_set(e, ERR_REJECT, "not a recording: the first bytes are of no known format");
	if (p.demuxer[0] == 'm')
		r = strcmp(p.demuxer, "mov") == 0 ? scan_mov(input, &p) : scan_matroska(input, &p);
	if (r < 0)
		goto failed;
	*ret = p;
	return 0;
failed:
	if (input->error.code)
		return error_set(e, input->error.code, "%s", input->error.text);
	return error_set(e, r, "cannot look through the input");
}
