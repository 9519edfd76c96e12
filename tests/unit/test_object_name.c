/* with: services/storage-pusher/object_name.c */
#include "../../services/storage-pusher/object_name.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
/* after the headers it needs */
#include <cmocka.h>

#define RECORDING "0190a5f0-0000-7000-8000-000000000001"

static const struct object_facts facts = {.account_hash = "a1b2c3",
					  .recording = RECORDING,
					  .opened_at = "2026-11-22T01:44:01Z",
					  .file_kind = "main",
					  .mime = "video/webm;codecs=vp9,opus",
					  .is_converted = true};

static void test_names_and_types(void **state _unused_)
{
	static const struct {
		const char *kind, *mime;
		bool converted;
		const char *name, *type;
	} cases[] = {
	    {"main", "video/webm", true, "main.mp4", "video/mp4"},
	    {"main", "video/webm;codecs=vp8", false, "main.webm", "video/webm"},
	    {"raw", "video/webm; codecs=\"vp9\"", true, "raw.webm", "video/webm"},
	    {"raw", "VIDEO/MP4", true, "raw.mp4", "video/mp4"},
	    {"raw", "video/x-matroska;codecs=avc1", true, "raw.mkv", "video/x-matroska"},
	    {"raw", "text/html", true, "raw.bin", "application/octet-stream"},
	    {"raw", "../../x", true, "raw.bin", "application/octet-stream"},
	    {"raw", NULL, true, "raw.bin", "application/octet-stream"},
	    {"snapshot", "video/webm", true, "snapshot.jpg", "image/jpeg"},
	    {"filmstrip", "video/webm", false, "filmstrip.jpg", "image/jpeg"},
	};
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct object_facts f = facts;
		char name[OBJECT_NAME_BYTES], type[OBJECT_TYPE_BYTES], expected[OBJECT_NAME_BYTES];
		struct error e = {0};
		f.file_kind = cases[i].kind;
		f.mime = cases[i].mime;
		f.is_converted = cases[i].converted;
		assert_int_equal(object_name(&f, name, &e), 0);
		(void)snprintf(expected, sizeof(expected), "a1b2c3/2026/11/22/" RECORDING "/%s", cases[i].name);
		assert_string_equal(name, expected);
		object_content_type(&f, type);
		assert_string_equal(type, cases[i].type);
	}
}

static void test_facts_that_make_no_name(void **state _unused_)
{
	struct object_facts bad[6];
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		bad[i] = facts;
	bad[0].account_hash = "../x";
	bad[1].account_hash = "";
	bad[2].recording = "../../../../../../../../../../../etc";
	bad[3].opened_at = "now";
	bad[4].file_kind = "segment";
	bad[5].account_hash = "0123456789012345678901234567890123456789012345678901234567890123456789";
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		char name[OBJECT_NAME_BYTES];
		struct error e = {0};
		assert_int_equal(object_name(&bad[i], name, &e), ERR_REJECT);
	}
}

static void test_temporary(void **state _unused_)
{
	char name[OBJECT_NAME_BYTES], long_name[OBJECT_NAME_BYTES];
	struct error e = {0};
	assert_int_equal(object_temporary("a/b/main.mp4", "c1", name, &e), 0);
	assert_string_equal(name, "a/b/.main.mp4.c1.part");
	assert_int_equal(object_temporary("main.mp4", "c1", name, &e), 0);
	assert_string_equal(name, ".main.mp4.c1.part");
	memset(long_name, 'x', sizeof(long_name) - 1);
	long_name[sizeof(long_name) - 1] = '\0';
	assert_int_equal(object_temporary(long_name, "c1", name, &e), ERR_REJECT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_names_and_types),
	    cmocka_unit_test(test_facts_that_make_no_name),
	    cmocka_unit_test(test_temporary),
	};
	return cmocka_run_group_tests_name("object_name", tests, NULL, NULL);
}
