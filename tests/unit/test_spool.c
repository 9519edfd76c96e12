#include "node/spool.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

struct fixture {
	char path[64];
	struct spool_options options;
};

static int setup(void **state)
{
	static struct fixture f;
	(void)snprintf(f.path, sizeof(f.path), "/tmp/rushes-spool-XXXXXX");
	assert_non_null(mkdtemp(f.path));
	f.options = (struct spool_options){.path = f.path, .region = "eu1", .service = "ingest"};
	*state = &f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;
	char command[128];
	(void)snprintf(command, sizeof(command), "rm -rf --one-file-system %s", f->path);
	pid_t child = fork();
	if (child == 0) {
		(void)execl("/bin/sh", "sh", "-c", command, NULL);
		_exit(127);
	}
	return 0;
}

static void touch(const struct fixture *f, const char *name)
{
	char path[256];
	(void)snprintf(path, sizeof(path), "%s/%s", f->path, name);
	_cleanup_(closep) int fd = open(path, O_WRONLY | O_CREAT, 0600);
	assert_true(fd >= 0);
}

static void a_spool_keeps_its_uuid(void **state)
{
	struct fixture *f = *state;
	struct spool *s = NULL;
	struct error e = {0};
	assert_int_equal(spool_open(&f->options, &s, &e), 0);
	struct uuid node = *spool_node(s);
	spool_free(s);
	assert_int_equal(spool_open(&f->options, &s, &e), 0);
	assert_true(uuid_equal(&node, spool_node(s)));
	spool_free(s);
}

static void two_processes_never_share_a_spool(void **state)
{
	struct fixture *f = *state;
	struct spool *s = NULL, *second = NULL;
	struct error e = {0};
	assert_int_equal(spool_open(&f->options, &s, &e), 0);
	assert_int_equal(spool_open(&f->options, &second, &e), ERR_FATAL);
	assert_non_null(strstr(e.text, "in use"));
	spool_free(s);
}

static void another_service_or_region_is_refused(void **state)
{
	struct fixture *f = *state;
	struct spool *s = NULL;
	struct error e = {0};
	assert_int_equal(spool_open(&f->options, &s, &e), 0);
	spool_free(s);
	f->options.service = "transcoder";
	assert_int_equal(spool_open(&f->options, &s, &e), ERR_FATAL);
	f->options.service = "ingest";
	f->options.region = "us1";
	assert_int_equal(spool_open(&f->options, &s, &e), ERR_FATAL);
}

static void a_folder_with_files_and_no_superblock_is_refused(void **state)
{
	struct fixture *f = *state;
	struct spool *s = NULL;
	struct error e = {0};
	touch(f, "something");
	assert_int_equal(spool_open(&f->options, &s, &e), ERR_FATAL);
	assert_non_null(strstr(e.text, "something"));
}

static void a_broken_superblock_is_never_replaced(void **state)
{
	struct fixture *f = *state;
	struct spool *s = NULL;
	struct error e = {0};
	touch(f, "superblock.json");
	assert_int_equal(spool_open(&f->options, &s, &e), ERR_FATAL);
}

static void files_are_made_opened_and_removed(void **state)
{
	struct fixture *f = *state;
	struct spool *s = NULL;
	struct error e = {0};
	struct uuid copy = uuid_v7();
	int fd = -1;
	bool was_there = false;
	assert_int_equal(spool_open(&f->options, &s, &e), 0);
	assert_int_equal(spool_open_copy(s, &copy, O_RDONLY, &fd, &e), ERR_NOTFOUND);
	assert_int_equal(spool_create(s, &copy, &fd, &e), 0);
	assert_int_equal(spool_sync(s, &copy, &e), 0);
	int again = -1;
	assert_int_equal(spool_create(s, &copy, &again, &e), ERR_CONFLICT);
	struct stat st;
	assert_int_equal(fstat(fd, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
	(void)close(fd);
	assert_int_equal(spool_remove(s, &copy, &was_there, &e), 0);
	assert_true(was_there);
	assert_int_equal(spool_remove(s, &copy, &was_there, &e), 0);
	assert_false(was_there);
	spool_set_read_only(s);
	assert_int_equal(spool_create(s, &copy, &fd, &e), ERR_FULL);
	assert_false(spool_admits(s, 1));
	spool_free(s);
}

struct seen {
	unsigned copies, strays;
};

static int count(void *arg, const char *name, const struct uuid *copy, struct error *e _unused_)
{
	struct seen *seen = arg;
	assert_null(strstr(name, "superblock"));
	if (copy)
		seen->copies++;
	else
		seen->strays++;
	return 0;
}

static void a_walk_tells_copies_from_strays(void **state)
{
	struct fixture *f = *state;
	struct spool *s = NULL;
	struct error e = {0};
	assert_int_equal(spool_open(&f->options, &s, &e), 0);
	for (int i = 0; i < 3; i++) {
		struct uuid copy = uuid_v7();
		int fd = -1;
		assert_int_equal(spool_create(s, &copy, &fd, &e), 0);
		(void)close(fd);
	}
	touch(f, "stray");
	touch(f, "copies/00/not-a-uuid.sealed");
	touch(f, "copies/00/00000000-0000-4000-8000-000000000001.sealed"); /* in the wrong folder */
	struct seen seen = {0};
	assert_int_equal(spool_walk(s, count, &seen, &e), 0);
	assert_int_equal(seen.copies, 3);
	assert_int_equal(seen.strays, 3);
	assert_int_equal(spool_remove_stray(s, "stray", &e), 0);
	assert_int_equal(spool_remove_stray(s, "superblock.json", &e), ERR_DENIED);
	assert_int_equal(spool_remove_stray(s, "../elsewhere", &e), ERR_DENIED);
	spool_free(s);
}

static void the_reserve_is_kept(void **state)
{
	struct fixture *f = *state;
	struct spool *s = NULL;
	struct error e = {0};
	f->options.reserve_bytes = UINT64_MAX / 2;
	assert_int_equal(spool_open(&f->options, &s, &e), 0);
	assert_false(spool_admits(s, 1));
	spool_free(s);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
	    TEST(a_spool_keeps_its_uuid),
	    TEST(two_processes_never_share_a_spool),
	    TEST(another_service_or_region_is_refused),
	    TEST(a_folder_with_files_and_no_superblock_is_refused),
	    TEST(a_broken_superblock_is_never_replaced),
	    TEST(files_are_made_opened_and_removed),
	    TEST(a_walk_tells_copies_from_strays),
	    TEST(the_reserve_is_kept),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
