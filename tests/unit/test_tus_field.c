/* with: services/ingest/tus_field.c services/ingest/checksum.c */
#include "../../services/ingest/tus_field.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static void numbers_are_digits_that_fit(void **state)
{
	(void)state;
	static const char *const wrong[] = {"", "-1", "+1", " 1", "1 ", "0x1", "1.0", "1e3", "1000000000000000000"};
	uint64_t n = 7;
	for (size_t i = 0; i < ARRAY_SIZE(wrong); i++)
		assert_false(tus_number_read(wrong[i], &n));
	assert_true(tus_number_read("0", &n) && n == 0);
	assert_true(tus_number_read("999999999999999999", &n) && n == 999999999999999999);
}

static void checksums_have_a_known_name_and_their_length(void **state)
{
	(void)state;
	static const char *const malformed[] = {"",
						"sha1",
						"sha1 ",
						"sha1 qvTGHdzF6KLavt4PO0gs2a6pQ0",
						"sha1 qvTGHdzF6KLavt4PO0gs2a6pQ00=x",
						"sha1  qvTGHdzF6KLavt4PO0gs2a6pQ00=",
						"crc32 NhCmhgA=",
						" crc32 NhCmhg=="};
	static const char *const unknown[] = {"md5 XUFAKrxLKna5cZ2REBfFkg==", "SHA1 qvTGHdzF6KLavt4PO0gs2a6pQ00="};
	struct checksum_value v;
	struct error e = {0};
	for (size_t i = 0; i < ARRAY_SIZE(malformed); i++)
		assert_int_equal(tus_checksum_read(malformed[i], &v, &e), ERR_REJECT);
	for (size_t i = 0; i < ARRAY_SIZE(unknown); i++)
		assert_int_equal(tus_checksum_read(unknown[i], &v, &e), ERR_NOTFOUND);
}

static void checksums_compare_what_passed(void **state)
{
	(void)state;
	/* of "hello", by sha1sum, sha256sum and gzip */
	static const char *const right[] = {"sha1 qvTGHdzF6KLavt4PO0gs2a6pQ00=", "sha1 qvTGHdzF6KLavt4PO0gs2a6pQ00",
					    "sha256 LPJNul+wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ=", "crc32 NhCmhg=="};
	for (size_t i = 0; i < ARRAY_SIZE(right); i++) {
		struct checksum_value v;
		struct error e = {0};
		assert_int_equal(tus_checksum_read(right[i], &v, &e), 0);
		for (int changed = 0; changed < 2; changed++) {
			_cleanup_(checksum_freep) struct checksum *c = NULL;
			assert_int_equal(checksum_new(&v, &c, &e), 0);
			checksum_update(c, "hel", 3);
			checksum_update(c, changed ? "l0" : "lo", 2);
			assert_int_equal(checksum_matches(c), !changed);
		}
	}
}

static void metadata_names_the_file(void **state)
{
	(void)state;
	struct tus_metadata m;
	struct error e = {0};
	assert_int_equal(tus_metadata_read("filename YS53ZWJt,filetype dmlkZW8vd2VibQ==,flag,empty ,name Yg==", &m, &e),
			 0);
	assert_string_equal(m.file_name, "a.webm");
	assert_string_equal(m.file_type, "video/webm");
	tus_metadata_done(&m);
	assert_int_equal(tus_metadata_read("name Yg==, type eA", &m, &e), 0);
	assert_string_equal(m.file_name, "b");
	assert_string_equal(m.file_type, "x");
	tus_metadata_done(&m);
	/* bytes that are no text are allowed, and no name: a NUL, a line end, broken UTF-8 */
	static const char *const binary[] = {"filename YQBi", "filename YQpi", "filename /w==", "filename"};
	for (size_t i = 0; i < ARRAY_SIZE(binary); i++) {
		assert_int_equal(tus_metadata_read(binary[i], &m, &e), 0);
		assert_null(m.file_name);
		tus_metadata_done(&m);
	}
}

static void malformed_metadata_is_refused(void **state)
{
	(void)state;
	static const char *const wrong[] = {"",	   ",",	      ",a",	 "a YQ==,",    "a YQ==,,b",    "a !",
					    "a Y", "a YQ= =", "a  YQ==", "a YQ==,a b", "\xc3\xa4 YQ=="};
	struct tus_metadata m;
	for (size_t i = 0; i < ARRAY_SIZE(wrong); i++) {
		struct error e = {0};
		assert_int_equal(tus_metadata_read(wrong[i], &m, &e), ERR_REJECT);
		assert_null(m.file_name);
	}
	char many[TUS_METADATA_KEYS_MAX * 4 + 8];
	size_t n = 0;
	for (unsigned i = 0; i <= TUS_METADATA_KEYS_MAX; i++)
		n += (size_t)snprintf(many + n, sizeof(many) - n, "%sk%u", i ? "," : "", i);
	struct error e = {0};
	assert_int_equal(tus_metadata_read(many, &m, &e), ERR_REJECT);
	_cleanup_(freep) char *large = calloc(1, TUS_METADATA_BYTES_MAX + 2);
	memset(large, 'k', TUS_METADATA_BYTES_MAX + 1);
	assert_int_equal(tus_metadata_read(large, &m, &e), ERR_REJECT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(numbers_are_digits_that_fit),
	    cmocka_unit_test(checksums_have_a_known_name_and_their_length),
	    cmocka_unit_test(checksums_compare_what_passed),
	    cmocka_unit_test(metadata_names_the_file),
	    cmocka_unit_test(malformed_metadata_is_refused),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
