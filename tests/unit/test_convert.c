/* with: services/transcoder/[a-z]*.c */
/* Conversions in this process, on plain files, for the sanitizers; what comes out is judged by the integration test. */
#include "../../services/transcoder/canvas.h"
#include "../../services/transcoder/convert.h"
#include "../../services/transcoder/media_log.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <sys/mman.h>

#include <cmocka.h>

static int convert(const char *name, struct facts *ret, struct error *e)
{
	char path[256];
	struct media_io input, outputs[OUTPUT_MAX];
	int fds[OUTPUT_MAX];
	struct convert_job job = {.input = &input, .encoder_threads = 1};
	(void)snprintf(path, sizeof(path), "tests/fixtures/%s", name);
	_cleanup_(closep) int in = open(path, O_RDONLY | O_CLOEXEC);
	assert_true(in >= 0);
	media_io_init(&input, &media_io_plain, &in);
	for (int i = 0; i < OUTPUT_MAX; i++) {
		fds[i] = memfd_create(name, MFD_CLOEXEC);
		media_io_init(&outputs[i], &media_io_plain, &fds[i]);
		job.outputs[i] = &outputs[i];
	}
	int r = convert_run(&job, ret, e);
	for (int i = 0; i < OUTPUT_MAX; i++)
		(void)close(fds[i]);
	return r;
}

static void fixtures_are_converted(void **state)
{
	(void)state;
	static const struct {
		const char *name;
		bool copied, pictures;
	} expected[] = {
	    {"mic-opus.mp4", false, false},
	    {"cam-h264-opus.mkv", true, true},
	    {"phone-rotated90-h264-aac.mp4", true, true},
	    {"tab-static-vp9-opus.webm", false, true},
	    {"bad-two-recordings-joined.webm", false, true},
	    {"tab-resize-avc1-opus-broken.mp4", false, true},
	};
	for (size_t i = 0; i < ARRAY_SIZE(expected); i++) {
		struct facts f;
		struct error e = {0};
		if (convert(expected[i].name, &f, &e) < 0)
			fail_msg("%s: %s", expected[i].name, e.text);
		assert_int_equal(f.video_copied, expected[i].copied);
		assert_true(f.outputs[OUTPUT_MAIN].made && f.outputs[OUTPUT_MAIN].bytes > 0);
		assert_int_equal(f.outputs[OUTPUT_SNAPSHOT].made, expected[i].pictures);
	}
}

static void garbage_is_refused(void **state)
{
	(void)state;
	struct facts f;
	assert_int_equal(convert("bad-random-bytes.webm", &f, NULL), ERR_REJECT);
	assert_int_equal(convert("bad-html-named-webm.webm", &f, NULL), ERR_REJECT);
	assert_int_equal(convert("bad-zero-bytes.webm", &f, NULL), ERR_REJECT);
}

/* A file whose reading fails in the middle, or whose writing does. */
struct failing {
	int fd;
	uint64_t until;
	int code;
};

static int failing_read(void *file, uint64_t offset, void *data, size_t n, size_t *ret_n, struct error *e)
{
	struct failing *f = file;
	if (offset + n > f->until)
		return error_set(e, f->code, "broken at %lu", (unsigned long)offset);
	return media_io_plain.read(&f->fd, offset, data, n, ret_n, e);
}

static int failing_size(void *file, uint64_t *ret, struct error *e)
{
	return media_io_plain.size(&((struct failing *)file)->fd, ret, e);
}

static int failing_write(void *file, uint64_t offset, const void *data, size_t n, struct error *e)
{
	struct failing *f = file;
	if (offset + n > f->until)
		return error_set(e, f->code, "full at %lu", (unsigned long)offset);
	return media_io_plain.write(&f->fd, offset, data, n, e);
}

static int failing_clear(void *file, struct error *e)
{
	return media_io_plain.clear(&((struct failing *)file)->fd, e);
}

static int failing_finish(void *file, struct error *e)
{
	return media_io_plain.finish(&((struct failing *)file)->fd, e);
}

static const struct media_io_functions FAILING = {failing_read, failing_write, failing_clear, failing_finish,
						  failing_size};

/* FFmpeg takes a failed read for the end of the file or for bad data: neither may pass for a result. */
static void failures_of_files_win(void **state)
{
	(void)state;
	static const char *const names[] = {"cam-vp8-opus.webm", "cam-avc1-opus-longgop.mp4"};
	static const uint64_t untils[] = {0, 100, 40000, 200000, 300000};
	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		for (size_t k = 0; k < ARRAY_SIZE(untils); k++) {
			char path[256];
			struct facts f;
			struct error e = {0};
			struct media_io input, output;
			(void)snprintf(path, sizeof(path), "tests/fixtures/%s", names[i]);
			struct failing from = {open(path, O_RDONLY | O_CLOEXEC), untils[k], ERR_CORRUPT};
			struct failing to = {memfd_create("main", MFD_CLOEXEC), UINT64_MAX, ERR_FULL};
			struct convert_job job = {.input = &input, .outputs = {&output}, .encoder_threads = 1};
			media_io_init(&input, &FAILING, &from);
			media_io_init(&output, &FAILING, &to);
			assert_int_equal(convert_run(&job, &f, &e), ERR_CORRUPT);

			from.until = UINT64_MAX;
			to.until = untils[k] / 2;
			media_io_init(&input, &FAILING, &from);
			media_io_init(&output, &FAILING, &to);
			int r = convert_run(&job, &f, &e);
			assert_true(r == ERR_FULL || (r == 0 && f.outputs[OUTPUT_MAIN].bytes <= to.until));
			(void)close(from.fd);
			(void)close(to.fd);
		}
}

static void assert_size(struct canvas_size s, int width, int height)
{
	assert_int_equal(s.width, width);
	assert_int_equal(s.height, height);
}

static void canvas_sizes(void **state)
{
	(void)state;
	const AVRational square = {0, 1};
	assert_size(canvas_size_of(641, 481, square, 0), 640, 480);
	assert_size(canvas_size_of(640, 360, square, 90), 360, 640);
	assert_size(canvas_size_of(720, 576, (AVRational){16, 15}, 0), 768, 576);
	assert_size(canvas_size_of(720, 576, (AVRational){1000, 1}, 0), 720, 576);
	assert_size(canvas_size_of(7680, 4320, square, 0), 3840, 2160);
	assert_size(canvas_size_of(5120, 1440, square, 0), 3840, 1080);
	assert_size(canvas_size_of(4320, 7680, square, 0), 2160, 3840);
	assert_size(canvas_size_of(1, 1, square, 0), 2, 2);
	assert_size(canvas_fit((struct canvas_size){480, 640}, (struct canvas_size){1280, 632}), 474, 632);
	assert_size(canvas_fit((struct canvas_size){2, 4000}, (struct canvas_size){1280, 632}), 2, 632);
	assert_int_equal(canvas_rotation(NULL), 0);
	const int32_t clockwise[9] = {0, 65536, 0, -65536, 0, 0, 0, 0, 1 << 30};
	assert_int_equal(canvas_rotation(clockwise), 90);
	const int32_t nothing[9] = {0};
	assert_int_equal(canvas_rotation(nothing), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(fixtures_are_converted),
	    cmocka_unit_test(garbage_is_refused),
	    cmocka_unit_test(failures_of_files_win),
	    cmocka_unit_test(canvas_sizes),
	};
	media_log_init();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
