#include "net/http_body.h"
#include "net/http_parse.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

static const struct http_parse_limits limits = {.head_bytes_max = 1024, .target_bytes_max = 100, .headers_max = 6};

/* Looks for the head byte by byte, as a slow client sends it, and reads it: the status, 0 when it is good. */
static int parse(const char *text, struct http_head *ret)
{
	size_t n = strlen(text), scanned = 0, length = 0;
	const char *reason = NULL;
	for (size_t have = 0; have <= n && length == 0; have++) {
		int status = http_head_find(text, have, &limits, &scanned, &length, &reason);
		if (status != 0)
			return status;
	}
	if (length == 0)
		return -1;
	return http_head_parse(text, length, &limits, ret, &reason);
}

static int status_of(const char *text)
{
	struct http_head head = {0};
	int status = parse(text, &head);
	http_head_done(&head);
	return status;
}

static void test_reads_a_request(void **state _unused_)
{
	struct http_head h = {0};
	assert_int_equal(parse("GET /v1/a%20b?x=1&y HTTP/1.1\r\nHost: example.org:8443\r\nAccept:  text/html \t\r\n"
			       "Connection: keep-alive, Upgrade\r\nX-Empty:\r\n\r\nrest",
			       &h),
			 0);
	assert_string_equal(h.method, "GET");
	assert_string_equal(h.path, "/v1/a%20b");
	assert_string_equal(h.query, "x=1&y");
	assert_string_equal(http_head_field(&h, "ACCEPT"), "text/html");
	assert_string_equal(http_head_field(&h, "x-empty"), "");
	assert_null(http_head_field(&h, "x-none"));
	assert_true(h.upgrade && h.keep_alive && !h.chunked && h.content_length == 0);
	assert_true(http_head_has_token(&h, "connection", "KEEP-ALIVE"));
	assert_false(http_head_has_token(&h, "connection", "keep"));
	http_head_done(&h);
}

static void test_reads_absolute_targets(void **state _unused_)
{
	struct http_head h = {0};
	assert_int_equal(parse("GET http://a.example/x?y HTTP/1.1\r\nHost: a.example\r\n\r\n", &h), 0);
	assert_string_equal(h.path, "/x");
	assert_string_equal(h.query, "y");
	http_head_done(&h);
	assert_int_equal(parse("GET https://a.example?y HTTP/1.1\r\nHost: a.example\r\n\r\n", &h), 0);
	assert_string_equal(h.path, "/");
	assert_string_equal(h.query, "y");
	http_head_done(&h);
	assert_int_equal(status_of("GET ftp://a/x HTTP/1.1\r\nHost: a\r\n\r\n"), 400);
	assert_int_equal(status_of("GET * HTTP/1.1\r\nHost: a\r\n\r\n"), 400);
	assert_int_equal(status_of("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n"), 0);
}

static void test_refuses(void **state _unused_)
{
	static const struct {
		int status;
		const char *text;
	} cases[] = {
	    {400, "GET / HTTP/1.1\r\n\r\n"},
	    {400, "GET / HTTP/1.1\r\nHost:\r\n\r\n"},
	    {400, "GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n"},
	    {400, "GET / HTTP/1.1\r\nHost: a/b\r\n\r\n"},
	    {400, "GET / HTTP/1.1\r\nHost: a b\r\n\r\n"},
	    {400, "GET / HTTP/1.1\r\nHost: a@b\r\n\r\n"},
	    {400, "GET / HTTP/1.1\r\nHost: a:123456\r\n\r\n"},
	    {0, "GET / HTTP/1.1\r\nHost: [::1]:80\r\n\r\n"},
	    {400, "GET / HTTP/1.1\r\nHost: [::1\r\n\r\n"},
	    {400, "GET / HTTP/1.1\nHost: a\n\n"},
	    {400, "GET / HTTP/1.1\r\nHost: a\r\nX: b\rc\r\n\r\n"},
	    {400, "GET / HTTP/1.1\r\nHost: a\r\nX: b\r\n folded\r\n\r\n"},
	    {400, "GET / HTTP/1.1\r\n Host: a\r\n\r\n"},
	    {400, "GET / HTTP/1.1\r\nHost : a\r\n\r\n"},
	    {400, "GET / HTTP/1.1\r\nHost: a\r\nnocolon\r\n\r\n"},
	    {400, "GET / HTTP/1.1\r\nHost: a\r\n: empty\r\n\r\n"},
	    {400, "GET / HTTP/1.1\r\nHost: a\r\nX: \x01\r\n\r\n"},
	    {400, "GET  / HTTP/1.1\r\nHost: a\r\n\r\n"},
	    {400, "GET /  HTTP/1.1\r\nHost: a\r\n\r\n"},
	    {400, "GET /a b HTTP/1.1\r\nHost: a\r\n\r\n"},
	    {400, "GET /#f HTTP/1.1\r\nHost: a\r\n\r\n"},
	    {400, "GET /\xc3\xa4 HTTP/1.1\r\nHost: a\r\n\r\n"},
	    {400, "GET / HTTP/1.1 \r\nHost: a\r\n\r\n"},
	    {400, "GET /\r\nHost: a\r\n\r\n"},
	    {400, "\x16\x03\x01\x02"},
	    {505, "GET / HTTP/2.0\r\nHost: a\r\n\r\n"},
	    {505, "GET / HTTP/1.2\r\nHost: a\r\n\r\n"},
	    {501, "BREW / HTTP/1.1\r\nHost: a\r\n\r\n"},
	    {501, "get / HTTP/1.1\r\nHost: a\r\n\r\n"},
	    {501, "CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n"},
	    {0, "GET / HTTP/1.0\r\n\r\n"},
	    /* framing */
	    {400, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n"},
	    {400, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n"},
	    {400, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1, 1\r\n\r\n"},
	    {400, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +1\r\n\r\n"},
	    {400, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n"},
	    {400, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0x1\r\n\r\n"},
	    {400, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length:\r\n\r\n"},
	    {400, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999\r\n\r\n"},
	    {501, "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n"},
	    {501, "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n"},
	    {400, "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n"},
	    {400, "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding : chunked\r\n\r\n"},
	    {400, "POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"},
	    {0, "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: Chunked\r\n\r\n"},
	    {417, "POST / HTTP/1.1\r\nHost: a\r\nExpect: 200-ok\r\n\r\n"},
	    {400, "GET / HTTP/1.1\r\nHost: a\r\nAuthorization: a\r\nAuthorization: b\r\n\r\n"},
	    /* limits */
	    {431, "GET / HTTP/1.1\r\nHost: a\r\nA: 1\r\nB: 1\r\nC: 1\r\nD: 1\r\nE: 1\r\nF: 1\r\n\r\n"},
	    {0, "GET / HTTP/1.1\r\nHost: a\r\nA: 1\r\nB: 1\r\nC: 1\r\nD: 1\r\nE: 1\r\n\r\n"},
	};
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
		if (status_of(cases[i].text) != cases[i].status)
			fail_msg("case %zu gave %d, not %d: %s", i, status_of(cases[i].text), cases[i].status,
				 cases[i].text);
}

/* An empty value once swallowed the first byte of the next header's name, which hid that header. */
static void test_empty_values_hide_nothing(void **state _unused_)
{
	static const char *const empty[] = {"X:", "X: ", "X:  \t", "Connection:", "Connection: ", "Upgrade:"};
	for (size_t i = 0; i < ARRAY_SIZE(empty); i++) {
		char text[256];
		struct http_head h = {0};
		(void)snprintf(text, sizeof(text),
			       "POST / HTTP/1.1\r\nHost: a\r\n%s\r\nTransfer-Encoding: chunked\r\nLast: z\r\n\r\n",
			       empty[i]);
		assert_int_equal(parse(text, &h), 0);
		assert_true(h.chunked);
		assert_string_equal(h.fields[1].value, "");
		assert_string_equal(http_head_field(&h, "last"), "z");
		http_head_done(&h);
	}
}

static void test_limits_sizes(void **state _unused_)
{
	char text[3000];
	(void)snprintf(text, sizeof(text), "GET /%0120d HTTP/1.1\r\nHost: a\r\n\r\n", 0);
	assert_int_equal(status_of(text), 414);
	(void)snprintf(text, sizeof(text), "GET /%02000d", 0);
	assert_int_equal(status_of(text), 414);
	(void)snprintf(text, sizeof(text), "GET / HTTP/1.1\r\nHost: a\r\nX: %02000d\r\n\r\n", 0);
	assert_int_equal(status_of(text), 431);
	/* exactly at the limit */
	(void)snprintf(text, sizeof(text), "GET / HTTP/1.1\r\nHost: a\r\nX: %0*d\r\n\r\n", 1024 - 32, 0);
	assert_int_equal(strlen(text), 1024);
	assert_int_equal(status_of(text), 0);
}

static void test_decodes(void **state _unused_)
{
	char out[64];
	assert_true(http_decode("a%20b+c", 7, false, out));
	assert_string_equal(out, "a b+c");
	assert_true(http_decode("a%20b+c", 7, true, out));
	assert_string_equal(out, "a b c");
	assert_true(http_decode("%C3%a4", 6, false, out));
	assert_string_equal(out, "\xc3\xa4");
	static const char *const bad[] = {"%", "%4", "%zz", "%00", "%0a", "%c3", "%c0%80", "%ed%a0%80", "%f5%80%80%80"};
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		assert_false(http_decode(bad[i], strlen(bad[i]), false, out));
}

/* Feeds pieces of `step` bytes; the joined body in `out`. Returns DONE, MORE or BAD, and what was left over. */
static enum http_body_result run_body(const struct http_head *head, const char *text, size_t step, char *out,
				      size_t *ret_left)
{
	struct http_body b;
	http_body_init(&b, head);
	size_t n = strlen(text), at = 0, out_n = 0, end = 0;
	enum http_body_result result = HTTP_BODY_MORE;
	while (result == HTTP_BODY_MORE || result == HTTP_BODY_PIECE) {
		if (result == HTTP_BODY_MORE && end == n && at == n)
			break;
		if (at == end)
			end = MIN(n, end + step);
		size_t used = 0, piece_n = 0;
		const char *piece = NULL;
		result = http_body_next(&b, text + at, end - at, &used, &piece, &piece_n);
		at += used;
		if (result == HTTP_BODY_PIECE) {
			memcpy(out + out_n, piece, piece_n);
			out_n += piece_n;
		}
	}
	out[out_n] = '\0';
	*ret_left = n - at;
	return result;
}

static void test_reads_chunks(void **state _unused_)
{
	static const struct http_head chunked = {.chunked = true};
	char out[256];
	size_t left;
	for (size_t step = 1; step < 80; step++) {
		assert_int_equal(
		    run_body(&chunked,
			     "4\r\nWiki\r\n6;a=\"b\"\r\npedia \r\n0B\r\nin \r\nchunks\r\n0\r\nX: y\r\n\r\nGET", step,
			     out, &left),
		    HTTP_BODY_DONE);
		assert_string_equal(out, "Wikipedia in \r\nchunks");
		assert_true(left <= 3);
	}
	static const char *const bad[] = {"\r\n",	    "g\r\n",
					  " 4\r\nWiki\r\n", "4 \r\nWiki\r\n",
					  "4\nWiki\r\n",    "4\r\nWikix\r\n",
					  "4\r\nWiki\n",    "0x4\r\nWiki",
					  "-1\r\n",	    "1000000000000000\r\n",
					  "4\rWiki",	    "0\r\n X: y\r\n\r\n",
					  "0\r\n\rX\r\n",   "4;\x01\r\nWiki"};
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		if (run_body(&chunked, bad[i], 100, out, &left) != HTTP_BODY_BAD)
			fail_msg("accepted chunk case %zu: %s", i, bad[i]);
	assert_int_equal(run_body(&chunked, "4\r\nWi", 100, out, &left), HTTP_BODY_MORE);
}

static void test_limits_extensions(void **state _unused_)
{
	static const struct http_head chunked = {.chunked = true};
	char text[8192], out[16];
	size_t left;
	(void)snprintf(text, sizeof(text), "1;%05000d\r\nx\r\n", 0);
	assert_int_equal(run_body(&chunked, text, 100, out, &left), HTTP_BODY_BAD);
	(void)snprintf(text, sizeof(text), "0\r\nX: %05000d\r\n\r\n", 0);
	assert_int_equal(run_body(&chunked, text, 100, out, &left), HTTP_BODY_BAD);
}

static void test_reads_fixed_lengths(void **state _unused_)
{
	static const struct http_head five = {.content_length = 5}, none = {0};
	char out[64];
	size_t left;
	assert_int_equal(run_body(&five, "helloGET", 3, out, &left), HTTP_BODY_DONE);
	assert_string_equal(out, "hello");
	assert_int_equal(run_body(&five, "hell", 100, out, &left), HTTP_BODY_MORE);
	assert_int_equal(run_body(&none, "GET", 100, out, &left), HTTP_BODY_DONE);
	assert_int_equal(left, 3);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_reads_a_request),
	    cmocka_unit_test(test_reads_absolute_targets),
	    cmocka_unit_test(test_refuses),
	    cmocka_unit_test(test_limits_sizes),
	    cmocka_unit_test(test_empty_values_hide_nothing),
	    cmocka_unit_test(test_decodes),
	    cmocka_unit_test(test_reads_chunks),
	    cmocka_unit_test(test_limits_extensions),
	    cmocka_unit_test(test_reads_fixed_lengths),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
