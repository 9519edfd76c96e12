#include "store/bucket.h"

#include <setjmp.h>
#include <stdarg.h>
/* after the headers it needs */
#include <cmocka.h>

#define S ((int64_t)1000000)

static struct bucket_table table;

static int clear(void **state _unused_)
{
	table = (struct bucket_table){0};
	return 0;
}

static void a_burst_passes_and_then_the_rate(void **state _unused_)
{
	int64_t wait = -1;
	for (int i = 0; i < 5; i++)
		assert_true(bucket_take(&table, 7, 60, 5, S, &wait));
	assert_int_equal(wait, 0);
	assert_false(bucket_take(&table, 7, 60, 5, S, &wait));
	assert_in_range(wait, 1000, 1001);
	assert_false(bucket_take(&table, 7, 60, 5, S + S / 2, &wait));
	assert_in_range(wait, 500, 501);
	assert_true(bucket_take(&table, 7, 60, 5, 2 * S + S / 100, &wait));
}

static void it_never_holds_more_than_the_burst(void **state _unused_)
{
	int64_t wait;
	assert_true(bucket_take(&table, 7, 60, 2, 0, &wait));
	unsigned taken = 0;
	for (int i = 0; i < 10; i++)
		taken += bucket_take(&table, 7, 60, 2, 3600 * S, &wait);
	assert_int_equal(taken, 2);
}

static void keys_do_not_share(void **state _unused_)
{
	int64_t wait;
	assert_true(bucket_take(&table, 1, 1, 1, 0, &wait));
	assert_false(bucket_take(&table, 1, 1, 1, 0, &wait));
	assert_true(bucket_take(&table, 2, 1, 1, 0, &wait));
	/* of the same set */
	assert_true(bucket_take(&table, 1 + BUCKET_SETS, 1, 1, 0, &wait));
}

static void a_full_set_forgets_the_one_used_longest_ago(void **state _unused_)
{
	int64_t wait;
	for (uint64_t i = 0; i < BUCKET_WAYS; i++)
		assert_true(bucket_take(&table, 5 + i * BUCKET_SETS, 1, 1, (int64_t)i, &wait));
	assert_true(bucket_take(&table, 5 + BUCKET_WAYS * BUCKET_SETS, 1, 1, 100, &wait));
	assert_false(bucket_take(&table, 5 + BUCKET_SETS, 1, 1, 100, &wait)); /* the second is still known */
	assert_true(bucket_take(&table, 5, 1, 1, 100, &wait));		      /* the first is not */
}

static void a_clock_that_goes_back_takes_nothing_away(void **state _unused_)
{
	int64_t wait;
	assert_true(bucket_take(&table, 9, 60, 2, 10 * S, &wait));
	assert_true(bucket_take(&table, 9, 60, 2, 5 * S, &wait));
	assert_false(bucket_take(&table, 9, 60, 2, 5 * S, &wait));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup(a_burst_passes_and_then_the_rate, clear),
	    cmocka_unit_test_setup(it_never_holds_more_than_the_burst, clear),
	    cmocka_unit_test_setup(keys_do_not_share, clear),
	    cmocka_unit_test_setup(a_full_set_forgets_the_one_used_longest_ago, clear),
	    cmocka_unit_test_setup(a_clock_that_goes_back_takes_nothing_away, clear),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
