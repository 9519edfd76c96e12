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

/* What came out of a form. */
struct got {
	struct buffer bytes, fields; /* "name=value;" */
	struct multipart_file file;
	unsigned files;
};

static int on_bytes(void *arg, const void *data, size_t n, struct error *e)
{
	if (buffer_append(&((struct got *)arg)->bytes, data, n) < 0)
		return error_set(e, ERR_FULL, "enough");
	return 0;
}

static int on_file(void *arg, const struct multipart_file *file, struct error *e)
{
	(void)e;
	struct got *g = arg;
	g->file = *file;
	g->files++;
	return 0;
}

static int on_field(void *arg, const char *name, const char *value, struct error *e)
{
	if (strcmp(name, "refused") == 0)
		return error_set(e, ERR_DENIED, "refused");
	return buffer_printf(&((struct got *)arg)->fields, "%s=%s;", name, value);
}

static const struct multipart_callbacks callbacks = {.on_field = on_field, .on_file = on_file, .on_bytes = on_bytes};

static void got_init(struct got *g, size_t limit)
{
	*g = (struct got){0};
	buffer_init(&g->bytes, limit);
	buffer_init(&g->fields, 20000);
}

static void got_done(struct got *g)
{
	buffer_done(&g->bytes);
	buffer_done(&g->fields);
}

/* Feeds `body` in pieces; what comes out goes to `got`. The parser's result. */
static int feed(const char *body, size_t n, size_t piece, struct got *got)
{
	_cleanup_(multipart_freep) struct multipart *m = NULL;
	struct error e = {0};
	assert_int_equal(multipart_new(TYPE, &callbacks, got, &m, &e), 0);
	int r = 0;
	for (size_t at = 0; at < n && r == 0; at += piece)
		r = multipart_feed(m, body + at, MIN(piece, n - at), &e);
	return r == 0 ? multipart_finish(m, &e) : r;
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
		struct got got;
		got_init(&got, 1000);
		assert_int_equal(feed(body, sizeof(body) - 1, piece, &got), 0);
		assert_int_equal(got.bytes.size, sizeof(data) - 1);
		assert_memory_equal(got.bytes.data, data, sizeof(data) - 1);
		assert_int_equal(got.files, 1);
		assert_string_equal(got.file.name, "a \"b\".mp4");
		assert_string_equal(got.file.type, "video/mp4");
		assert_string_equal(got.fields.data, "a=not this;");
		got_done(&got);
	}
}

static void an_empty_file_is_a_file(void **state)
{
	(void)state;
	static const char body[] = FILE_HEAD "\r\n--x y--";
	struct got got;
	got_init(&got, 10);
	assert_int_equal(feed(body, sizeof(body) - 1, 3, &got), 0);
	assert_int_equal(got.bytes.size, 0);
	assert_int_equal(got.files, 1);
	got_done(&got);
}

static void fields_come_whole_or_not_at_all(void **state)
{
	(void)state;
#define FIELD(name, value) "--x y\r\nContent-Disposition: form-data; " name "\r\n\r\n" value "\r\n"
	static const char body[] = FIELD("name=token", "v4.public.abc") FIELD("name=\"empty\"", "")
	    FIELD("name=\"a;name=b\"", "\r\n-- \r") FIELD("name=\"zero\"", "\0") FIELD("", "nameless") FILE_HEAD
	    "x\r\n" FIELD("name=last", "late") "--x y--";
	static const char want[] = "token=v4.public.abc;empty=;a;name=b=\r\n-- \r;last=late;";
	for (size_t piece = 1; piece < 40; piece++) {
		struct got got;
		got_init(&got, 10);
		assert_int_equal(feed(body, sizeof(body) - 1, piece, &got), 0);
		assert_string_equal(got.fields.data, want);
		got_done(&got);
	}
	for (size_t n = MULTIPART_FIELD_BYTES - 1; n < MULTIPART_FIELD_BYTES + 2; n++) {
		struct buffer form;
		struct got got;
		_cleanup_(freep) char *value = calloc(1, n + 1);
		memset(value, 'v', n);
		got_init(&got, 10);
		buffer_init(&form, 3 * MULTIPART_FIELD_BYTES);
		assert_int_equal(buffer_printf(&form, FIELD("name=f", "%s") FILE_HEAD "x\r\n--x y--", value), 0);
		assert_int_equal(feed(form.data, form.size, 100, &got), 0);
		assert_int_equal(got.fields.size, n <= MULTIPART_FIELD_BYTES ? n + 3 : 0);
		buffer_done(&form);
		got_done(&got);
	}
	struct got got;
	got_init(&got, 10);
	static const char refused[] = FIELD("name=refused", "x");
	assert_int_equal(feed(refused, sizeof(refused) - 1, 100, &got), ERR_REJECT);
	static const char denied[] = FIELD("name=refused", "x") FILE_HEAD "x\r\n--x y--";
	assert_int_equal(feed(denied, sizeof(denied) - 1, 100, &got), ERR_DENIED);
	got_done(&got);
}

static void parameters_are_told_from_what_looks_like_them(void **state)
{
	(void)state;
	char value[8];
	static const char header[] =
	    "form-data; filename=\"a; name=b\"; Name = no; name=x y; c=\"\\\"d\\\\\"; e=\"open";
	assert_true(multipart_parameter(header, "name", value, sizeof(value)));
	assert_string_equal(value, "x");
	assert_true(multipart_parameter(header, "c", value, sizeof(value)));
	assert_string_equal(value, "\"d\\");
	assert_true(multipart_parameter(header, "e", value, sizeof(value)));
	assert_string_equal(value, "open");
	assert_false(multipart_parameter(header, "filename", value, sizeof(value)));
	assert_false(multipart_parameter(header, "ame", value, sizeof(value)));
	assert_false(multipart_parameter("form-data; name", "name", value, sizeof(value)));
	assert_false(multipart_parameter("", "name", value, sizeof(value)));
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
		struct got got;
		got_init(&got, 100);
		assert_int_equal(feed(wrong[i], strlen(wrong[i]), 5, &got), ERR_REJECT);
		got_done(&got);
	}
	_cleanup_(freep) char *head = malloc(2 * MULTIPART_HEAD_BYTES);
	assert_non_null(head);
	memset(head, 'a', 2 * MULTIPART_HEAD_BYTES);
	memcpy(head, "--x y\r\n", 7);
	struct got got;
	got_init(&got, 100);
	assert_int_equal(feed(head, 2 * MULTIPART_HEAD_BYTES, 1000, &got), ERR_REJECT);
	got_done(&got);
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
		assert_int_equal(multipart_new(wrong[i], &callbacks, NULL, &m, &e), ERR_REJECT);
	}
	assert_true(multipart_is("Multipart/Form-Data; boundary=a"));
	assert_false(multipart_is("video/webm"));
	assert_false(multipart_is(NULL));
}

static void the_sinks_refusal_ends_it(void **state)
{
	(void)state;
	static const char body[] = FILE_HEAD "more than fits\r\n--x y--";
	struct got got;
	got_init(&got, 5);
	assert_int_equal(feed(body, sizeof(body) - 1, 100, &got), ERR_FULL);
	got_done(&got);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(the_file_comes_out_whatever_the_pieces),
	    cmocka_unit_test(an_empty_file_is_a_file),
	    cmocka_unit_test(fields_come_whole_or_not_at_all),
	    cmocka_unit_test(parameters_are_told_from_what_looks_like_them),
	    cmocka_unit_test(malformed_bodies_are_refused),
	    cmocka_unit_test(boundaries_are_read_strictly),
	    cmocka_unit_test(the_sinks_refusal_ends_it),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
