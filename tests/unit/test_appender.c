#include "sealed_fixture.h"

#include "crypto/digest.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>

/* A reader opens the file anew; here the writer's descriptor is used on. */
static void leave_direct(int fd)
{
	assert_int_equal(fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) & ~O_DIRECT), 0);
}

static void appended_pieces_read_back(void **state)
{
	(void)state;
	const size_t n = 11 * P + 4321;
	_cleanup_(freep) uint8_t *plain = pattern(n);
	const size_t pieces[] = {777, 4096, P, P + 1, 300000, n};
	for (size_t i = 0; i < ARRAY_SIZE(pieces); i++) {
		_cleanup_(slab_freep) struct slab *slab = test_slab();
		_cleanup_(closep) int fd = scratch_file();
		struct sealed_header h = test_header(SEALED_RAW_SEGMENT);
		_cleanup_(sealed_appender_freep) struct sealed_appender *a = NULL;
		assert_int_equal(sealed_appender_new(fd, &h, test_key, slab, &a, NULL), 0);
		for (size_t at = 0; at < n; at += pieces[i])
			assert_int_equal(sealed_appender_append(a, plain + at, MIN(pieces[i], n - at), NULL), 0);
		assert_int_equal(sealed_appender_taken(a), n);
		assert_int_equal(sealed_appender_push(a, NULL), 0);
		assert_int_equal(sealed_appender_written(a), 11 * P);
		assert_int_equal(sealed_appender_durable(a), 0);
		assert_int_equal(slab_used(slab), 0); /* given back */
		assert_int_equal(sealed_appender_flush(a, NULL), 0);
		assert_int_equal(sealed_appender_durable(a), 11 * P);
		assert_int_equal(sealed_appender_finish(a, NULL), 0);
		assert_int_equal(sealed_appender_durable(a), n);
		assert_int_equal(sealed_appender_crc32(a), crc32_update(0, plain, n));
		uint8_t mine[32], theirs[32];
		sealed_appender_sha256(a, mine);
		assert_int_equal(sha256_of(plain, n, theirs, NULL), 0);
		assert_memory_equal(mine, theirs, 32);
		assert_int_equal(read_back(fd, &h, n, NULL), 0);
	}
}

static void a_buffer_is_kept_while_others_are_left(void **state)
{
	(void)state;
	_cleanup_(freep) uint8_t *plain = pattern(6 * P);
	_cleanup_(slab_freep) struct slab *slab = NULL;
	assert_int_equal(slab_new((size_t)4 * SEALED_SLOT_BYTES, 2, &slab, NULL), 0);
	_cleanup_(closep) int fd = scratch_file(), other_fd = scratch_file();
	struct sealed_header h = test_header(SEALED_RAW_SEGMENT);
	_cleanup_(sealed_appender_freep) struct sealed_appender *a = NULL, *other = NULL;
	assert_int_equal(sealed_appender_new(fd, &h, test_key, slab, &a, NULL), 0);
	assert_int_equal(sealed_appender_new(other_fd, &h, test_key, slab, &other, NULL), 0);
	assert_int_equal(sealed_appender_append(a, plain, P, NULL), 0);
	assert_int_equal(sealed_appender_yield(a, NULL), 0);
	assert_int_equal(slab_used(slab), 1);
	assert_int_equal(sealed_appender_sealed(a), P);
	assert_int_equal(sealed_appender_written(a), 0);
	/* the last one is never kept: whoever waits for a buffer would wait for a turn that may not come */
	assert_int_equal(sealed_appender_append(other, plain, P, NULL), 0);
	assert_int_equal(slab_used(slab), 2);
	assert_int_equal(sealed_appender_yield(other, NULL), 0);
	assert_int_equal(slab_used(slab), 1);
	assert_int_equal(sealed_appender_written(other), P);
	/* a full one is written as before, a kept one with the flush */
	assert_int_equal(sealed_appender_append(a, plain + P, 4 * P, NULL), 0);
	assert_int_equal(sealed_appender_written(a), 4 * P);
	assert_int_equal(sealed_appender_durable(a), 0);
	assert_int_equal(sealed_appender_flush(a, NULL), 0);
	assert_int_equal(sealed_appender_durable(a), 5 * P);
	assert_int_equal(slab_used(slab), 0);
	assert_int_equal(sealed_appender_append(a, plain + 5 * P, P, NULL), 0);
	assert_int_equal(sealed_appender_yield(a, NULL), 0);
	assert_int_equal(sealed_appender_finish(a, NULL), 0);
	assert_int_equal(slab_used(slab), 0);
	leave_direct(fd);
	assert_int_equal(read_back(fd, &h, 6 * P, NULL), 0);
}

static void an_empty_file_is_complete(void **state)
{
	(void)state;
	_cleanup_(slab_freep) struct slab *slab = test_slab();
	_cleanup_(closep) int fd = scratch_file();
	struct sealed_header h = test_header(SEALED_RAW_SEGMENT);
	_cleanup_(sealed_appender_freep) struct sealed_appender *a = NULL;
	assert_int_equal(sealed_appender_new(fd, &h, test_key, slab, &a, NULL), 0);
	assert_int_equal(sealed_appender_finish(a, NULL), 0);
	assert_int_equal(read_back(fd, &h, 0, NULL), 0);
}

/* What a kill leaves behind: every durable slot is found again, whatever stands after it. */
static void a_torn_file_keeps_its_durable_slots(void **state)
{
	(void)state;
	const size_t n = 5 * P + 1000;
	_cleanup_(freep) uint8_t *plain = pattern(n);
	const uint64_t end = SEALED_HEADER_BYTES + 5 * SEALED_SLOT_BYTES;
	const struct {
		uint64_t cut;
		uint64_t slots;
	} torn[] = {{end, 5},
		    {end - 1, 4},
		    {end - SEALED_SLOT_BYTES + 40, 4},
		    {end + 0, 5},
		    {SEALED_HEADER_BYTES + 50, 0},
		    {SEALED_HEADER_BYTES, 0}};
	for (size_t i = 0; i < ARRAY_SIZE(torn); i++) {
		_cleanup_(slab_freep) struct slab *slab = test_slab();
		_cleanup_(closep) int fd = scratch_file();
		struct sealed_header h = test_header(SEALED_RAW_SEGMENT);
		_cleanup_(sealed_appender_freep) struct sealed_appender *a = NULL;
		assert_int_equal(sealed_appender_new(fd, &h, test_key, slab, &a, NULL), 0);
		assert_int_equal(sealed_appender_append(a, plain, n, NULL), 0);
		assert_int_equal(sealed_appender_flush(a, NULL), 0);
		assert_int_equal(ftruncate(fd, (off_t)torn[i].cut), 0);
		leave_direct(fd);
		struct sealed_scan scan;
		assert_int_equal(sealed_scan(fd, test_key, &scan, NULL), 0);
		assert_false(scan.complete);
		assert_int_equal(scan.slots, torn[i].slots);
		assert_int_equal(scan.plain, torn[i].slots * P);
		assert_int_equal(scan.crc32, crc32_update(0, plain, scan.plain));
		uint8_t sha[32];
		assert_int_equal(sha256_of(plain, scan.plain, sha, NULL), 0);
		assert_memory_equal(scan.sha256, sha, 32);
		assert_int_equal(sealed_complete(fd, test_key, &scan, NULL), 0);
		assert_int_equal(read_back(fd, &h, scan.plain, NULL), 0);
		assert_int_equal(sealed_scan(fd, test_key, &scan, NULL), 0);
		assert_true(scan.complete);
	}
}

static void garbage_behind_the_durable_slots_is_cut(void **state)
{
	(void)state;
	struct sealed_header h = test_header(SEALED_RAW_SEGMENT);
	_cleanup_(closep) int fd = sealed_file(&h, 3 * P + 5);
	uint8_t junk[3000];
	memset(junk, 7, sizeof(junk));
	/* a half-written slot 2, with stale bytes up to the end */
	assert_int_equal(pwrite(fd, junk, sizeof(junk), SEALED_HEADER_BYTES + 2 * SEALED_SLOT_BYTES), sizeof(junk));
	struct sealed_scan scan;
	assert_int_equal(sealed_scan(fd, test_key, &scan, NULL), 0);
	assert_int_equal(scan.slots, 2);
	assert_false(scan.complete);
	assert_int_equal(sealed_complete(fd, test_key, &scan, NULL), 0);
	assert_int_equal(read_back(fd, &h, 2 * P, NULL), 0);
}

static void a_complete_file_scans_as_complete(void **state)
{
	(void)state;
	struct sealed_header h = test_header(SEALED_RAW_SEGMENT);
	_cleanup_(closep) int fd = sealed_file(&h, 2 * P + 5);
	struct sealed_scan scan;
	assert_int_equal(sealed_scan(fd, test_key, &scan, NULL), 0);
	assert_true(scan.complete);
	assert_int_equal(scan.plain, 2 * P + 5);
	assert_int_equal(ftruncate(fd, 50), 0);
	struct error e = {0};
	assert_int_equal(sealed_scan(fd, test_key, &scan, &e), ERR_CORRUPT);
}

/* A full disk: nothing is retried, what was durable stays, and the file can be completed. */
static void a_failed_write_is_final(void **state)
{
	(void)state;
	_cleanup_(freep) uint8_t *plain = pattern(6 * P);
	_cleanup_(slab_freep) struct slab *slab = test_slab();
	_cleanup_(closep) int fd = scratch_file();
	struct sealed_header h = test_header(SEALED_RAW_SEGMENT);
	_cleanup_(sealed_appender_freep) struct sealed_appender *a = NULL;
	assert_int_equal(sealed_appender_new(fd, &h, test_key, slab, &a, NULL), 0);
	assert_int_equal(sealed_appender_append(a, plain, 2 * P, NULL), 0);
	assert_int_equal(sealed_appender_flush(a, NULL), 0);

	struct rlimit old, tight;
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
	tight = old;
	tight.rlim_cur = SEALED_HEADER_BYTES + 3 * SEALED_SLOT_BYTES;
	(void)signal(SIGXFSZ, SIG_IGN);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &tight), 0);
	struct error e = {0};
	int r = sealed_appender_append(a, plain + 2 * P, 4 * P, &e);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
	assert_true(r < 0);
	struct error again = {0};
	assert_int_equal(sealed_appender_append(a, plain, 1, &again), r);
	assert_int_equal(sealed_appender_flush(a, &again), r);
	assert_int_equal(sealed_appender_finish(a, &again), r);
	assert_int_equal(sealed_appender_durable(a), 2 * P);
	assert_int_equal(slab_used(slab), 0);
	leave_direct(fd);
	struct sealed_scan scan;
	assert_int_equal(sealed_scan(fd, test_key, &scan, NULL), 0);
	assert_true(scan.slots >= 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(appended_pieces_read_back),
	    cmocka_unit_test(a_buffer_is_kept_while_others_are_left),
	    cmocka_unit_test(an_empty_file_is_complete),
	    cmocka_unit_test(a_torn_file_keeps_its_durable_slots),
	    cmocka_unit_test(garbage_behind_the_durable_slots_is_cut),
	    cmocka_unit_test(a_complete_file_scans_as_complete),
	    cmocka_unit_test(a_failed_write_is_final),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
