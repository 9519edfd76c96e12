#include "sealed_fixture.h"

#include "crypto/digest.h"

static const size_t sizes[] = {0, 1, 4096, P - 1, P, P + 1, 2 * P, 3 * P + 777, 9 * P + 1};

static void sizes_follow_from_each_other(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
		uint64_t plain = 0;
		assert_true(sealed_plain_size(sealed_file_size(sizes[i]), &plain));
		assert_int_equal(plain, sizes[i]);
	}
	uint64_t plain = 0;
	assert_false(sealed_plain_size(0, &plain));
	assert_false(sealed_plain_size(SEALED_HEADER_BYTES + 31, &plain));
	assert_false(sealed_plain_size(SEALED_HEADER_BYTES + SEALED_SLOT_BYTES, &plain));
	assert_false(sealed_plain_size(SEALED_HEADER_BYTES + SEALED_SLOT_BYTES + 31, &plain));
	assert_false(sealed_plain_size(UINT64_MAX, &plain));
}

static void every_size_reads_back(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
		struct sealed_header h = test_header(SEALED_MAIN);
		_cleanup_(closep) int fd = sealed_file(&h, sizes[i]);
		assert_int_equal(file_bytes(fd), sealed_file_size(sizes[i]));
		assert_int_equal(read_back(fd, &h, sizes[i], NULL), 0);
	}
}

static void header_survives_and_refuses_changes(void **state)
{
	(void)state;
	struct sealed_header h = test_header(SEALED_RAW_SEGMENT);
	random_bytes(h.salt, sizeof(h.salt));
	uint8_t bytes[SEALED_HEADER_BYTES];
	sealed_header_encode(&h, bytes);
	struct sealed_header back;
	assert_int_equal(sealed_header_decode(bytes, &back, NULL), 0);
	assert_int_equal(back.kind, h.kind);
	assert_int_equal(back.segment, 3);
	assert_true(uuid_equal(&back.account, &h.account));
	assert_true(uuid_equal(&back.recording, &h.recording));
	assert_true(uuid_equal(&back.copy, &h.copy));
	assert_memory_equal(back.salt, h.salt, sizeof(h.salt));
	struct error e = {0};
	for (size_t i = 0; i < sizeof(bytes); i++) {
		bytes[i] ^= 1;
		assert_int_equal(sealed_header_decode(bytes, &back, &e), ERR_CORRUPT);
		bytes[i] ^= 1;
	}
	/* wrong fields under a right CRC */
	const struct {
		size_t at;
		uint8_t value;
	} wrong[] = {{9, 2}, {11, 0}, {11, SEALED_KIND_MAX}, {13, 2}, {68, 1}, {104, 1}, {4091, 1}};
	for (size_t i = 0; i < ARRAY_SIZE(wrong); i++) {
		sealed_header_encode(&h, bytes);
		bytes[wrong[i].at] = wrong[i].value;
		uint32_t crc = crc32_update(0, bytes, SEALED_HEADER_BYTES - 4);
		for (int b = 0; b < 4; b++)
			bytes[SEALED_HEADER_BYTES - 4 + b] = (uint8_t)(crc >> (24 - 8 * b));
		assert_int_equal(sealed_header_decode(bytes, &back, &e), ERR_CORRUPT);
	}
}

static void flip(int fd, uint64_t at)
{
	uint8_t b;
	assert_int_equal(pread(fd, &b, 1, (off_t)at), 1);
	b ^= 0x10;
	assert_int_equal(pwrite(fd, &b, 1, (off_t)at), 1);
}

/* One changed byte anywhere: nonce, sealed CRC, sealed bytes, tag of each slot. */
static void a_changed_byte_is_found_and_its_slot_named(void **state)
{
	(void)state;
	struct sealed_header h = test_header(SEALED_RAW);
	const size_t n = 2 * P + 500;
	_cleanup_(closep) int fd = sealed_file(&h, n);
	const uint64_t in_slot[] = {0, 11, 12, 15, 16, 17, 400, 515, 516, 520, 531};
	for (uint64_t slot = 0; slot < 3; slot++)
		for (size_t i = 0; i < ARRAY_SIZE(in_slot); i++) {
			uint64_t at = SEALED_HEADER_BYTES + slot * SEALED_SLOT_BYTES + in_slot[i];
			struct error e = {0};
			flip(fd, at);
			assert_int_equal(read_back(fd, &h, n, &e), ERR_CORRUPT);
			char named[32];
			(void)snprintf(named, sizeof(named), "slot %d", (int)slot);
			assert_non_null(strstr(e.text, named));
			flip(fd, at);
		}
	flip(fd, SEALED_HEADER_BYTES + SEALED_SLOT_BYTES - 1); /* the tag's last byte of a full slot */
	assert_int_equal(read_back(fd, &h, n, NULL), ERR_CORRUPT);
	flip(fd, SEALED_HEADER_BYTES + SEALED_SLOT_BYTES - 1);
	assert_int_equal(read_back(fd, &h, n, NULL), 0);
}

static void a_corrupt_slot_leaves_the_others_readable(void **state)
{
	(void)state;
	struct sealed_header h = test_header(SEALED_RAW);
	_cleanup_(closep) int fd = sealed_file(&h, 3 * P);
	flip(fd, SEALED_HEADER_BYTES + SEALED_SLOT_BYTES + 99);
	_cleanup_(sealed_reader_freep) struct sealed_reader *r = NULL;
	assert_int_equal(sealed_reader_new(fd, test_key, &h, &r, NULL), 0);
	assert_int_equal(sealed_reader_corrupt_slot(r), SEALED_SLOT_NONE);
	uint8_t b[10];
	size_t got = 0;
	struct error e = {0};
	assert_int_equal(sealed_reader_read(r, P - 5, b, 10, &got, &e), ERR_CORRUPT);
	assert_int_equal(sealed_reader_corrupt_slot(r), 1);
	assert_int_equal(sealed_reader_read(r, 2 * P, b, 10, &got, &e), 0);
	assert_int_equal(got, 10);
	assert_int_equal(sealed_reader_read(r, 3 * P, b, 10, &got, &e), 0);
	assert_int_equal(got, 0);
}

/* Cut at a slot's end, in a slot, in a tag, to nothing: never a shorter file that looks whole. */
static void truncation_is_found(void **state)
{
	(void)state;
	struct sealed_header h = test_header(SEALED_RAW);
	const size_t n = 2 * P + 500;
	uint64_t full = sealed_file_size(n);
	const uint64_t cuts[] = {full - 1,
				 full - 16,
				 full - 500,
				 SEALED_HEADER_BYTES + 2 * SEALED_SLOT_BYTES + 32,
				 SEALED_HEADER_BYTES + 2 * SEALED_SLOT_BYTES,
				 SEALED_HEADER_BYTES + SEALED_SLOT_BYTES + 32,
				 SEALED_HEADER_BYTES + SEALED_SLOT_BYTES,
				 SEALED_HEADER_BYTES + 32,
				 SEALED_HEADER_BYTES,
				 100,
				 0};
	for (size_t i = 0; i < ARRAY_SIZE(cuts); i++) {
		_cleanup_(closep) int fd = sealed_file(&h, n);
		struct error e = {0};
		assert_int_equal(ftruncate(fd, (off_t)cuts[i]), 0);
		assert_int_equal(read_back(fd, &h, n, &e), ERR_CORRUPT);
	}
	_cleanup_(closep) int longer = sealed_file(&h, n);
	struct error e = {0};
	assert_int_equal(pwrite(longer, "x", 1, (off_t)full), 1);
	assert_int_equal(read_back(longer, &h, n, &e), ERR_CORRUPT);
}

static void move_slot(int from, uint64_t a, int to, uint64_t b)
{
	_cleanup_(freep) uint8_t *slot = malloc(SEALED_SLOT_BYTES);
	assert_non_null(slot);
	assert_int_equal(pread(from, slot, SEALED_SLOT_BYTES, (off_t)(SEALED_HEADER_BYTES + a * SEALED_SLOT_BYTES)),
			 SEALED_SLOT_BYTES);
	assert_int_equal(pwrite(to, slot, SEALED_SLOT_BYTES, (off_t)(SEALED_HEADER_BYTES + b * SEALED_SLOT_BYTES)),
			 SEALED_SLOT_BYTES);
}

static void slots_cannot_change_places_or_files(void **state)
{
	(void)state;
	struct sealed_header h = test_header(SEALED_RAW);
	const size_t n = 3 * P + 5;
	_cleanup_(closep) int a = sealed_file(&h, n);
	move_slot(a, 0, a, 1);
	struct error e = {0};
	assert_int_equal(read_back(a, &h, n, &e), ERR_CORRUPT);
	_cleanup_(closep) int b = sealed_file(&h, n);
	_cleanup_(closep) int c = sealed_file(&h, n); /* the same key and header but for the salt */
	move_slot(b, 1, c, 1);
	assert_int_equal(read_back(c, &h, n, &e), ERR_CORRUPT);
	/* another file's header */
	uint8_t header[SEALED_HEADER_BYTES];
	_cleanup_(closep) int d = sealed_file(&h, n);
	assert_int_equal(pread(b, header, sizeof(header), 0), sizeof(header));
	assert_int_equal(pwrite(d, header, sizeof(header), 0), sizeof(header));
	assert_int_equal(read_back(d, &h, n, &e), ERR_CORRUPT);
}

static void another_key_or_expectation_is_refused(void **state)
{
	(void)state;
	struct sealed_header h = test_header(SEALED_RAW_SEGMENT);
	_cleanup_(closep) int fd = sealed_file(&h, 100);
	struct error e = {0};
	uint8_t key[SEALED_KEY_BYTES];
	memcpy(key, test_key, sizeof(key));
	key[0] ^= 1;
	struct sealed_reader *r = NULL;
	assert_int_equal(sealed_reader_new(fd, key, NULL, &r, &e), ERR_CORRUPT);
	struct sealed_header other = h;
	other.segment++;
	assert_int_equal(read_back(fd, &other, 100, &e), ERR_CORRUPT);
	other = h;
	other.kind = SEALED_RAW;
	assert_int_equal(read_back(fd, &other, 100, &e), ERR_CORRUPT);
	other = h;
	other.recording = uuid_v7();
	assert_int_equal(read_back(fd, &other, 100, &e), ERR_CORRUPT);
	other = h;
	other.account = uuid_v7();
	assert_int_equal(read_back(fd, &other, 100, &e), ERR_CORRUPT);
	other = h;
	other.copy = uuid_v7(); /* a pulled copy has a new name */
	assert_int_equal(read_back(fd, &other, 100, &e), 0);
}

struct collected {
	uint8_t *data;
	size_t n;
	size_t fail_at;
};

static int collect(void *arg, const uint8_t *data, size_t n, struct error *e)
{
	struct collected *c = arg;
	if (c->fail_at && c->n + n >= c->fail_at)
		return error_set(e, ERR_CANCELLED, "enough");
	memcpy(c->data + c->n, data, n);
	c->n += n;
	return 0;
}

/* A sealed file that arrives in pieces of `piece` bytes. */
static int decode(const uint8_t *sealed, size_t n, size_t piece, struct collected *c, struct error *e)
{
	_cleanup_(sealed_decoder_freep) struct sealed_decoder *d = NULL;
	assert_int_equal(sealed_decoder_new(test_key, NULL, collect, c, &d, NULL), 0);
	for (size_t at = 0; at < n; at += piece) {
		int r = sealed_decoder_feed(d, sealed + at, MIN(piece, n - at), e);
		if (r < 0) {
			assert_int_equal(sealed_decoder_feed(d, sealed, 1, e), r); /* sticky */
			return r;
		}
	}
	int r = sealed_decoder_finish(d, e);
	if (r == 0) {
		assert_int_equal(sealed_decoder_size(d), c->n);
		assert_non_null(sealed_decoder_header(d));
	}
	return r;
}

static void decoder_goes_on_behind_the_last_whole_slot(void **state)
{
	(void)state;
	const size_t n = 2 * P + 100;
	struct sealed_header h = test_header(SEALED_RAW_SEGMENT);
	_cleanup_(closep) int fd = sealed_file(&h, n);
	size_t size = file_bytes(fd);
	_cleanup_(freep) uint8_t *sealed = malloc(size);
	_cleanup_(freep) uint8_t *plain = pattern(n);
	struct collected c = {.data = malloc(n)};
	assert_int_equal(pread(fd, sealed, size, 0), size);
	const size_t cuts[] = {0, 100, 4096, 5000, 4096 + 65536, 4096 + 65536 + 70, size - 1};
	for (size_t i = 0; i < ARRAY_SIZE(cuts); i++) {
		_cleanup_(sealed_decoder_freep) struct sealed_decoder *d = NULL;
		c.n = 0;
		assert_int_equal(sealed_decoder_new(test_key, NULL, collect, &c, &d, NULL), 0);
		assert_int_equal(sealed_decoder_feed(d, sealed, cuts[i], NULL), 0);
		uint64_t from = sealed_decoder_rewind(d);
		assert_int_equal(from, cuts[i] < 4096 ? 0 : cuts[i] - (cuts[i] - 4096) % 65536);
		assert_int_equal(sealed_decoder_feed(d, sealed + from, size - from, NULL), 0);
		assert_int_equal(sealed_decoder_finish(d, NULL), 0);
		assert_int_equal(c.n, n);
		assert_memory_equal(c.data, plain, n);
	}
	free(c.data);
}

static void decoder_takes_any_pieces(void **state)
{
	(void)state;
	const size_t n = 3 * P + 100;
	struct sealed_header h = test_header(SEALED_SNAPSHOT);
	_cleanup_(closep) int fd = sealed_file(&h, n);
	size_t size = file_bytes(fd);
	_cleanup_(freep) uint8_t *sealed = malloc(size);
	_cleanup_(freep) uint8_t *plain = pattern(n);
	struct collected c = {.data = malloc(n)};
	assert_non_null(sealed);
	assert_int_equal(pread(fd, sealed, size, 0), size);
	const size_t pieces[] = {1009, 4096, 65535, 65536, 65537, size};
	for (size_t i = 0; i < ARRAY_SIZE(pieces); i++) {
		c.n = 0;
		assert_int_equal(decode(sealed, size, pieces[i], &c, NULL), 0);
		assert_int_equal(c.n, n);
		assert_memory_equal(c.data, plain, n);
	}
	struct error e = {0};
	const size_t cuts[] = {0, 100, SEALED_HEADER_BYTES, SEALED_HEADER_BYTES + SEALED_SLOT_BYTES, size - 1};
	for (size_t i = 0; i < ARRAY_SIZE(cuts); i++) {
		c.n = 0;
		assert_int_equal(decode(sealed, cuts[i], 8192, &c, &e), ERR_CORRUPT);
	}
	c = (struct collected){.data = c.data, .fail_at = P + 1};
	assert_int_equal(decode(sealed, size, 8192, &c, &e), ERR_CANCELLED);
	sealed[SEALED_HEADER_BYTES + 70000] ^= 1;
	c = (struct collected){.data = c.data};
	assert_int_equal(decode(sealed, size, 8192, &c, &e), ERR_CORRUPT);
	free(c.data);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(sizes_follow_from_each_other),
	    cmocka_unit_test(every_size_reads_back),
	    cmocka_unit_test(header_survives_and_refuses_changes),
	    cmocka_unit_test(a_changed_byte_is_found_and_its_slot_named),
	    cmocka_unit_test(a_corrupt_slot_leaves_the_others_readable),
	    cmocka_unit_test(truncation_is_found),
	    cmocka_unit_test(slots_cannot_change_places_or_files),
	    cmocka_unit_test(another_key_or_expectation_is_refused),
	    cmocka_unit_test(decoder_takes_any_pieces),
	    cmocka_unit_test(decoder_goes_on_behind_the_last_whole_slot),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
