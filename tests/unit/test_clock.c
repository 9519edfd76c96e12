/* Times of RFC 3339: what is written can be read, and nothing else can. */
#include "base/clock.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static void test_parse(void **state _unused_)
{
	static const struct {
		const char *text;
		int64_t us;
	} good[] = {
	    {"1970-01-01T00:00:00Z", 0},
	    {"2026-11-22T01:44:01Z", INT64_C(1795311841000000)},
	    {"2026-11-22T01:44:01.5Z", INT64_C(1795311841500000)},
	    {"2026-11-22T01:44:01.1234569Z", INT64_C(1795311841123456)},
	    {"2026-11-22T03:44:01+02:00", INT64_C(1795311841000000)},
	    {"2026-11-21T20:14:01.000001-05:30", INT64_C(1795311841000001)},
	    {"2024-02-29T00:00:00Z", INT64_C(1709164800000000)},
	};
	for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
		int64_t us = -1;
		assert_true(clock_parse(good[i].text, &us));
		assert_int_equal(us, good[i].us);
	}
}

static void test_refused(void **state _unused_)
{
	static const char *const bad[] = {
	    "",
	    "2026",
	    "2026-11-22",
	    "2026-11-22T01:44:01",
	    "2026-11-22 01:44:01Z",
	    "2026-11-22T01:44:01.Z",
	    "2026-11-22T01:44:01Z ",
	    "2026-11-22T01:44:01+2:00",
	    "2026-11-22T01:44:01+24:00",
	    "2026-11-22T01:44:01+02:60",
	    "2026-02-30T00:00:00Z",
	    "2026-13-01T00:00:00Z",
	    "2026-11-22T24:00:00Z",
	    "+026-11-22T01:44:01Z",
	    " 2026-11-22T01:44:01Z",
	};
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		int64_t us = 7;
		assert_false(clock_parse(bad[i], &us));
		assert_int_equal(us, 7);
	}
}

static void test_round_trip(void **state _unused_)
{
	char text[CLOCK_TEXT_BYTES];
	int64_t us = 0;
	clock_format(INT64_C(1795311841123456), text);
	assert_string_equal(text, "2026-11-22T01:44:01.123456Z");
	assert_true(clock_parse(text, &us));
	assert_int_equal(us, INT64_C(1795311841123456));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_parse),
	    cmocka_unit_test(test_refused),
	    cmocka_unit_test(test_round_trip),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
