#include "spool/codec.h"

#include <assert.h>
#include <errno.h>
#include <sodium.h>
#include <string.h>
#include <sys/stat.h>

/* Slots kept open: a demuxer jumps between a table at one end and data at the other. */
#define READER_SLOTS 4

struct reader_slot {
	uint64_t number; /* SEALED_SLOT_NONE when empty */
	uint64_t used;	 /* when last asked for */
	size_t size;
	uint8_t *room; /* SEALED_SLOT_ROOM bytes */
};

struct sealed_reader {
	int fd;
	uint64_t size;
	uint64_t file_size;
	uint64_t corrupt;
	uint64_t clock;
	struct sealed_header header;
	struct sealed_codec *codec;
	uint8_t *disk;
	struct reader_slot slots[READER_SLOTS];
};

static int reader_alloc(struct sealed_reader *r, struct error *e)
{
	r->disk = malloc(SEALED_SLOT_BYTES);
	if (!r->disk)
		return error_nomem(e);
	for (int i = 0; i < READER_SLOTS; i++) {
		r->slots[i].number = SEALED_SLOT_NONE;
		r->slots[i].room = malloc(SEALED_SLOT_ROOM);
		if (!r->slots[i].room)
			return error_nomem(e);
	}
	return 0;
}

/* Gives the slot from the cache, or reads it in place of the one not used for longest. */
static int reader_slot(struct sealed_reader *r, uint64_t number, struct reader_slot **ret, struct error *e)
{
	struct reader_slot *oldest = &r->slots[0];
	for (int i = 0; i < READER_SLOTS; i++) {
		struct reader_slot *s = &r->slots[i];
		if (s->number == number) {
			s->used = ++r->clock;
			*ret = s;
			return 0;
		}
		if (s->used < oldest->used)
			oldest = s;
	}
	uint64_t offset = sealed_slot_offset(number);
	size_t n = (size_t)MIN(r->file_size - offset, (uint64_t)SEALED_SLOT_BYTES);
	oldest->number = SEALED_SLOT_NONE;
	int rc = sealed_pread(r->fd, r->disk, n, offset, e);
	if (rc == 0)
		rc = sealed_codec_open(r->codec, number, r->disk, n, oldest->room, NULL, e);
	if (rc == ERR_CORRUPT)
		r->corrupt = number;
	if (rc < 0)
		return rc;
	oldest->number = number;
	oldest->size = n - SEALED_SLOT_OVERHEAD;
	oldest->used = ++r->clock;
	*ret = oldest;
	return 0;
}

/* Reads the header and makes the slots' key. */
static int reader_open(int fd, const uint8_t key[SEALED_KEY_BYTES], const struct sealed_header *expected,
		       struct sealed_reader **ret, struct error *e)
{
	_cleanup_(sealed_reader_freep) struct sealed_reader *r = calloc(1, sizeof(*r));
	if (!r)
		return error_nomem(e);
	r->fd = fd;
	r->corrupt = SEALED_SLOT_NONE;
	int rc = sealed_header_read(fd, &r->header, e);
	if (rc == 0)
		rc = sealed_header_expect(&r->header, expected, e);
	if (rc == 0)
		rc = sealed_codec_new(&r->header, key, &r->codec, e);
	if (rc == 0)
		rc = reader_alloc(r, e);
	if (rc == 0)
		*ret = TAKE_PTR(r);
	return rc;
}

int sealed_reader_new(int fd, const uint8_t key[SEALED_KEY_BYTES], const struct sealed_header *expected,
		      struct sealed_reader **ret, struct error *e)
{
	_cleanup_(sealed_reader_freep) struct sealed_reader *r = NULL;
	struct stat st;
	if (fstat(fd, &st) < 0)
		return error_set_errno(e, ERR_RETRY, errno, "sealed file");
	int rc = reader_open(fd, key, expected, &r, e);
	if (rc < 0)
		return rc;
	r->file_size = (uint64_t)st.st_size;
	if (!sealed_plain_size(r->file_size, &r->size))
		return error_set(e, ERR_CORRUPT, "the sealed file is torn: %llu bytes",
				 (unsigned long long)r->file_size);
	struct reader_slot *last;
	rc = reader_slot(r, r->size / SEALED_SLOT_PAYLOAD, &last, e);
	if (rc < 0) {
		(void)error_wrap(e, "the final slot does not open");
		return rc;
	}
	*ret = TAKE_PTR(r);
	return 0;
}

int sealed_reader_new_part(int fd, const uint8_t key[SEALED_KEY_BYTES], const struct sealed_header *expected,
			   uint64_t plain, struct sealed_reader **ret, struct error *e)
{
	assert(plain % SEALED_SLOT_PAYLOAD == 0 && plain / SEALED_SLOT_PAYLOAD < SEALED_SLOTS_MAX);
	int rc = reader_open(fd, key, expected, ret, e);
	if (rc < 0)
		return rc;
	(*ret)->size = plain;
	(*ret)->file_size = sealed_slot_offset(plain / SEALED_SLOT_PAYLOAD);
	return 0;
}

void sealed_reader_free(struct sealed_reader *r)
{
	if (!r)
		return;
	for (int i = 0; i < READER_SLOTS; i++) {
		if (r->slots[i].room)
			sodium_memzero(r->slots[i].room, SEALED_SLOT_ROOM);
		free(r->slots[i].room);
	}
	free(r->disk);
	sealed_codec_free(r->codec);
	free(r);
}

const struct sealed_header *sealed_reader_header(const struct sealed_reader *r)
{
	return &r->header;
}

uint64_t sealed_reader_size(const struct sealed_reader *r)
{
	return r->size;
}

uint64_t sealed_reader_corrupt_slot(const struct sealed_reader *r)
{
	return r->corrupt;
}

int sealed_reader_read(struct sealed_reader *r, uint64_t offset, void *ret, size_t n, size_t *ret_n, struct error *e)
{
	uint8_t *out = ret;
	size_t done = 0;
	while (done < n && offset < r->size) {
		struct reader_slot *s;
		int rc = reader_slot(r, offset / SEALED_SLOT_PAYLOAD, &s, e);
		if (rc < 0)
			return rc;
		size_t in = (size_t)(offset % SEALED_SLOT_PAYLOAD);
		size_t take = MIN(n - done, s->size - in);
		memcpy(out + done, s->room + SEALED_SLOT_PREFIX + in, take);
		done += take;
		offset += take;
	}
	*ret_n = done;
	return 0;
}
