/* with: services/janitor/brake.c */
#include "../../services/janitor/brake.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>

#include <cmocka.h>

#define SECOND ((int64_t)1000000)
#define NOW    (1790000000 * SECOND)

static void clocks_that_agree_are_free(void **state _unused_)
{
	struct brake b = {0};
	for (int64_t s = 0; s < 100000; s += 1000)
		/* a slewed clock drifts by half a second in a thousand */
		assert_true(brake_look(&b, NOW + s * SECOND + s * 500, s * SECOND));
}

static void a_sleep_of_the_process_is_no_jump(void **state _unused_)
{
	struct brake b = {0};
	assert_true(brake_look(&b, NOW, 5));
	assert_true(brake_look(&b, NOW + 86400 * SECOND, 5 + 86400 * SECOND));
}

static void a_jump_holds_for_a_while(void **state _unused_)
{
	static const int64_t jumps[] = {61 * SECOND, -61 * SECOND, 400 * 86400 * SECOND};
	for (size_t i = 0; i < ARRAY_SIZE(jumps); i++) {
		struct brake b = {0};
		int64_t mono = 7 * SECOND;
		assert_true(brake_look(&b, NOW, mono));
		assert_true(brake_look(&b, NOW + 2 * SECOND, mono + 2 * SECOND));
		int64_t wall = NOW + jumps[i];
		assert_false(brake_look(&b, wall + 4 * SECOND, mono + 4 * SECOND));
		assert_int_equal(b.jump_us, jumps[i]);
		int64_t end = 4 * SECOND + BRAKE_HOLD_US;
		assert_false(brake_look(&b, wall + end - 1, mono + end - 1));
		assert_true(brake_look(&b, wall + end, mono + end));
	}
}

static void a_second_jump_begins_anew(void **state _unused_)
{
	struct brake b = {0};
	assert_true(brake_look(&b, NOW, 0));
	assert_false(brake_look(&b, NOW + 3600 * SECOND, SECOND));
	/* the clock is set right again: that is a jump, too */
	int64_t mono = BRAKE_HOLD_US;
	assert_false(brake_look(&b, NOW + mono, mono));
	assert_false(brake_look(&b, NOW + mono + BRAKE_HOLD_US - 1, mono + BRAKE_HOLD_US - 1));
	assert_true(brake_look(&b, NOW + mono + BRAKE_HOLD_US, mono + BRAKE_HOLD_US));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(clocks_that_agree_are_free),
	    cmocka_unit_test(a_sleep_of_the_process_is_no_jump),
	    cmocka_unit_test(a_jump_holds_for_a_while),
	    cmocka_unit_test(a_second_jump_begins_anew),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
