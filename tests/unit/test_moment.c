/* A moment is a time with its zone or a day, and nothing between. */
#include "domain/moment.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static void test_parse(void **state _unused_)
{
	int64_t us = -1;
	assert_true(moment_parse("1970-01-02", &us));
	assert_int_equal(us, INT64_C(86400000000));
	assert_true(moment_parse("2024-02-29", &us));
	assert_int_equal(us, INT64_C(1709164800000000));
	assert_true(moment_parse("1970-01-02T00:00:00+01:00", &us));
	assert_int_equal(us, INT64_C(82800000000));
}

static void test_refused(void **state _unused_)
{
	static const char *const bad[] = {"",		"never",
					  "2026",	"2026-2-01",
					  "2026-02-30", "2026-02-01 ",
					  "2026/02/01", "20260201xx",
					  "tomorrow10", "2026-02-01T00:00:00"};
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		int64_t us = 7;
		assert_false(moment_parse(bad[i], &us));
		assert_int_equal(us, 7);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_parse),
	    cmocka_unit_test(test_refused),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
