#include "spool/writer.h"

#include "crypto/random.h"
#include "spool/codec.h"

#include <assert.h>
#include <errno.h>
#include <sodium.h>
#include <string.h>

/* Slots kept open. A muxer writes at the end and comes back to a few places; a second pass for the index reads and
 * writes two places that move together. */
#define WRITER_SLOTS 16

struct writer_slot {
	uint64_t number; /* SEALED_SLOT_NONE when empty */
	uint64_t used;
	bool dirty;
	uint8_t *room; /* SEALED_SLOT_ROOM; bytes behind the end of the file are zero */
};

struct sealed_writer {
	int fd;
	bool finished;
	struct error failed; /* the first failure, sticky */
	uint64_t size;
	uint64_t clock;
	struct sealed_codec *codec;
	uint8_t *disk;
	struct writer_slot slots[WRITER_SLOTS];
};

/* Every slot below the size is in the cache or in the file. In the file all are full ones (the last one padded with
 * zeros) until finish() puts the final slot in its place. */

int sealed_writer_new(int fd, const struct sealed_header *h, const uint8_t key[SEALED_KEY_BYTES],
		      struct sealed_writer **ret, struct error *e)
{
	_cleanup_(sealed_writer_freep) struct sealed_writer *w = calloc(1, sizeof(*w));
	if (!w)
		return error_nomem(e);
	w->fd = fd;
	struct sealed_header header = *h;
	random_bytes(header.salt, sizeof(header.salt));
	int r = sealed_codec_new(&header, key, &w->codec, e);
	if (r < 0)
		return r;
	w->disk = malloc(SEALED_SLOT_BYTES);
	if (!w->disk)
		return error_nomem(e);
	for (int i = 0; i < WRITER_SLOTS; i++) {
		w->slots[i].number = SEALED_SLOT_NONE;
		w->slots[i].room = malloc(SEALED_SLOT_ROOM);
		if (!w->slots[i].room)
			return error_nomem(e);
	}
	sealed_header_encode(&header, w->disk);
	r = sealed_pwrite(fd, w->disk, SEALED_HEADER_BYTES, 0, e);
	if (r < 0)
		return r;
	*ret = TAKE_PTR(w);
	return 0;
}

void sealed_writer_free(struct sealed_writer *w)
{
	if (!w)
		return;
	for (int i = 0; i < WRITER_SLOTS; i++) {
		if (w->slots[i].room)
			sodium_memzero(w->slots[i].room, SEALED_SLOT_ROOM);
		free(w->slots[i].room);
	}
	free(w->disk);
	sealed_codec_free(w->codec);
	free(w);
}

static int store(struct sealed_writer *w, struct writer_slot *s, struct error *e)
{
	int r =
	    sealed_codec_seal(w->codec, s->number, s->room + SEALED_SLOT_PREFIX, SEALED_SLOT_PAYLOAD, w->disk, NULL, e);
	if (r == 0)
		r = sealed_pwrite(w->fd, w->disk, SEALED_SLOT_BYTES, sealed_slot_offset(s->number), e);
	if (r == 0)
		s->dirty = false;
	return r;
}

static int load(struct sealed_writer *w, struct writer_slot *s, uint64_t number, struct error *e)
{
	size_t n = SEALED_SLOT_BYTES;
	if (w->finished && number == w->size / SEALED_SLOT_PAYLOAD)
		n = SEALED_SLOT_OVERHEAD + (size_t)(w->size % SEALED_SLOT_PAYLOAD);
	int r = sealed_pread(w->fd, w->disk, n, sealed_slot_offset(number), e);
	if (r == 0)
		r = sealed_codec_open(w->codec, number, w->disk, n, s->room, NULL, e);
	if (r == 0)
		s->number = number;
	return r;
}

/* The slot, from the cache, from the file or, where the file has none yet, zeros. */
static int writer_slot(struct sealed_writer *w, uint64_t number, struct writer_slot **ret, struct error *e)
{
	struct writer_slot *oldest = &w->slots[0];
	for (int i = 0; i < WRITER_SLOTS; i++) {
		struct writer_slot *s = &w->slots[i];
		if (s->number == number) {
			s->used = ++w->clock;
			*ret = s;
			return 0;
		}
		if (s->used < oldest->used)
			oldest = s;
	}
	int r = 0;
	if (oldest->dirty)
		r = store(w, oldest, e);
	if (r < 0)
		return r;
	oldest->number = SEALED_SLOT_NONE;
	bool is_new = number * SEALED_SLOT_PAYLOAD >= w->size && !w->finished;
	if (is_new) {
		memset(oldest->room, 0, SEALED_SLOT_ROOM);
		oldest->number = number;
	} else {
		r = load(w, oldest, number, e);
		if (r < 0)
			return r;
	}
	oldest->dirty = is_new;
	oldest->used = ++w->clock;
	*ret = oldest;
	return 0;
}

/* Puts bytes (NULL: zeros) where no hole is left before them. */
static int put(struct sealed_writer *w, uint64_t offset, const uint8_t *data, size_t n, struct error *e)
{
	assert(offset <= w->size);
	while (n > 0) {
		struct writer_slot *s;
		int r = writer_slot(w, offset / SEALED_SLOT_PAYLOAD, &s, e);
		if (r < 0)
			return r;
		size_t in = (size_t)(offset % SEALED_SLOT_PAYLOAD);
		size_t take = MIN(n, SEALED_SLOT_PAYLOAD - in);
		if (data) {
			memcpy(s->room + SEALED_SLOT_PREFIX + in, data, take);
			data += take;
		} else {
			memset(s->room + SEALED_SLOT_PREFIX + in, 0, take);
		}
		s->dirty = true;
		offset += take;
		n -= take;
		w->size = MAX(w->size, offset);
	}
	return 0;
}

static int refuse(struct sealed_writer *w, struct error *e)
{
	return error_set(e, w->failed.code, "an earlier write failed: %s", w->failed.text);
}

static int fail(struct sealed_writer *w, const struct error *why, struct error *e)
{
	w->failed = *why;
	if (e)
		*e = *why;
	return why->code;
}

int sealed_writer_write(struct sealed_writer *w, uint64_t offset, const void *data, size_t n, struct error *e)
{
	if (w->failed.code)
		return refuse(w, e);
	assert(!w->finished);
	const uint64_t most = SEALED_SLOTS_MAX * SEALED_SLOT_PAYLOAD;
	struct error why = {0};
	int r = 0;
	if (offset > most || n > most - offset)
		r = error_set(&why, ERR_FULL, "a sealed file holds at most %llu bytes", (unsigned long long)most);
	while (r == 0 && offset > w->size)
		r = put(w, w->size, NULL, (size_t)MIN(offset - w->size, (uint64_t)SEALED_SLOT_PAYLOAD), &why);
	if (r == 0)
		r = put(w, offset, data, n, &why);
	return r < 0 ? fail(w, &why, e) : 0;
}

int sealed_writer_read(struct sealed_writer *w, uint64_t offset, void *ret, size_t n, size_t *ret_n, struct error *e)
{
	if (w->failed.code)
		return refuse(w, e);
	uint8_t *out = ret;
	size_t done = 0;
	struct error why = {0};
	while (done < n && offset < w->size) {
		struct writer_slot *s;
		int r = writer_slot(w, offset / SEALED_SLOT_PAYLOAD, &s, &why);
		if (r < 0)
			return fail(w, &why, e);
		size_t in = (size_t)(offset % SEALED_SLOT_PAYLOAD);
		size_t take = (size_t)MIN((uint64_t)MIN(n - done, SEALED_SLOT_PAYLOAD - in), w->size - offset);
		memcpy(out + done, s->room + SEALED_SLOT_PREFIX + in, take);
		done += take;
		offset += take;
	}
	*ret_n = done;
	return 0;
}

uint64_t sealed_writer_size(const struct sealed_writer *w)
{
	return w->size;
}

static int finish(struct sealed_writer *w, struct error *e)
{
	uint64_t last = w->size / SEALED_SLOT_PAYLOAD;
	size_t rest = (size_t)(w->size % SEALED_SLOT_PAYLOAD);
	for (int i = 0; i < WRITER_SLOTS; i++) {
		struct writer_slot *s = &w->slots[i];
		if (!s->dirty || s->number == last)
			continue;
		int r = store(w, s, e);
		if (r < 0)
			return r;
	}
	struct writer_slot *s = NULL;
	int r = rest > 0 ? writer_slot(w, last, &s, e) : 0;
	if (r < 0)
		return r;
	r = sealed_codec_seal(w->codec, last, s ? s->room + SEALED_SLOT_PREFIX : NULL, rest, w->disk, NULL, e);
	if (r == 0)
		r = sealed_pwrite(w->fd, w->disk, SEALED_SLOT_OVERHEAD + rest, sealed_slot_offset(last), e);
	if (r < 0)
		return r;
	/* an earlier, padded last slot reached further */
	if (ftruncate(w->fd, (off_t)sealed_file_size(w->size)) < 0)
		return error_set_errno(e, ERR_RETRY, errno, "sealed file cannot be cut to its size");
	if (fdatasync(w->fd) < 0)
		return error_set_errno(e, ERR_RETRY, errno, "sealed file cannot be flushed");
	if (s)
		s->dirty = false;
	return 0;
}

int sealed_writer_finish(struct sealed_writer *w, struct error *e)
{
	if (w->failed.code)
		return refuse(w, e);
	if (w->finished)
		return 0;
	struct error why = {0};
	int r = finish(w, &why);
	if (r < 0)
		return fail(w, &why, e);
	w->finished = true;
	return 0;
}
