/* with: services/ingest/multipart.c */
#include "../../services/ingest/multipart.h"

#include "base/buffer.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#define TYPE "multipart/form-data; boundary=\"x y\""
#define FILE_HEAD                                                                               \
	"--x y\r\nContent-Disposition: form-data; name=\"f\"; filename=\"a \\\"b\\\".mp4\"\r\n" \
	"Content-Type: video/mp4\r\n\r\n"

static int collect(void *arg, const void *data, size_t n, struct error *e)
{
	if (buffer_append(arg, data, n) < 0)
		return error_set(e, ERR_FULL, "enough");
	return 0;
}

/* Feeds `body` in pieces; the file's bytes come to `got`. The parser's result. */
static int feed(const char *body, size_t n, size_t piece, struct buffer *got, struct multipart_file *file)
{
	_cleanup_(multipart_freep) struct multipart *m = NULL;
	struct error e = {0};
	assert_int_equal(multipart_new(TYPE, collect, got, &m, &e), 0);
	int r = 0;
	for (size_t at = 0; at < n && r == 0; at += piece)
		r = multipart_feed(m, body + at, MIN(piece, n - at), &e);
	if (r == 0)
		r = multipart_finish(m, &e);
	if (file)
		*file = *multipart_file(m);
	return r;
}

static void the_file_comes_out_whatever_the_pieces(void **state)
{
	(void)state;
	/* all beginnings of a delimiter within the bytes */
	static const char data[] = "\r\n\r\n-\r\n--\r\r\n--x\r\n--x \r\n--xy\r\n--x\r\n--x z\r";
	static const char body[] =
	    "preamble\r\n--x y\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\nnot this\r\n" FILE_HEAD
	    "\r\n\r\n-\r\n--\r\r\n--x\r\n--x \r\n--xy\r\n--x\r\n--x z\r"
	    "\r\n--x y \t\r\nContent-Disposition: form-data; name=\"g\"; filename=\"second\"\r\n\r\nnor this\r\n--x "
	    "y--\r\nepilogue";
	for (size_t piece = 1; piece <= sizeof(body); piece++) {
		struct buffer got;
		struct multipart_file file;
		buffer_init(&got, 1000);
		assert_int_equal(feed(body, sizeof(body) - 1, piece, &got, &file), 0);
		assert_int_equal(got.size, sizeof(data) - 1);
		assert_memory_equal(got.data, data, sizeof(data) - 1);
		assert_string_equal(file.name, "a \"b\".mp4");
		assert_string_equal(file.type, "video/mp4");
		buffer_done(&got);
	}
}

static void an_empty_file_is_a_file(void **state)
{
	(void)state;
	static const char body[] = FILE_HEAD "\r\n--x y--";
	struct buffer got;
	buffer_init(&got, 10);
	assert_int_equal(feed(body, sizeof(body) - 1, 3, &got, NULL), 0);
	assert_int_equal(got.size, 0);
	buffer_done(&got);
}

static void malformed_bodies_are_refused(void **state)
{
	(void)state;
	const char *const wrong[] = {
	    "",
	    "no delimiter at all",
	    "--x y--\r\n",							       /* no part */
	    "--x y\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\nv\r\n--x y--", /* no file */
	    FILE_HEAD "bytes",							       /* torn */
	    FILE_HEAD "bytes\r\n--x y",						       /* torn in the delimiter */
	    FILE_HEAD "bytes\r\n--x yz--",					       /* a delimiter that goes on */
	    "--x y\r\nContent-Disposition",					       /* torn head */
	};
	for (size_t i = 0; i < ARRAY_SIZE(wrong); i++) {
		struct buffer got;
		buffer_init(&got, 100);
		assert_int_equal(feed(wrong[i], strlen(wrong[i]), 5, &got, NULL), ERR_REJECT);
		buffer_done(&got);
	}
	_cleanup_(freep) char *head = malloc(2 * MULTIPART_HEAD_BYTES);
	assert_non_null(head);
	memset(head, 'a', 2 * MULTIPART_HEAD_BYTES);
	memcpy(head, "--x y\r\n", 7);
	struct buffer got;
	buffer_init(&got, 100);
	assert_int_equal(feed(head, 2 * MULTIPART_HEAD_BYTES, 1000, &got, NULL), ERR_REJECT);
	buffer_done(&got);
}

static void boundaries_are_read_strictly(void **state)
{
	(void)state;
	const char *const wrong[] = {
	    "multipart/form-data",
	    "multipart/form-data; boundary=",
	    "multipart/form-data; boundary=\"\"",
	    "multipart/form-data; boundary=\"a\rb\"",
	    "multipart/form-data; boundary=aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
	    "multipart/mixed; boundary=a",
	};
	for (size_t i = 0; i < ARRAY_SIZE(wrong); i++) {
		struct multipart *m = NULL;
		struct error e = {0};
		assert_int_equal(multipart_new(wrong[i], collect, NULL, &m, &e), ERR_REJECT);
	}
	assert_true(multipart_is("Multipart/Form-Data; boundary=a"));
	assert_false(multipart_is("video/webm"));
	assert_false(multipart_is(NULL));
}

static void the_sinks_refusal_ends_it(void **state)
{
	(void)state;
	static const char body[] = FILE_HEAD "more than fits\r\n--x y--";
	struct buffer got;
	buffer_init(&got, 5);
	assert_int_equal(feed(body, sizeof(body) - 1, 100, &got, NULL), ERR_FULL);
	buffer_done(&got);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(the_file_comes_out_whatever_the_pieces),
	    cmocka_unit_test(an_empty_file_is_a_file),
	    cmocka_unit_test(malformed_bodies_are_refused),
	    cmocka_unit_test(boundaries_are_read_strictly),
	    cmocka_unit_test(the_sinks_refusal_ends_it),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
