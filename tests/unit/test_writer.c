#include "sealed_fixture.h"

/* Writes and reads at random places, compared with plain memory; 40 slots, so the cache of 16 turns over. */
static void random_writes_agree_with_memory(void **state)
{
	(void)state;
	const size_t most = 40 * P;
	_cleanup_(freep) uint8_t *model = calloc(1, most);
	_cleanup_(freep) uint8_t *noise = pattern(3 * P);
	_cleanup_(freep) uint8_t *back = malloc(3 * P);
	assert_non_null(model);
	assert_non_null(back);
	_cleanup_(closep) int fd = scratch_file();
	struct sealed_header h = test_header(SEALED_MAIN);
	_cleanup_(sealed_writer_freep) struct sealed_writer *w = NULL;
	assert_int_equal(sealed_writer_new(fd, &h, test_key, &w, NULL), 0);
	size_t size = 0;
	uint32_t x = 7;
	for (int i = 0; i < 400; i++) {
		x = x * 1664525 + 1013904223;
		size_t offset = (size_t)x % (most - 3 * P);
		x = x * 1664525 + 1013904223;
		size_t n = i % 5 == 0 ? (size_t)x % (3 * P) : (size_t)x % 5000;
		if (i % 3 == 2) {
			size_t got = 0;
			assert_int_equal(sealed_writer_read(w, offset, back, n, &got, NULL), 0);
			size_t want = offset >= size ? 0 : MIN(n, size - offset);
			assert_int_equal(got, want);
			assert_memory_equal(back, model + offset, want);
			continue;
		}
		assert_int_equal(sealed_writer_write(w, offset, noise, n, NULL), 0);
		memcpy(model + offset, noise, n);
		if (n > 0)
			size = MAX(size, offset + n);
		else
			size = MAX(size, offset);
		assert_int_equal(sealed_writer_size(w), size);
	}
	assert_int_equal(sealed_writer_finish(w, NULL), 0);
	assert_int_equal(file_bytes(fd), sealed_file_size(size));
	_cleanup_(sealed_reader_freep) struct sealed_reader *r = NULL;
	assert_int_equal(sealed_reader_new(fd, test_key, &h, &r, NULL), 0);
	_cleanup_(freep) uint8_t *all = malloc(size + 1);
	assert_non_null(all);
	size_t got = 0;
	assert_int_equal(sealed_reader_read(r, 0, all, size + 1, &got, NULL), 0);
	assert_int_equal(got, size);
	assert_memory_equal(all, model, size);
	/* the writer still reads what it finished */
	assert_int_equal(sealed_writer_read(w, size - 100, back, 1000, &got, NULL), 0);
	assert_int_equal(got, 100);
	assert_memory_equal(back, model + size - 100, 100);
	assert_int_equal(sealed_writer_read(w, 0, back, 1000, &got, NULL), 0);
	assert_memory_equal(back, model, 1000);
}

static void a_hole_reads_as_zeros(void **state)
{
	(void)state;
	_cleanup_(closep) int fd = scratch_file();
	struct sealed_header h = test_header(SEALED_MAIN);
	_cleanup_(sealed_writer_freep) struct sealed_writer *w = NULL;
	assert_int_equal(sealed_writer_new(fd, &h, test_key, &w, NULL), 0);
	assert_int_equal(sealed_writer_write(w, 30 * P + 5, "end", 3, NULL), 0);
	assert_int_equal(sealed_writer_finish(w, NULL), 0);
	_cleanup_(sealed_reader_freep) struct sealed_reader *r = NULL;
	assert_int_equal(sealed_reader_new(fd, test_key, &h, &r, NULL), 0);
	uint8_t b[4096];
	uint8_t zero[4096] = {0};
	for (uint64_t at = 0; at < 30 * P; at += 4096) {
		size_t got = 0;
		assert_int_equal(sealed_reader_read(r, at, b, sizeof(b), &got, NULL), 0);
		assert_int_equal(got, MIN(sizeof(b), 30 * P + 8 - at));
		assert_memory_equal(b, zero, MIN(sizeof(b), 30 * P + 5 - at));
	}
}

/* A slot that is sealed again gets another nonce. */
static void a_rewritten_slot_changes_its_nonce(void **state)
{
	(void)state;
	_cleanup_(closep) int fd = scratch_file();
	struct sealed_header h = test_header(SEALED_MAIN);
	_cleanup_(sealed_writer_freep) struct sealed_writer *w = NULL;
	_cleanup_(freep) uint8_t *plain = pattern(20 * P);
	assert_int_equal(sealed_writer_new(fd, &h, test_key, &w, NULL), 0);
	assert_int_equal(sealed_writer_write(w, 0, plain, 20 * P, NULL), 0);
	uint8_t before[12], after[12];
	assert_int_equal(pread(fd, before, sizeof(before), SEALED_HEADER_BYTES), sizeof(before));
	assert_int_equal(sealed_writer_write(w, 0, plain, 4, NULL), 0);
	assert_int_equal(sealed_writer_finish(w, NULL), 0);
	assert_int_equal(pread(fd, after, sizeof(after), SEALED_HEADER_BYTES), sizeof(after));
	assert_memory_not_equal(before, after, sizeof(before));
	assert_int_equal(read_back(fd, &h, 20 * P, NULL), 0);
}

static void too_far_is_refused_and_final(void **state)
{
	(void)state;
	_cleanup_(closep) int fd = scratch_file();
	struct sealed_header h = test_header(SEALED_MAIN);
	_cleanup_(sealed_writer_freep) struct sealed_writer *w = NULL;
	assert_int_equal(sealed_writer_new(fd, &h, test_key, &w, NULL), 0);
	struct error e = {0};
	assert_int_equal(sealed_writer_write(w, UINT64_MAX, "x", 1, &e), ERR_FULL);
	assert_int_equal(sealed_writer_write(w, 0, "x", 1, &e), ERR_FULL);
	assert_int_equal(sealed_writer_finish(w, &e), ERR_FULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(random_writes_agree_with_memory),
	    cmocka_unit_test(a_hole_reads_as_zeros),
	    cmocka_unit_test(a_rewritten_slot_changes_its_nonce),
	    cmocka_unit_test(too_far_is_refused_and_final),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
