/* What the tests of the sealed format share: a scratch file, a header, plain bytes that are easy to compare. */
#ifndef RUSHES_TESTS_SEALED_FIXTURE_H
#define RUSHES_TESTS_SEALED_FIXTURE_H

#include "crypto/random.h"
#include "spool/appender.h"
#include "spool/sealed.h"
#include "spool/writer.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#define P SEALED_SLOT_PAYLOAD

static const uint8_t test_key[SEALED_KEY_BYTES] = "0123456789abcdef0123456789abcde";

static _unused_ int scratch_file(void)
{
	char path[] = "/tmp/test-sealed.XXXXXX";
	int fd = mkstemp(path);
	assert_true(fd >= 0);
	assert_int_equal(unlink(path), 0);
	return fd;
}

static _unused_ struct sealed_header test_header(enum sealed_kind kind)
{
	return (struct sealed_header){.kind = kind,
				      .account = uuid_v7(),
				      .recording = uuid_v7(),
				      .copy = uuid_v7(),
				      .segment = kind == SEALED_RAW_SEGMENT ? 3 : 0};
}

/* Bytes that tell their place. */
static _unused_ uint8_t *pattern(size_t n)
{
	uint8_t *p = malloc(n + 1);
	assert_non_null(p);
	uint32_t x = 12345;
	for (size_t i = 0; i < n; i++) {
		x = x * 1664525 + 1013904223;
		p[i] = (uint8_t)(x >> 24);
	}
	return p;
}

static _unused_ uint64_t file_bytes(int fd)
{
	struct stat st;
	assert_int_equal(fstat(fd, &st), 0);
	return (uint64_t)st.st_size;
}

static _unused_ struct slab *test_slab(void)
{
	struct slab *s = NULL;
	assert_int_equal(slab_new(4 * SEALED_SLOT_BYTES, 1, &s, NULL), 0);
	return s;
}

/* A complete file with `n` pattern bytes. */
static _unused_ int sealed_file(const struct sealed_header *h, size_t n)
{
	int fd = scratch_file();
	_cleanup_(freep) uint8_t *plain = pattern(n);
	_cleanup_(sealed_writer_freep) struct sealed_writer *w = NULL;
	assert_int_equal(sealed_writer_new(fd, h, test_key, &w, NULL), 0);
	assert_int_equal(sealed_writer_write(w, 0, plain, n, NULL), 0);
	assert_int_equal(sealed_writer_finish(w, NULL), 0);
	return fd;
}

/* Whether the file opens and reads as `n` pattern bytes. 0, or the error's class. */
static _unused_ int read_back(int fd, const struct sealed_header *expected, size_t n, struct error *e)
{
	_cleanup_(sealed_reader_freep) struct sealed_reader *r = NULL;
	int rc = sealed_reader_new(fd, test_key, expected, &r, e);
	if (rc < 0)
		return rc;
	assert_int_equal(sealed_reader_size(r), n);
	_cleanup_(freep) uint8_t *plain = pattern(n);
	_cleanup_(freep) uint8_t *back = malloc(n + 1);
	assert_non_null(back);
	size_t got = 0;
	rc = sealed_reader_read(r, 0, back, n + 1, &got, e);
	if (rc < 0)
		return rc;
	assert_int_equal(got, n);
	assert_memory_equal(back, plain, n);
	return 0;
}

#endif
