/* with: services/ctl/output.c */
#include "../../services/ctl/output.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static void cell_is(enum column_type type, const char *json, const char *want)
{
	json_t *row = json_loads(json, 0, NULL);
	assert_non_null(row);
	const struct column c = {"v", "V", type};
	char *text = output_cell(&c, row);
	assert_string_equal(text, want);
	free(text);
	json_decref(row);
}

static void cells_are_for_people(void **state _unused_)
{
	cell_is(COLUMN_TEXT, "{}", "-");
	cell_is(COLUMN_TEXT, "{\"v\":null}", "-");
	cell_is(COLUMN_TEXT, "{\"v\":\"\"}", "");
	cell_is(COLUMN_TEXT, "{\"v\":true}", "yes");
	cell_is(COLUMN_TEXT, "{\"v\":[\"a\",\"b\"]}", "a, b");
	cell_is(COLUMN_TEXT, "{\"v\":[]}", "-");
	cell_is(COLUMN_TEXT, "{\"v\":{\"a\":1}}", "{\"a\":1}");
	cell_is(COLUMN_TIME, "{\"v\":\"2026-11-22T01:44:01.123456+00:00\"}", "2026-11-22 01:44:01");
	cell_is(COLUMN_SIZE, "{\"v\":1023}", "1023 B");
	cell_is(COLUMN_SIZE, "{\"v\":1536}", "1.5 KiB");
	cell_is(COLUMN_SIZE, "{\"v\":10737418240}", "10.0 GiB");
	cell_is(COLUMN_NUMBER, "{\"v\":42}", "42");
	cell_is(COLUMN_DURATION, "{\"v\":12.345}", "12.35 s");
	cell_is(COLUMN_DURATION, "{\"v\":5400}", "1h 30m");
	cell_is(COLUMN_DURATION, "{\"v\":125.2}", "2m 5s");
}

static void a_terminal_is_not_commanded_from_outside(void **state _unused_)
{
	cell_is(COLUMN_TEXT, "{\"v\":\"a\\u001b[31mb\\nc\\u009bd\"}", "a?[31mb?c??d");
}

static void a_dot_goes_one_level_down(void **state _unused_)
{
	json_t *row = json_loads("{\"facts\":{\"codec\":\"h264\"}}", 0, NULL);
	const struct column c = {"facts.codec", "CODEC", COLUMN_TEXT};
	char *text = output_cell(&c, row);
	assert_string_equal(text, "h264");
	free(text);
	json_decref(row);
}

static void tables_are_aligned(void **state _unused_)
{
	static const struct column columns[] = {{"name", "NAME", COLUMN_TEXT},
						{"bytes", "SIZE", COLUMN_SIZE},
						{"note", "NOTE", COLUMN_TEXT},
						{0}};
	json_t *rows =
	    json_loads("[{\"name\":\"\xc3\xa4\",\"bytes\":5,\"note\":\"x\"},{\"name\":\"longer\",\"bytes\":2048}]", 0,
		       NULL);
	char *text = NULL;
	size_t n = 0;
	FILE *f = open_memstream(&text, &n);
	output_table(columns, rows, "none", f);
	json_array_clear(rows);
	output_table(columns, rows, "none", f);
	assert_int_equal(fclose(f), 0);
	assert_string_equal(text, "NAME       SIZE  NOTE\n"
				  "\xc3\xa4           5 B  x\n"
				  "longer  2.0 KiB  -\n"
				  "none\n");
	free(text);
	json_decref(rows);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(cells_are_for_people),
	    cmocka_unit_test(a_terminal_is_not_commanded_from_outside),
	    cmocka_unit_test(a_dot_goes_one_level_down),
	    cmocka_unit_test(tables_are_aligned),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
