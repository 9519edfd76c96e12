/* with: services/transcoder/raw_plan.c */
#include "../../services/transcoder/raw_plan.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#define COPY "018f0000-0000-7000-8000-000000000001"

static json_t *segment(int number, int start, int bytes)
{
	return json_pack("{s:i, s:i, s:i, s:s, s:i, s:s, s:s, s:s}", "number", number, "start_offset", start, "bytes",
			 bytes, "sha256", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855", "crc32",
			 77, "copy", COPY, "node", COPY, "peer_url", "https://localhost:7445/");
}

static int read_plan(const char *conversion, int bytes, json_t *segments, struct raw_plan *ret)
{
	json_t *context = json_pack("{s:s, s:i, s:o}", "conversion", conversion, "bytes", bytes, "segments", segments);
	int r = raw_plan_read(context, ret, NULL);
	json_decref(context);
	return r;
}

static void segments_follow_one_another(void **state)
{
	(void)state;
	struct raw_plan p;
	assert_int_equal(read_plan("always", 300, json_pack("[o, o]", segment(1, 0, 100), segment(2, 100, 200)), &p),
			 0);
	assert_int_equal(p.kind, FILE_RAW);
	assert_int_equal(p.n, 2);
	assert_int_equal(p.segments[1].skip, 0);
	assert_int_equal(p.segments[1].crc32, 77);
	assert_string_equal(p.segments[0].url, "https://localhost:7445/spool/v1/copies/" COPY);
	raw_plan_done(&p);
}

static void the_earlier_segment_wins(void **state)
{
	(void)state;
	struct raw_plan p;
	json_t *segments = json_pack("[o, o, o]", segment(1, 0, 100), segment(2, 60, 30), segment(3, 80, 100));
	assert_int_equal(read_plan("always", 180, segments, &p), 0);
	assert_int_equal(p.segments[1].skip, 30);
	assert_int_equal(p.segments[2].skip, 20);
	raw_plan_done(&p);
}

static void without_conversion_it_becomes_main(void **state)
{
	(void)state;
	struct raw_plan p;
	assert_int_equal(read_plan("never", 10, json_pack("[o]", segment(1, 0, 10)), &p), 0);
	assert_int_equal(p.kind, FILE_MAIN);
	raw_plan_done(&p);
	assert_int_equal(read_plan("always", 0, json_array(), &p), 0);
	assert_int_equal(p.n, 0);
	raw_plan_done(&p);
}

static void missing_bytes_are_waited_for(void **state)
{
	(void)state;
	struct raw_plan p;
	assert_int_equal(read_plan("always", 300, json_pack("[o, o]", segment(1, 0, 100), segment(3, 200, 100)), &p),
			 ERR_RETRY);
	assert_int_equal(read_plan("always", 300, json_pack("[o]", segment(1, 0, 100)), &p), ERR_RETRY);
	assert_int_equal(read_plan("always", 300, json_array(), &p), ERR_RETRY);
}

static json_t *with(json_t *segment, const char *flag)
{
	(void)json_object_set_new(segment, flag, json_true());
	return segment;
}

static void silent_nodes_are_done_without_where_others_have_it_all(void **state)
{
	(void)state;
	struct raw_plan p;
	json_t *segments =
	    json_pack("[o, o, o]", segment(1, 0, 100), with(segment(2, 100, 50), "is_silent"), segment(3, 100, 200));
	assert_int_equal(read_plan("always", 300, segments, &p), 0);
	assert_int_equal(p.n, 2);
	assert_int_equal(p.segments[1].number, 3);
	assert_int_equal(p.segments[1].skip, 0);
	raw_plan_done(&p);
	segments =
	    json_pack("[o, o, o]", segment(1, 0, 100), with(segment(2, 100, 50), "is_silent"), segment(3, 150, 150));
	assert_int_equal(read_plan("always", 300, segments, &p), 0);
	assert_int_equal(p.n, 3);
	raw_plan_done(&p);
}

static void an_open_recording_has_what_there_is(void **state)
{
	(void)state;
	struct raw_plan p;
	json_t *growing = with(segment(2, 100, 0), "is_open");
	(void)json_object_set_new(growing, "bytes", json_null());
	(void)json_object_set_new(growing, "sha256", json_null());
	json_t *context = json_pack("{s:s, s:s, s:n, s:[o, o]}", "conversion", "always", "state", "open", "bytes",
				    "segments", segment(1, 0, 100), growing);
	assert_int_equal(raw_plan_read(context, &p, NULL), 0);
	assert_true(p.is_open && p.segments[1].is_open);
	assert_int_equal(p.n, 2);
	raw_plan_done(&p);
	(void)json_object_set_new(context, "state", json_string("saved"));
	assert_int_equal(raw_plan_read(context, &p, NULL), ERR_FATAL);
	json_decref(context);
}

static void nonsense_is_fatal(void **state)
{
	(void)state;
	struct raw_plan p;
	json_t *s = segment(1, 0, 10);
	(void)json_object_set_new(s, "sha256", json_string("abc"));
	assert_int_equal(read_plan("always", 10, json_pack("[o]", s), &p), ERR_FATAL);
	s = segment(1, 0, 10);
	(void)json_object_set_new(s, "bytes", json_integer(-1));
	assert_int_equal(read_plan("always", 10, json_pack("[o]", s), &p), ERR_FATAL);
	s = segment(1, 0, 10);
	(void)json_object_del(s, "peer_url");
	assert_int_equal(read_plan("always", 10, json_pack("[o]", s), &p), ERR_FATAL);
	assert_int_equal(read_plan("always", 10, json_pack("[i]", 5), &p), ERR_FATAL);
	assert_int_equal(raw_plan_read(NULL, &p, NULL), ERR_FATAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(segments_follow_one_another),
	    cmocka_unit_test(the_earlier_segment_wins),
	    cmocka_unit_test(without_conversion_it_becomes_main),
	    cmocka_unit_test(missing_bytes_are_waited_for),
	    cmocka_unit_test(silent_nodes_are_done_without_where_others_have_it_all),
	    cmocka_unit_test(an_open_recording_has_what_there_is),
	    cmocka_unit_test(nonsense_is_fatal),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
