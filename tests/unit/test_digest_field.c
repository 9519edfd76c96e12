/* with: services/ingest/digest_field.c services/ingest/checksum.c */
#include "../../services/ingest/digest_field.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#define SHA256 "sha-256=:LPJNul+wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ=:"
#define SHA512 "sha-512=:m3HSJL1i83hdltRq0+o9czGb+8KJDKra4t/3JRlnPKcjI8PZm6XBHXx6zG4UuMXaDEZjR1wuXDre9G9zvN7AQw==:"

static int read_field(const char *text, struct checksum_value ret[DIGEST_FIELD_MAX], unsigned *n)
{
	struct error e = {0};
	return digest_field_read(text, ret, n, &e);
}

static void known_digests_are_read(void **state)
{
	(void)state;
	static const char *const one[] = {SHA256, (" " SHA256 " "), (SHA256 ";q=0.5;note=\"a \\\" b\";flag"),
					  ("md5=:XUFAKrxLKna5cZ2REBfFkg==:, " SHA256 "\t,\tunixsum=:AAA=:"),
					  ("sha-256=:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=:," SHA256)};
	struct checksum_value v[DIGEST_FIELD_MAX];
	unsigned n;
	for (size_t i = 0; i < ARRAY_SIZE(one); i++) {
		assert_int_equal(read_field(one[i], v, &n), 0);
		assert_int_equal(n, 1);
		assert_int_equal(v[0].kind, CHECKSUM_SHA256);
		assert_int_equal(v[0].bytes[0], 0x2c);
	}
	assert_int_equal(read_field(SHA512 "," SHA256, v, &n), 0);
	assert_int_equal(n, 2);
	assert_int_equal(v[0].kind, CHECKSUM_SHA512);
	assert_int_equal(v[1].kind, CHECKSUM_SHA256);
	assert_int_equal(read_field("md5=:XUFAKrxLKna5cZ2REBfFkg==:", v, &n), 0);
	assert_int_equal(n, 0);
}

static void malformed_fields_are_refused(void **state)
{
	(void)state;
	static const char *const wrong[] = {"",
					    "sha-256",
					    "sha-256=LPJNul",
					    "sha-256=:LPJNul+wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ=",
					    "sha-256=::",
					    "sha-256=:LPJNul+wow4m6Dsqxbninhs=:",
					    "SHA-256=:LPJNul+wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ=:",
					    (SHA256 ","),
					    (SHA256 " " SHA512),
					    (SHA256 ";"),
					    (SHA256 ";=1"),
					    (SHA256 ";a="),
					    (SHA256 ";a=\"x"),
					    (SHA256 ";a=\"\\x\""),
					    ("," SHA256),
					    "md5=?1",
					    "sha-256=:LPJ Nul+wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ=:"};
	struct checksum_value v[DIGEST_FIELD_MAX];
	unsigned n;
	for (size_t i = 0; i < ARRAY_SIZE(wrong); i++)
		assert_int_equal(read_field(wrong[i], v, &n), ERR_REJECT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(known_digests_are_read),
	    cmocka_unit_test(malformed_fields_are_refused),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
