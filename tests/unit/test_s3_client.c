#include "net/s3_request.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
/* after the headers it needs */
#include <cmocka.h>

static const struct s3_credentials credentials = {"key", "secret", NULL};

static int make(const struct s3_config *config, struct s3_client **ret)
{
	struct error e = {0};
	int r = s3_client_new(config, &credentials, ret, &e);
	assert_true(r == 0 || e.text[0] != '\0');
	return r;
}

static void test_hosts_and_paths(void **state _unused_)
{
	static const struct {
		struct s3_config config;
		const char *host, *path;
		bool https;
	} cases[] = {
	    {{.bucket = "takes"}, "takes.s3.us-east-1.amazonaws.com", "/a%20b/c", true},
	    {{.bucket = "takes", .region = "eu-west-3"}, "takes.s3.eu-west-3.amazonaws.com", "/a%20b/c", true},
	    {{.bucket = "takes", .path_style = true}, "s3.us-east-1.amazonaws.com", "/takes/a%20b/c", true},
	    {{.bucket = "takes", .endpoint = "https://s3.example:9000"}, "takes.s3.example:9000", "/a%20b/c", true},
	    /* the scheme's own port is not part of the Host header */
	    {{.bucket = "takes", .endpoint = "https://s3.example:443/"}, "takes.s3.example", "/a%20b/c", true},
	    {{.bucket = "takes", .endpoint = "http://[::1]:80", .path_style = true}, "[::1]", "/takes/a%20b/c", false},
	    {{.bucket = "Old_Takes", .path_style = true}, "s3.us-east-1.amazonaws.com", "/Old_Takes/a%20b/c", true},
	};
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		_cleanup_(s3_client_freep) struct s3_client *c = NULL;
		_cleanup_(buffer_done) struct buffer path;
		buffer_init(&path, 256);
		assert_int_equal(make(&cases[i].config, &c), 0);
		assert_string_equal(c->host, cases[i].host);
		assert_int_equal(c->https, cases[i].https);
		assert_int_equal(s3_path(c, "a b/c", &path), 0);
		assert_string_equal(path.data, cases[i].path);
	}
}

static void test_what_cannot_be(void **state _unused_)
{
	static const struct s3_config refused[] = {
	    {.bucket = NULL},
	    {.bucket = ""},
	    {.bucket = "ab"},
	    {.bucket = "a/b"},
	    {.bucket = "Takes"},
	    {.bucket = "my.takes"}, /* no certificate covers my.takes.s3... */
	    {.bucket = ".takes", .path_style = true},
	    {.bucket = "a..b", .path_style = true},
	    {.bucket = "takes@evil.example"},
	    {.bucket = "takes", .endpoint = "ftp://s3.example"},
	    {.bucket = "takes", .endpoint = "file:///etc/passwd"},
	    {.bucket = "takes", .endpoint = "s3.example"},
	    {.bucket = "takes", .endpoint = "https://user:pw@s3.example"},
	    {.bucket = "takes", .endpoint = "https://s3.example/path"},
	    {.bucket = "takes", .endpoint = "https://s3.example?x=1"},
	    {.bucket = "takes", .endpoint = "https://s3.example#x"},
	    {.bucket = "takes", .region = "eu west"},
	    {.bucket = "takes", .region = "x/../../y"},
	    {.bucket = "takes", .storage_class = "A\r\nB: C"},
	    {.bucket = "takes", .encryption = "A B"},
	    {.bucket = "takes", .part_bytes = S3_PART_BYTES_MIN - 1},
	    {.bucket = "takes", .part_bytes = GIB},
	};
	for (size_t i = 0; i < ARRAY_SIZE(refused); i++) {
		struct s3_client *c = NULL;
		if (make(&refused[i], &c) != ERR_REJECT)
			fail_msg("case %zu was accepted", i);
		assert_null(c);
	}
}

static void test_classes(void **state _unused_)
{
	static const struct {
		long status;
		const char *code;
		int class;
		bool again;
	} cases[] = {
	    {403, "SignatureDoesNotMatch", ERR_RETRY, false},
	    {403, "", ERR_RETRY, false},
	    {404, "NoSuchKey", ERR_NOTFOUND, false},
	    {404, "NoSuchBucket", ERR_RETRY, false},
	    {404, "", ERR_RETRY, false}, /* may come from anything */
	    {400, "KeyTooLongError", ERR_REJECT, false},
	    {400, "BadDigest", ERR_RETRY, true},
	    {400, "InvalidArgument", ERR_RETRY, false},
	    {412, "PreconditionFailed", ERR_CONFLICT, false},
	    {500, "InternalError", ERR_RETRY, true},
	    {501, "NotImplemented", ERR_NOTFOUND, false},
	    {503, "SlowDown", ERR_RETRY, true},
	    {429, "", ERR_RETRY, true},
	    {301, "PermanentRedirect", ERR_RETRY, false},
	};
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		bool again = !cases[i].again;
		assert_int_equal(s3_classify(cases[i].status, cases[i].code, &again), cases[i].class);
		assert_int_equal(again, cases[i].again);
	}
}

static void test_keys(void **state _unused_)
{
	char key[1026];
	struct error e = {0};
	memset(key, 'k', sizeof key);
	key[1025] = '\0';
	assert_int_equal(s3_check_key(key, &e), ERR_REJECT);
	key[1024] = '\0';
	assert_int_equal(s3_check_key(key, &e), 0);
	assert_int_equal(s3_check_key("", &e), ERR_REJECT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_hosts_and_paths),
	    cmocka_unit_test(test_what_cannot_be),
	    cmocka_unit_test(test_classes),
	    cmocka_unit_test(test_keys),
	};
	return cmocka_run_group_tests_name("s3_client", tests, NULL, NULL);
}
