/* with: services/ctl/verify.c */
#include "../../services/ctl/verify.h"

#include "crypto/digest.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#define A "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define B "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"

/* A recording of two segments, delivered; each test changes one thing. */
static const char sound[] =
    "{\"bytes\":100,\"sha256\":\"" A "\",\"segments\":["
    " {\"number\":0,\"state\":\"closed\",\"start_offset\":0,\"bytes\":60,\"sha256\":\"" B "\"},"
    " {\"number\":1,\"state\":\"closed\",\"start_offset\":60,\"bytes\":40,\"sha256\":\"" B "\"}],"
    "\"files\":[{\"kind\":\"raw\",\"bytes\":100,\"sha256\":\"" A "\"},"
    " {\"kind\":\"main\",\"bytes\":50,\"sha256\":\"" B "\"}],"
    "\"copies\":[{\"id\":\"1\",\"kind\":\"main\",\"place\":\"target/1\",\"target\":\"house\",\"state\":\"present\","
    " \"evidence\":{\"size\":50,\"sha256\":\"" B "\"}},"
    " {\"id\":\"2\",\"kind\":\"raw\",\"place\":\"node/1\",\"state\":\"present\"},"
    " {\"id\":\"3\",\"kind\":\"raw\",\"place\":\"node/2\",\"state\":\"going\"}]}";

static json_t *verified(json_t *recording)
{
	json_t *checks = json_array();
	verify_chain(recording, checks);
	json_decref(recording);
	return checks;
}

static json_t *load(void)
{
	json_t *recording = json_loads(sound, 0, NULL);
	assert_non_null(recording);
	return recording;
}

/* The result of one check, "" when it was not made. */
static const char *result_of(json_t *checks, const char *name)
{
	size_t i = 0;
	json_t *check = NULL;
	json_array_foreach (checks, i, check)
		if (strcmp(json_string_value(json_object_get(check, "check")), name) == 0)
			return json_string_value(json_object_get(check, "result"));
	return "";
}

static json_t *member(json_t *recording, const char *list, size_t index)
{
	return json_array_get(json_object_get(recording, list), index);
}

static void a_sound_recording_passes(void **state _unused_)
{
	json_t *checks = verified(load());
	assert_string_equal(result_of(checks, "segments"), "ok");
	assert_string_equal(result_of(checks, "raw"), "ok");
	assert_string_equal(result_of(checks, "main at house"), "ok");
	assert_string_equal(result_of(checks, "sealed copies"), "not checked");
	assert_int_equal(verify_count(checks, VERIFY_FAILED), 0);
	assert_int_equal(verify_count(checks, VERIFY_OK), 3);
	json_decref(checks);
}

static void gaps_are_found_and_overlaps_are_not_gaps(void **state _unused_)
{
	json_t *recording = load();
	json_object_set_new(member(recording, "segments", 1), "start_offset", json_integer(61));
	json_t *checks = verified(recording);
	assert_string_equal(result_of(checks, "segments"), "failed");
	json_decref(checks);

	recording = load();
	json_object_set_new(member(recording, "segments", 1), "start_offset", json_integer(50));
	json_object_set_new(member(recording, "segments", 1), "bytes", json_integer(50));
	checks = verified(recording);
	assert_string_equal(result_of(checks, "segments"), "ok");
	json_decref(checks);

	recording = load();
	json_object_set_new(recording, "bytes", json_integer(101));
	checks = verified(recording);
	assert_string_equal(result_of(checks, "segments"), "failed");
	assert_string_equal(result_of(checks, "raw"), "failed");
	json_decref(checks);
}

static void another_raw_is_found(void **state _unused_)
{
	json_t *recording = load();
	json_object_set_new(member(recording, "files", 0), "sha256", json_string(B));
	json_t *checks = verified(recording);
	assert_string_equal(result_of(checks, "raw"), "failed");
	json_decref(checks);

	/* with one segment its own hash has to be the whole's */
	recording = load();
	json_object_set_new(member(recording, "segments", 0), "bytes", json_integer(100));
	json_array_remove(json_object_get(recording, "segments"), 1);
	checks = verified(recording);
	assert_string_equal(result_of(checks, "segments"), "ok");
	assert_string_equal(result_of(checks, "raw"), "failed");
	json_decref(checks);
}

static void evidence_that_differs_is_found(void **state _unused_)
{
	json_t *recording = load();
	json_object_set_new(json_object_get(member(recording, "copies", 0), "evidence"), "size", json_integer(49));
	json_t *checks = verified(recording);
	assert_string_equal(result_of(checks, "main at house"), "failed");
	json_decref(checks);

	recording = load();
	json_object_set_new(json_object_get(member(recording, "copies", 0), "evidence"), "sha256", json_string(A));
	checks = verified(recording);
	assert_string_equal(result_of(checks, "main at house"), "failed");
	json_decref(checks);

	recording = load();
	json_object_set_new(member(recording, "copies", 0), "evidence", json_object());
	checks = verified(recording);
	assert_string_equal(result_of(checks, "main at house"), "not checked");
	json_decref(checks);
}

static void a_lost_copy_fails_and_a_tombstone_has_nothing(void **state _unused_)
{
	json_t *recording = load();
	json_object_set_new(member(recording, "copies", 1), "state", json_string("lost"));
	json_t *checks = verified(recording);
	assert_string_equal(result_of(checks, "copies"), "failed");
	json_decref(checks);

	checks = verified(json_loads("{\"segments\":[],\"files\":[],\"copies\":[],\"sha256\":null}", 0, NULL));
	assert_int_equal(verify_count(checks, VERIFY_NOT_CHECKED), 2);
	assert_int_equal(json_array_size(checks), 2);
	json_decref(checks);
}

static void files_are_read_where_they_are(void **state _unused_)
{
	char folder[] = "/tmp/rushes-verify-XXXXXX", path[64];
	uint8_t digest[SHA256_BYTES];
	char text[SHA256_TEXT_BYTES];
	struct error e;
	assert_non_null(mkdtemp(folder));
	(void)snprintf(path, sizeof(path), "%s/main", folder);
	FILE *f = fopen(path, "w");
	assert_non_null(f);
	assert_int_equal(fputs("hello", f) >= 0, 1);
	assert_int_equal(fclose(f), 0);
	assert_int_equal(sha256_of("hello", 5, digest, &e), 0);
	sha256_format(digest, text);
	json_t *file = json_pack("{s:i, s:s}", "bytes", 5, "sha256", text);
	json_t *checks = json_array();
	verify_local_copy(checks, "sound", folder, "main", file);
	verify_local_copy(checks, "missing", folder, "other", file);
	verify_local_copy(checks, "folder", folder, ".", file);
	json_object_set_new(file, "bytes", json_integer(6));
	verify_local_copy(checks, "short", folder, "main", file);
	json_object_set_new(file, "bytes", json_integer(5));
	json_object_set_new(file, "sha256", json_string(A));
	verify_local_copy(checks, "other", folder, "main", file);
	assert_string_equal(result_of(checks, "sound"), "ok");
	assert_string_equal(result_of(checks, "missing"), "not checked");
	assert_string_equal(result_of(checks, "folder"), "not checked");
	assert_string_equal(result_of(checks, "short"), "failed");
	assert_string_equal(result_of(checks, "other"), "failed");
	json_decref(checks);
	json_decref(file);
	assert_int_equal(unlink(path), 0);
	assert_int_equal(rmdir(folder), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(a_sound_recording_passes),
	    cmocka_unit_test(gaps_are_found_and_overlaps_are_not_gaps),
	    cmocka_unit_test(another_raw_is_found),
	    cmocka_unit_test(evidence_that_differs_is_found),
	    cmocka_unit_test(a_lost_copy_fails_and_a_tombstone_has_nothing),
	    cmocka_unit_test(files_are_read_where_they_are),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
