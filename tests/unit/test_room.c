/* with: services/ingest/room.c */
/* The spool is played here: its room is what a test says. */
#include "../../services/ingest/room.h"
#include "base/clock.h"
#include "spool/sealed.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define RESERVE (100 * MIB)

static uint64_t disk_free;
static bool disk_is_broken;

int spool_room(struct spool *s _unused_, uint64_t *ret_capacity, uint64_t *ret_free, struct error *e _unused_)
{
	*ret_capacity = 1000 * MIB;
	*ret_free = disk_free;
	return 0;
}

bool spool_is_read_only(const struct spool *s _unused_)
{
	return disk_is_broken;
}

static struct room *new_room(uint64_t free_above_reserve)
{
	const struct room_options o = {.reserve_bytes = RESERVE};
	struct room *r = NULL;
	disk_free = RESERVE + free_above_reserve;
	disk_is_broken = false;
	assert_int_equal(room_new(&o, &r, NULL), 0);
	return r;
}

static int64_t member(struct room *r, const char *kind, const char *name)
{
	json_t *j = room_debug(r);
	int64_t n = json_integer_value(json_object_get(json_object_get(json_object_get(j, "claims"), kind), name));
	json_decref(j);
	return n;
}

static void test_claims_add_up(void **state _unused_)
{
	_cleanup_(room_freep) struct room *r = new_room(100 * MIB);
	struct uuid a = uuid_v7(), b = uuid_v7(), c = uuid_v7();
	assert_int_equal(room_claim(r, &a, ROOM_UPLOAD, 40 * MIB, NULL), 0);
	assert_int_equal(room_claim(r, &b, ROOM_STREAM, 40 * MIB, NULL), 0);
	assert_int_equal(room_claim(r, &c, ROOM_STREAM, 40 * MIB, NULL), ERR_FULL);
	assert_false(room_admits(r, 40 * MIB));
	assert_int_equal(member(r, "stream", "count"), 1);
	room_release(r, &a);
	assert_int_equal(room_claim(r, &c, ROOM_STREAM, 40 * MIB, NULL), 0);
	assert_int_equal(member(r, "upload", "count"), 0);
}

static void test_is_given_back_once(void **state _unused_)
{
	_cleanup_(room_freep) struct room *r = new_room(100 * MIB);
	struct uuid a = uuid_v7(), b = uuid_v7();
	/* who claims for a recording again, changes its claim */
	assert_int_equal(room_claim(r, &a, ROOM_UPLOAD, 60 * MIB, NULL), 0);
	assert_int_equal(room_claim(r, &a, ROOM_UPLOAD, 60 * MIB, NULL), 0);
	assert_int_equal(member(r, "upload", "bytes"), (int64_t)sealed_file_size(60 * MIB));
	assert_int_equal(room_claim(r, &a, ROOM_UPLOAD, 200 * MIB, NULL), ERR_FULL);
	assert_int_equal(member(r, "upload", "bytes"), (int64_t)sealed_file_size(60 * MIB));
	assert_int_equal(room_claim(r, &b, ROOM_UPLOAD, 30 * MIB, NULL), 0);
	room_release(r, &a);
	room_release(r, &a);
	assert_int_equal(member(r, "upload", "bytes"), (int64_t)sealed_file_size(30 * MIB));
	room_adjust(r, &a, 10 * MIB);
	assert_int_equal(member(r, "upload", "count"), 1);
}

static void test_what_was_written_is_not_claimed_twice(void **state _unused_)
{
	_cleanup_(room_freep) struct room *r = new_room(100 * MIB);
	struct uuid a = uuid_v7(), b = uuid_v7();
	assert_int_equal(room_claim(r, &a, ROOM_UPLOAD, 80 * MIB, NULL), 0);
	disk_free -= 70 * MIB;
	room_adjust(r, &a, 10 * MIB);
	assert_int_equal(room_claim(r, &b, ROOM_UPLOAD, 15 * MIB, NULL), 0);
	room_adjust(r, &a, 0);
	assert_int_equal(member(r, "upload", "bytes"), (int64_t)sealed_file_size(15 * MIB));
}

static void test_who_may_write(void **state _unused_)
{
	_cleanup_(room_freep) struct room *r = new_room(100 * MIB);
	struct uuid upload = uuid_v7(), stream = uuid_v7();
	assert_int_equal(room_claim(r, &upload, ROOM_UPLOAD, 50 * MIB, NULL), 0);
	assert_int_equal(room_claim(r, &stream, ROOM_STREAM, 30 * MIB, NULL), 0);
	/* others filled the disk up to what was promised: streams have to go, the upload and what finishes don't */
	disk_free = RESERVE + 51 * MIB;
	assert_false(room_may_write(r, ROOM_STREAM, false, 2 * MIB));
	assert_true(room_may_write(r, ROOM_UPLOAD, false, 2 * MIB));
	assert_true(room_may_write(r, ROOM_STREAM, true, 2 * MIB));
	disk_free = RESERVE;
	assert_false(room_may_write(r, ROOM_UPLOAD, false, 2 * MIB));
	assert_true(room_may_write(r, ROOM_UPLOAD, true, 2 * MIB));
	disk_free = RESERVE / 2;
	assert_false(room_may_write(r, ROOM_UPLOAD, true, 2 * MIB));
}

static void test_a_broken_disk_takes_nothing(void **state _unused_)
{
	_cleanup_(room_freep) struct room *r = new_room(100 * MIB);
	struct uuid a = uuid_v7();
	assert_int_equal(room_claim(r, &a, ROOM_STREAM, MIB, NULL), 0);
	disk_is_broken = true;
	assert_false(room_admits(r, 0));
	assert_false(room_may_write(r, ROOM_STREAM, true, 1));
	assert_int_equal(room_claim(r, &a, ROOM_STREAM, 1, NULL), ERR_FULL);
}

static void test_kept_claims_end_by_themselves(void **state _unused_)
{
	_cleanup_(room_freep) struct room *r = new_room(100 * MIB);
	struct uuid a = uuid_v7(), b = uuid_v7(), c = uuid_v7();
	assert_int_equal(room_claim(r, &a, ROOM_UPLOAD, 30 * MIB, NULL), 0);
	assert_int_equal(room_claim(r, &b, ROOM_UPLOAD, 30 * MIB, NULL), 0);
	room_keep(r, &a, 3600000);
	room_keep(r, &b, 0);
	/* what is kept is looked at once a second */
	for (int64_t end = clock_monotonic_us() + 10000000;
	     member(r, "upload", "count") > 1 && clock_monotonic_us() < end;)
		(void)room_admits(r, 1);
	assert_int_equal(member(r, "upload", "count"), 1);
	assert_int_equal(room_claim(r, &c, ROOM_UPLOAD, 80 * MIB, NULL), ERR_FULL);
	/* its client came back */
	assert_int_equal(room_claim(r, &a, ROOM_UPLOAD, 20 * MIB, NULL), 0);
	assert_int_equal(member(r, "upload", "bytes"), (int64_t)sealed_file_size(20 * MIB));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_claims_add_up),
	    cmocka_unit_test(test_is_given_back_once),
	    cmocka_unit_test(test_what_was_written_is_not_claimed_twice),
	    cmocka_unit_test(test_who_may_write),
	    cmocka_unit_test(test_a_broken_disk_takes_nothing),
	    cmocka_unit_test(test_kept_claims_end_by_themselves),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
