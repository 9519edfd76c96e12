/* The records of one copy, kept in a file of their own: they read as they did in the journal, and nothing else does. */
#include "base/uuid.h"
#include "spool/tail.h"

#include <fcntl.h>
#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#define SEGMENT	  3
#define WAIT_US	  1000
#define WAITS_MAX 60000

static const uint8_t key[32] = {1}, other_key[32] = {2};

static void commit(struct journal *j, struct journal_stream *s, uint64_t from, const char *text)
{
	uint64_t batch = 0;
	assert_int_equal(journal_append(s, from, text, strlen(text), &batch, NULL), 0);
	for (int i = 0; i < WAITS_MAX && journal_durable(j) < batch; i++)
		(void)usleep(WAIT_US);
	assert_true(journal_durable(j) >= batch);
}

static int take(void *arg, const uint8_t *data, size_t n, struct error *e _unused_)
{
	char *text = arg;
	(void)strncat(text, (const char *)data, n);
	return 0;
}

static int read_text(int fd, const struct uuid *recording, const uint8_t *with, uint64_t from, char ret[64])
{
	ret[0] = '\0';
	return tail_read(fd, recording, SEGMENT, with, from, take, ret, NULL);
}

static int remove_entry(const char *path, const struct stat *st _unused_, int flag _unused_, struct FTW *f _unused_)
{
	return remove(path);
}

static void leave_records(const struct journal_options *o, const struct uuid *copies, const struct uuid *recording)
{
	struct journal *j = NULL;
	struct journal_stream *a = NULL, *b = NULL;
	assert_int_equal(journal_open(o, &j, NULL), 0);
	assert_int_equal(journal_start(j, NULL), 0);
	assert_int_equal(journal_stream_new(j, &copies[0], recording, SEGMENT, key, &a, NULL), 0);
	assert_int_equal(journal_stream_new(j, &copies[1], recording, SEGMENT, key, &b, NULL), 0);
	commit(j, a, 0, "nobody ");
	commit(j, b, 0, "another's");
	commit(j, a, 7, "knows");
	/* behind a gap */
	commit(j, a, 100, "lost");
	journal_stream_leave(a, UINT64_MAX);
	journal_stream_leave(b, UINT64_MAX);
	journal_free(j);
}

static void what_nobody_keeps_is_found_and_kept(void **state _unused_)
{
	char path[] = "/tmp/rushes-test-tail-XXXXXX", file[64], text[64];
	struct uuid copies[2] = {uuid_v7(), uuid_v7()}, recording = uuid_v7();
	assert_non_null(mkdtemp(path));
	_cleanup_(closep) int folder = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	const struct journal_options o = {.folder_fd = folder,
					  .node = uuid_v4(),
					  .total_bytes = JOURNAL_TOTAL_MIN,
					  .tick_ms = 1};
	leave_records(&o, copies, &recording);

	_cleanup_(journal_freep) struct journal *j = NULL;
	_cleanup_(freep) struct uuid *found = NULL;
	size_t n = 0;
	uint64_t bytes = 0;
	assert_int_equal(journal_open(&o, &j, NULL), 0);
	assert_int_equal(journal_keep(j, &copies[1], NULL), 0);
	assert_int_equal(journal_found(j, &found, &n, NULL), 0);
	assert_int_equal(n, 1);
	assert_true(uuid_equal(&found[0], &copies[0]));
	(void)snprintf(file, sizeof(file), "%s/tail", path);
	_cleanup_(closep) int fd = open(file, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	assert_int_equal(tail_write(j, &copies[0], fd, &bytes, NULL), 0);
	assert_int_equal(bytes, strlen("nobody knowslost"));

	assert_int_equal(read_text(fd, &recording, key, 0, text), 0);
	assert_string_equal(text, "nobody knows");
	assert_int_equal(read_text(fd, &recording, key, 3, text), 0);
	assert_string_equal(text, "ody knows");
	/* another's key or recording opens nothing */
	assert_int_equal(read_text(fd, &recording, other_key, 0, text), 0);
	assert_string_equal(text, "");
	assert_int_equal(read_text(fd, &copies[0], key, 0, text), 0);
	assert_string_equal(text, "");
	/* what is no whole tail is refused */
	assert_int_equal(ftruncate(fd, 4096), 0);
	assert_int_equal(read_text(fd, &recording, key, 0, text), ERR_CORRUPT);
	assert_int_equal(ftruncate(fd, 10), 0);
	assert_int_equal(read_text(fd, &recording, key, 0, text), ERR_CORRUPT);
	assert_int_equal(nftw(path, remove_entry, 16, FTW_DEPTH | FTW_PHYS), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(what_nobody_keeps_is_found_and_kept)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
