#include "net/s3_sign.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
/* after the headers it needs */
#include <cmocka.h>

/* The examples of the Amazon S3 API Reference, "Signature Calculations for the Authorization Header". */
static const struct s3_credentials example = {"AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", NULL};
#define EXAMPLE_HOST "examplebucket.s3.amazonaws.com"
#define EXAMPLE_US   (INT64_C(1369353600) * 1000000) /* 2013-05-24T00:00:00Z */
#define EMPTY_SHA256 "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

static void check(struct s3_sign_request r, const char *names, const char *signature)
{
	_cleanup_(buffer_done) struct buffer got, expected;
	char date[S3_DATE_BYTES];
	struct error e = {0};
	buffer_init(&got, 4096);
	buffer_init(&expected, 4096);
	r.host = EXAMPLE_HOST;
	r.region = "us-east-1";
	r.wall_us = EXAMPLE_US;
	if (!r.payload_sha256)
		r.payload_sha256 = EMPTY_SHA256;
	assert_int_equal(s3_sign(&r, &example, &got, date, &e), 0);
	assert_int_equal(buffer_printf(&expected,
				       "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/"
				       "aws4_request,SignedHeaders=%s,Signature=%s",
				       names, signature),
			 0);
	assert_string_equal(got.data, expected.data);
	assert_string_equal(date, "20130524T000000Z");
}

static void test_get_with_range(void **state _unused_)
{
	struct s3_pair headers[] = {{"Range", "bytes=0-9"}};
	check((struct s3_sign_request){.method = "GET", .path = "/test.txt", .headers = headers, .n_headers = 1},
	      "host;range;x-amz-content-sha256;x-amz-date",
	      "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41");
}

static void test_put(void **state _unused_)
{
	char hash[S3_SHA256_HEX_BYTES];
	_cleanup_(buffer_done) struct buffer path;
	struct s3_pair headers[] = {{"x-amz-storage-class", "REDUCED_REDUNDANCY"},
				    {"Date", "Fri, 24 May 2013 00:00:00 GMT"}};
	buffer_init(&path, 64);
	s3_sha256_hex("Welcome to Amazon S3.", 21, hash);
	assert_int_equal(s3_escape(&path, "/test$file.text", true), 0);
	check((struct s3_sign_request){.method = "PUT",
				       .path = path.data,
				       .headers = headers,
				       .n_headers = 2,
				       .payload_sha256 = hash},
	      "date;host;x-amz-content-sha256;x-amz-date;x-amz-storage-class",
	      "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd");
}

static void test_get_lifecycle(void **state _unused_)
{
	struct s3_pair query[] = {{"lifecycle", ""}};
	check((struct s3_sign_request){.method = "GET", .path = "/", .query = query, .n_query = 1},
	      "host;x-amz-content-sha256;x-amz-date",
	      "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543");
}

static void test_list_objects(void **state _unused_)
{
	struct s3_pair query[] = {{"prefix", "J"}, {"max-keys", "2"}};
	check((struct s3_sign_request){.method = "GET", .path = "/", .query = query, .n_query = 2},
	      "host;x-amz-content-sha256;x-amz-date",
	      "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7");
}

/* "Authenticating Requests: Using Query Parameters" of the same reference. */
static void test_presigned_get(void **state _unused_)
{
	_cleanup_(buffer_done) struct buffer query;
	struct error e = {0};
	buffer_init(&query, 4096);
	struct s3_sign_request r = {
	    .method = "GET", .host = EXAMPLE_HOST, .path = "/test.txt", .region = "us-east-1", .wall_us = EXAMPLE_US};
	assert_int_equal(s3_presign(&r, &example, 86400, &query, &e), 0);
	assert_string_equal(query.data,
			    "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F20130524%2F"
			    "us-east-1%2Fs3%2Faws4_request&X-Amz-Date=20130524T000000Z&X-Amz-Expires=86400&"
			    "X-Amz-SignedHeaders=host&X-Amz-Signature="
			    "aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404");
	assert_int_equal(s3_presign(&r, &example, 0, &query, &e), ERR_REJECT);
	assert_int_equal(s3_presign(&r, &example, S3_PRESIGN_SECONDS_MAX + 1, &query, &e), ERR_REJECT);
}

static void test_escaping(void **state _unused_)
{
	static const struct {
		const char *text, *path, *query;
	} cases[] = {
	    {"a b", "a%20b", "a%20b"},
	    {"a/b", "a/b", "a%2Fb"},
	    {"a+b(c)!'*", "a%2Bb%28c%29%21%27%2A", "a%2Bb%28c%29%21%27%2A"},
	    {"\xc3\xbc", "%C3%BC", "%C3%BC"},
	    {"%25", "%2525", "%2525"},
	    {"//..//.", "//..//.", "%2F%2F..%2F%2F."},
	    {"-_.~", "-_.~", "-_.~"},
	    {"\x01\x7f", "%01%7F", "%01%7F"},
	};
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		_cleanup_(buffer_done) struct buffer path, query;
		buffer_init(&path, 256);
		buffer_init(&query, 256);
		assert_int_equal(s3_escape(&path, cases[i].text, true), 0);
		assert_int_equal(s3_escape(&query, cases[i].text, false), 0);
		assert_string_equal(path.data, cases[i].path);
		assert_string_equal(query.data, cases[i].query);
	}
}

static void test_query_is_sorted_by_name_then_value(void **state _unused_)
{
	struct s3_pair query[] = {{"uploadId", "x/y="}, {"partNumber", "10"}, {"a-b", "1"},   {"a", "2"},
				  {"a", "10"},		{"A", "z"},	      {"uploads", ""}};
	_cleanup_(buffer_done) struct buffer b;
	buffer_init(&b, 256);
	assert_int_equal(s3_query_format(&b, query, ARRAY_SIZE(query)), 0);
	assert_string_equal(b.data, "A=z&a=10&a=2&a-b=1&partNumber=10&uploadId=x%2Fy%3D&uploads=");
}

static void test_values_are_trimmed_and_tokens_signed(void **state _unused_)
{
	struct s3_credentials c = example;
	c.session_token = "token/with+signs==";
	struct s3_pair loose[] = {{"X-Amz-Meta-B", "  two   words\t"}, {"x-amz-meta-a", ""}};
	struct s3_pair tight[] = {{"x-amz-meta-a", ""}, {"x-amz-meta-b", "two words"}};
	_cleanup_(buffer_done) struct buffer a, b;
	char date[S3_DATE_BYTES];
	struct error e = {0};
	buffer_init(&a, 4096);
	buffer_init(&b, 4096);
	struct s3_sign_request r = {.method = "HEAD",
				    .host = EXAMPLE_HOST,
				    .path = "/",
				    .headers = loose,
				    .n_headers = 2,
				    .payload_sha256 = S3_UNSIGNED_PAYLOAD,
				    .region = "eu-central-1",
				    .wall_us = EXAMPLE_US};
	assert_int_equal(s3_sign(&r, &c, &a, date, &e), 0);
	r.headers = tight;
	assert_int_equal(s3_sign(&r, &c, &b, date, &e), 0);
	assert_string_equal(a.data, b.data);
	assert_non_null(strstr(a.data, "host;x-amz-content-sha256;x-amz-date;x-amz-meta-a;x-amz-meta-b;"
				       "x-amz-security-token,"));
}

static void test_what_cannot_be_signed(void **state _unused_)
{
	static const struct s3_pair broken[] = {{"x-amz-meta-a", "1\r\nhost: other"}, {"x\n", "1"}, {"HOST", "other"}};
	_cleanup_(buffer_done) struct buffer b;
	char date[S3_DATE_BYTES];
	struct error e = {0};
	buffer_init(&b, 4096);
	for (size_t i = 0; i < ARRAY_SIZE(broken); i++) {
		struct s3_sign_request r = {.method = "GET",
					    .host = EXAMPLE_HOST,
					    .path = "/",
					    .headers = &broken[i],
					    .n_headers = 1,
					    .payload_sha256 = EMPTY_SHA256,
					    .region = "us-east-1"};
		assert_int_equal(s3_sign(&r, &example, &b, date, &e), ERR_REJECT);
		assert_null(strstr(e.text, "other"));
	}
	assert_int_equal(b.size, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_get_with_range),
	    cmocka_unit_test(test_put),
	    cmocka_unit_test(test_get_lifecycle),
	    cmocka_unit_test(test_list_objects),
	    cmocka_unit_test(test_presigned_get),
	    cmocka_unit_test(test_escaping),
	    cmocka_unit_test(test_query_is_sorted_by_name_then_value),
	    cmocka_unit_test(test_values_are_trimmed_and_tokens_signed),
	    cmocka_unit_test(test_what_cannot_be_signed),
	};
	return cmocka_run_group_tests_name("s3_sign", tests, NULL, NULL);
}
