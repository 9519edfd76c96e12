/* Fuzzes the reading of a journal. The first byte chooses: whatever batches come (their CRC-32 is made right, so that
 * records are reached), or batches that were written and then changed, of which nothing may be read that was not
 * written.
 * Build: make fuzz-build; run: build/fuzz/fuzz_journal tests/fuzz/corpus/journal */
#include "spool/journal_internal.h"

#include <string.h>
#include <sys/mman.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define WHOLE_BYTES_MAX ((size_t)1 << 18)
#define PLAIN_MAX	2000

static const uint8_t key[32] = {1, 2, 3};
static const uint8_t salt[JOURNAL_SALT_BYTES] = {4};
static const struct uuid node = {.b = {5}}, recording = {.b = {6}}, copy = {.b = {7}};

static void must(bool ok)
{
	if (!ok)
		abort();
}

static int file_of(const uint8_t *data, size_t size)
{
	int fd = memfd_create("fuzz", MFD_CLOEXEC);
	must(fd >= 0);
	must(pwrite(fd, data, size, JOURNAL_HEADER_BYTES) == (ssize_t)size);
	return fd;
}

struct seen {
	struct aead *aead;
	uint64_t sequence, end;
	size_t opened;
};

static uint8_t byte_at(uint64_t at)
{
	return (uint8_t)(at * 7 + (at >> 8));
}

static int visit(void *arg, const struct journal_batch_head *h, uint64_t offset, const uint8_t *records,
		 struct error *e)
{
	struct seen *s = arg;
	(void)e;
	must(offset >= s->end && h->sequence > s->sequence);
	s->end = offset + h->bytes;
	s->sequence = h->sequence;
	_cleanup_(freep) uint8_t *plain = malloc(JOURNAL_RECORD_PLAIN_MAX);
	struct journal_record r;
	size_t at = 0;
	must(plain != NULL);
	while (journal_record_next(records, h->used, &at, &r, NULL) > 0) {
		must(at <= h->used && r.data + r.bytes == records + at);
		if (r.plain == 0 || journal_record_open(s->aead, &r, plain, NULL) < 0)
			continue;
		s->opened++;
		/* only what was written opens */
		must(uuid_equal(&r.copy, &copy) && uuid_equal(&r.recording, &recording) && r.segment == 9);
		for (uint32_t i = 0; i < r.plain; i++)
			must(plain[i] == byte_at(r.from + i));
	}
	return 0;
}

static size_t scan(const uint8_t *data, size_t size)
{
	struct journal *j = calloc(1, sizeof(*j));
	struct seen s = {0};
	must(j != NULL && journal_key_new(key, salt, &recording, 9, &s.aead, NULL) == 0);
	j->o.node = node;
	_cleanup_(closep) int fd = file_of(data, size);
	j->files[0].read_fd = fd;
	(void)!journal_scan(j, 0, JOURNAL_HEADER_BYTES + size, visit, &s, NULL);
	aead_free(s.aead);
	free(j);
	return s.opened;
}

static void any(const uint8_t *data, size_t size)
{
	struct journal_header header;
	uint8_t whole[JOURNAL_HEADER_BYTES] = {0};
	memcpy(whole, data, MIN(size, sizeof(whole)));
	(void)!journal_header_decode(whole, &header, NULL);
	size_t room = (size / JOURNAL_BLOCK_BYTES + 2) * JOURNAL_BLOCK_BYTES;
	_cleanup_(freep) uint8_t *bytes = calloc(1, room);
	must(bytes != NULL);
	memcpy(bytes, data, size);
	for (size_t at = 0; at < room; at += JOURNAL_BLOCK_BYTES) {
		struct journal_batch_head h;
		if (journal_batch_head_decode(bytes + at, &node, &h, NULL) == 0 && h.bytes <= room - at)
			journal_batch_encode(&h, bytes + at);
	}
	(void)scan(bytes, room);
}

/* place of the change (2 bytes), change, then a record's length each: 0 ends a batch */
static void changed(const uint8_t *data, size_t size)
{
	if (size < 4)
		return;
	_cleanup_(freep) uint8_t *bytes = calloc(1, WHOLE_BYTES_MAX);
	struct aead *aead = NULL;
	uint8_t plain[PLAIN_MAX];
	must(bytes != NULL && journal_key_new(key, salt, &recording, 9, &aead, NULL) == 0);
	struct journal_batch_head h = {.node = node, .generation = 3, .sequence = 100};
	struct journal_record r = {.copy = copy, .recording = recording, .segment = 9};
	size_t begin = 0, records = 0;
	for (size_t i = 3; i <= size; i++) {
		r.plain = i < size ? (uint32_t)(data[i] * PLAIN_MAX / 256) : 0;
		bool fits = begin + 3 * JOURNAL_BLOCK_BYTES + h.used + journal_record_bytes(r.plain) < WHOLE_BYTES_MAX;
		if (r.plain > 0 && fits) {
			for (uint32_t b = 0; b < r.plain; b++)
				plain[b] = byte_at(r.from + b);
			uint8_t *at = bytes + begin + JOURNAL_BATCH_HEAD_BYTES + h.used;
			must(journal_record_seal(aead, &r, plain, at, NULL) == 0);
			h.used += (uint32_t)journal_record_bytes(r.plain);
			h.records++;
			records++;
			r.from += r.plain;
		} else if (h.records > 0) {
			h.bytes = (uint32_t)journal_batch_bytes(h.used);
			journal_batch_encode(&h, bytes + begin);
			begin += h.bytes;
			h.used = h.records = 0;
			h.sequence++;
		}
	}
	aead_free(aead);
	if (begin == 0)
		return;
	must(scan(bytes, begin) == records);
	size_t place = ((size_t)data[0] << 8 | data[1]) * 2654435761u % begin;
	bytes[place] ^= data[2];
	must(scan(bytes, begin) <= records);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size == 0)
		return 0;
	if (data[0] & 0x80)
		changed(data + 1, size - 1);
	else
		any(data + 1, size - 1);
	return 0;
}
