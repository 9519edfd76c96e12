#include "base/quantity.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>

#include <cmocka.h>

static uint64_t parsed(enum quantity_type type, const char *text)
{
	uint64_t value = 0;
	struct error e = {0};
	assert_int_equal(quantity_parse(type, text, &value, &e), 0);
	return value;
}

static void refused(enum quantity_type type, const char *text)
{
	uint64_t value = 7;
	struct error e = {0};
	assert_int_equal(quantity_parse(type, text, &value, &e), ERR_REJECT);
	assert_int_equal(value, 7);
	assert_true(e.text[0]);
}

static void units_scale(void **state _unused_)
{
	assert_int_equal(parsed(QUANTITY_NUMBER, "25"), 25);
	assert_int_equal(parsed(QUANTITY_BYTES, "25"), 25);
	assert_int_equal(parsed(QUANTITY_BYTES, "64KiB"), 65536);
	assert_int_equal(parsed(QUANTITY_BYTES, "2GiB"), (uint64_t)2 << 30);
	assert_int_equal(parsed(QUANTITY_DURATION, "250ms"), 250);
	assert_int_equal(parsed(QUANTITY_DURATION, "28d"), (uint64_t)28 * 86400000);
}

static void what_is_no_quantity_is_refused(void **state _unused_)
{
	static const char *const bad[] = {"", " 1", "-1", "+1", "x", "1 s", "1.5s", "0x10s", "5weeks"};
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		refused(QUANTITY_DURATION, bad[i]);
	refused(QUANTITY_DURATION, "5");
	refused(QUANTITY_NUMBER, "5KiB");
	refused(QUANTITY_BYTES, "5s");
}

static void overflow_is_refused(void **state _unused_)
{
	assert_int_equal(parsed(QUANTITY_NUMBER, "18446744073709551615"), UINT64_MAX);
	refused(QUANTITY_NUMBER, "18446744073709551616");
	refused(QUANTITY_BYTES, "17179869184GiB");
	refused(QUANTITY_DURATION, "213503982335d");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(units_scale),
	    cmocka_unit_test(what_is_no_quantity_is_refused),
	    cmocka_unit_test(overflow_is_refused),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
