/* with: services/transcoder/timeline.c */
#include "../../services/transcoder/timeline.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define S ((int64_t)TIMELINE_HZ)

static int64_t frame(struct timeline *t, int64_t source, bool *ret_key)
{
	int64_t at = -1;
	return timeline_frame(t, source, &at, ret_key) ? at : -1;
}

static void first_frame_is_at_zero(void **state)
{
	(void)state;
	struct timeline t;
	bool key;
	timeline_init(&t);
	timeline_begin_part(&t, 10 * S);
	assert_int_equal(frame(&t, 10 * S + 400, &key), 0);
	assert_true(key);
	assert_int_equal(frame(&t, 11 * S, &key), S);
	assert_false(key);
}

static void frames_that_do_not_advance_are_dropped(void **state)
{
	(void)state;
	struct timeline t;
	bool key;
	timeline_init(&t);
	timeline_begin_part(&t, 0);
	assert_int_equal(frame(&t, 0, &key), 0);
	assert_int_equal(frame(&t, 0, &key), -1);
	assert_int_equal(frame(&t, 100, &key), 100);
	assert_int_equal(frame(&t, 50, &key), -1);
	/* without a time it follows the one before */
	assert_int_equal(frame(&t, TIMELINE_NONE, &key), 100 + TIMELINE_FRAME_DEFAULT);
}

static void keyframes_come_by_time(void **state)
{
	(void)state;
	struct timeline t;
	bool key;
	timeline_init(&t);
	timeline_begin_part(&t, 0);
	int64_t last = 0;
	for (int64_t at = 0; at < 60 * S; at += 1500) {
		(void)frame(&t, at, &key);
		if (key && at > 0)
			assert_int_equal(at - last, TIMELINE_KEYFRAME);
		if (key)
			last = at;
	}
	assert_int_equal(last, 56 * S);
}

static void parts_follow_one_another(void **state)
{
	(void)state;
	struct timeline t;
	int64_t at;
	bool key;
	timeline_init(&t);
	timeline_begin_part(&t, 0);
	(void)frame(&t, 0, &key);
	timeline_seen(&t, 4 * S, S);
	timeline_begin_part(&t, 100 * S);
	assert_true(timeline_map(&t, 100 * S, &at));
	assert_int_equal(at, 5 * S);
	/* an encoder's priming lies a little before */
	assert_true(timeline_map(&t, 100 * S - 2000, &at));
	assert_false(timeline_map(&t, 90 * S, &at));
}

static void broken_clocks_are_cut_out(void **state)
{
	(void)state;
	struct timeline t;
	int64_t at;
	timeline_init(&t);
	timeline_begin_part(&t, 0);
	timeline_seen(&t, 0, 2 * S);
	/* a pause stays */
	assert_true(timeline_map(&t, 602 * S, &at));
	assert_int_equal(at, 602 * S);
	timeline_seen(&t, at, 0);
	/* a year does not */
	assert_true(timeline_map(&t, 365 * 86400 * S, &at));
	assert_int_equal(at, 602 * S);
	assert_true(timeline_map(&t, 365 * 86400 * S + S, &at));
	assert_int_equal(at, 603 * S);
	assert_true(timeline_map(&t, INT64_MAX - 1, &at));
	assert_false(timeline_map(&t, INT64_MIN + 1, &at));
	assert_false(timeline_map(&t, TIMELINE_NONE, &at));
}

static void nothing_is_kept_behind_the_limit(void **state)
{
	(void)state;
	struct timeline t;
	int64_t at;
	timeline_init(&t);
	timeline_begin_part(&t, 0);
	for (int64_t s = 0; s < TIMELINE_END_MAX; s += TIMELINE_JUMP_MAX)
		timeline_seen(&t, s, TIMELINE_JUMP_MAX);
	assert_false(t.full);
	assert_false(timeline_map(&t, TIMELINE_END_MAX + 1, &at));
	assert_true(t.full);
}

static void last_frame_lasts_to_the_end(void **state)
{
	(void)state;
	struct timeline t;
	bool key;
	timeline_init(&t);
	timeline_begin_part(&t, 0);
	assert_int_equal(timeline_last_duration(&t, 0), TIMELINE_FRAME_DEFAULT);
	(void)frame(&t, 0, &key);
	(void)frame(&t, 3000, &key);
	assert_int_equal(timeline_last_duration(&t, 3000), 3000);
	timeline_seen(&t, 2 * S, S);
	assert_int_equal(timeline_last_duration(&t, 3000), 3 * S - 3000);
	/* a still screen's last step says nothing about its last frame */
	(void)frame(&t, 3 * S, &key);
	assert_int_equal(timeline_last_duration(&t, 3 * S), TIMELINE_FRAME_LONGEST);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(first_frame_is_at_zero),	   cmocka_unit_test(frames_that_do_not_advance_are_dropped),
	    cmocka_unit_test(keyframes_come_by_time),	   cmocka_unit_test(parts_follow_one_another),
	    cmocka_unit_test(broken_clocks_are_cut_out),   cmocka_unit_test(nothing_is_kept_behind_the_limit),
	    cmocka_unit_test(last_frame_lasts_to_the_end),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
