/* with: services/transcoder/parts.c services/transcoder/media_io.c */
#include "../../services/transcoder/parts.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

/* A file in memory. */
struct memory {
	uint8_t data[400000];
	size_t size;
	int fail; /* the error that reading gives */
};

static int memory_read(void *file, uint64_t offset, void *data, size_t n, size_t *ret_n, struct error *e)
{
	struct memory *m = file;
	if (m->fail)
		return error_set(e, m->fail, "no luck");
	*ret_n = offset < m->size ? MIN(n, m->size - offset) : 0;
	memcpy(data, m->data + offset, *ret_n);
	return 0;
}

static int memory_size(void *file, uint64_t *ret, struct error *e)
{
	(void)e;
	*ret = ((struct memory *)file)->size;
	return 0;
}

static const struct media_io_functions MEMORY = {.read = memory_read, .size = memory_size};
static struct memory memory;
static const uint8_t WEBM[] = {0x1a, 0x45, 0xdf, 0xa3, 0x9f, 0x42, 0x86, 0x81, 1, 0x42, 0x82, 0x84, 'w', 'e', 'b', 'm'};

static int find(struct media_parts *ret)
{
	struct media_io io;
	struct error e = {0};
	media_io_init(&io, &MEMORY, &memory);
	return parts_find(&io, ret, &e);
}

static void put(size_t at, const void *data, size_t n)
{
	memcpy(memory.data + at, data, n);
}

static void clear(size_t size)
{
	memset(&memory, 0, sizeof(memory));
	memory.size = size;
}

static void formats_are_told_by_their_first_bytes(void **state)
{
	(void)state;
	bool lost;
	assert_string_equal(parts_sniff(WEBM, sizeof(WEBM), &lost), "matroska");
	assert_false(lost);
	assert_string_equal(parts_sniff(WEBM + 1, sizeof(WEBM) - 1, &lost), "matroska");
	assert_true(lost);
	assert_string_equal(parts_sniff((const uint8_t *)"OggS\0\0\0\0", 8, &lost), "ogg");
	assert_string_equal(parts_sniff((const uint8_t *)"\0\0\0\x18"
							 "ftypisom",
					12, &lost),
			    "mov");
	assert_null(parts_sniff((const uint8_t *)"#EXTM3U\n#EXT", 12, &lost));
	assert_null(parts_sniff((const uint8_t *)"RIFF....AVI ", 12, &lost));
	assert_null(parts_sniff(WEBM, 3, &lost));
	assert_null(parts_sniff(NULL, 0, &lost));
}

static void one_recording_is_one_part(void **state)
{
	(void)state;
	struct media_parts p;
	clear(1000);
	put(0, WEBM, sizeof(WEBM));
	/* the bytes of an ID alone are no recording */
	put(500, WEBM, 4);
	assert_int_equal(find(&p), 0);
	assert_int_equal(p.n, 1);
	assert_int_equal(p.part[0].end, 1000);
}

static void joined_recordings_are_found_across_borders(void **state)
{
	(void)state;
	/* around the ends of the windows that are looked through */
	for (size_t at = 65536 - 80; at < 65536 + 20; at++) {
		struct media_parts p;
		clear(200000);
		put(0, WEBM, sizeof(WEBM));
		put(at, WEBM, sizeof(WEBM));
		put(200000 - sizeof(WEBM), WEBM, sizeof(WEBM));
		assert_int_equal(find(&p), 0);
		assert_int_equal(p.n, 3);
		assert_int_equal(p.part[0].end, at);
		assert_int_equal(p.part[1].start, at);
		assert_int_equal(p.part[1].end, 200000 - sizeof(WEBM));
		assert_int_equal(p.part[2].end, 200000);
	}
}

static void many_parts_are_bounded(void **state)
{
	(void)state;
	struct media_parts p;
	clear(sizeof(memory.data));
	for (size_t at = 0; at + sizeof(WEBM) <= memory.size; at += 100)
		put(at, WEBM, sizeof(WEBM));
	assert_int_equal(find(&p), 0);
	assert_int_equal(p.n, PARTS_MAX);
	assert_int_equal(p.part[PARTS_MAX - 1].end, memory.size);
}

static void box(size_t at, uint32_t size, const char *name)
{
	const uint8_t head[8] = {(uint8_t)(size >> 24), (uint8_t)(size >> 16), (uint8_t)(size >> 8), (uint8_t)size,
				 (uint8_t)name[0],	(uint8_t)name[1],      (uint8_t)name[2],     (uint8_t)name[3]};
	put(at, head, sizeof(head));
}

static void joined_mp4_files_are_two_parts(void **state)
{
	(void)state;
	struct media_parts p;
	clear(400);
	box(0, 24, "ftyp");
	box(24, 76, "moov");
	box(100, 100, "mdat");
	box(200, 24, "ftyp");
	box(224, 76, "moov");
	box(300, 0, "mdat"); /* to the end */
	assert_int_equal(find(&p), 0);
	assert_int_equal(p.n, 2);
	assert_int_equal(p.part[1].start, 200);
	assert_int_equal(p.part[1].end, 400);
}

static void errors_of_the_input_win(void **state)
{
	(void)state;
	struct media_parts p;
	clear(0);
	assert_int_equal(find(&p), ERR_REJECT);
	clear(1000);
	memory.fail = ERR_CORRUPT;
	assert_int_equal(find(&p), ERR_CORRUPT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(formats_are_told_by_their_first_bytes),
	    cmocka_unit_test(one_recording_is_one_part),
	    cmocka_unit_test(joined_recordings_are_found_across_borders),
	    cmocka_unit_test(many_parts_are_bounded),
	    cmocka_unit_test(joined_mp4_files_are_two_parts),
	    cmocka_unit_test(errors_of_the_input_win),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
