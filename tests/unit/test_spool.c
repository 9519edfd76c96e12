/* What a spool keeps beside its copies. */
#include "node/spool.h"

#include <fcntl.h>
#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static struct spool *open_at(const char *path)
{
	struct spool *s = NULL;
	struct error e = {0};
	const struct spool_options o = {.path = path, .region = "eu1", .service = "ingest"};
	int r = spool_open(&o, &s, &e);
	if (r < 0)
		fail_msg("%s", e.text);
	return s;
}

static int count(void *arg, const char *name, const struct uuid *copy _unused_, struct error *e _unused_)
{
	/* the tests' own file alone */
	assert_string_equal(name, "stray");
	++*(int *)arg;
	return 0;
}

static void put(const char *path, const char *name, const char *text)
{
	char file[256];
	(void)snprintf(file, sizeof(file), "%s/%s", path, name);
	int fd = open(file, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
	(void)close(fd);
}

static int remove_entry(const char *path, const struct stat *st _unused_, int flag _unused_, struct FTW *f _unused_)
{
	return remove(path);
}

static void test_beats(void **state _unused_)
{
	char path[] = "/tmp/rushes-test-spool-XXXXXX";
	int n = 0;
	assert_non_null(mkdtemp(path));
	struct spool *s = open_at(path);
	assert_int_equal(spool_beats_seen(s), 0);
	spool_set_beats_seen(s, 41);
	spool_set_beats_seen(s, 42);
	assert_int_equal(spool_beats_seen(s), 42);
	spool_free(s);
	s = open_at(path);
	assert_int_equal(spool_beats_seen(s), 42);
	/* it is no stray file, and nobody removes it as one */
	put(path, "stray", "x");
	assert_int_equal(spool_walk(s, count, &n, NULL), 0);
	assert_int_equal(n, 1);
	assert_int_equal(spool_remove_stray(s, "beats", NULL), ERR_DENIED);
	assert_int_equal(spool_remove_stray(s, "stray", NULL), 0);
	/* what a power cut may leave is no memory */
	static const char *const torn[] = {"", "4", "-3\n", "x\n"};
	for (size_t i = 0; i < ARRAY_SIZE(torn); i++) {
		put(path, "beats", torn[i]);
		assert_int_equal(spool_beats_seen(s), 0);
	}
	spool_free(s);
	assert_int_equal(nftw(path, remove_entry, 16, FTW_DEPTH | FTW_PHYS), 0);
}

struct seen {
	unsigned copies, others;
};

static int see(void *arg, const char *name _unused_, const struct uuid *copy, struct error *e _unused_)
{
	struct seen *s = arg;
	s->copies += copy != NULL;
	s->others += copy == NULL;
	return 0;
}

static struct seen walk(struct spool *s)
{
	struct seen seen = {0};
	assert_int_equal(spool_walk(s, see, &seen, NULL), 0);
	return seen;
}

static void put_and_close(int fd, const char *text)
{
	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
	(void)close(fd);
}

/* A copy's file is replaced as a whole, also where nothing new is written; a file that was not finished is no copy's.
 */
static void test_replaced_copy(void **state _unused_)
{
	char path[] = "/tmp/rushes-test-spool-XXXXXX", text[16] = "";
	struct uuid copy = uuid_v7(), other = uuid_v7();
	int fd = -1;
	assert_non_null(mkdtemp(path));
	struct spool *s = open_at(path);
	assert_int_equal(spool_create(s, &copy, &fd, NULL), 0);
	put_and_close(fd, "old");
	spool_set_read_only(s);
	assert_int_equal(spool_create(s, &other, &fd, NULL), ERR_FULL);
	assert_int_equal(spool_create_again(s, &copy, &fd, NULL), 0);
	put_and_close(fd, "tried before");
	struct seen seen = walk(s);
	assert_int_equal(seen.copies, 1);
	assert_int_equal(seen.others, 1);
	assert_int_equal(spool_create_again(s, &copy, &fd, NULL), 0);
	put_and_close(fd, "new");
	assert_int_equal(spool_replace(s, &copy, NULL), 0);
	assert_int_equal(spool_open_copy(s, &copy, O_RDONLY, &fd, NULL), 0);
	assert_int_equal(read(fd, text, sizeof(text)), 3);
	assert_string_equal(text, "new");
	(void)close(fd);
	assert_int_equal(spool_create_again(s, &copy, &fd, NULL), 0);
	(void)close(fd);
	spool_drop_again(s, &copy);
	seen = walk(s);
	assert_int_equal(seen.copies, 1);
	assert_int_equal(seen.others, 0);
	spool_free(s);
	assert_int_equal(nftw(path, remove_entry, 16, FTW_DEPTH | FTW_PHYS), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_beats), cmocka_unit_test(test_replaced_copy)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
