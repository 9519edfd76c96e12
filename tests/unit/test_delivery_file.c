/* with: services/storage-pusher/delivery_file.c services/storage-pusher/folder.c */
#include "../../services/storage-pusher/delivery_target.h"
#include "../../services/storage-pusher/folder.h"

#include "crypto/digest.h"

#include <fcntl.h>
#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <sys/stat.h>
/* after the headers it needs */
#include <cmocka.h>

#define LOCATION  "hash/2026/11/22/0190a5f0/main.mp4"
#define TEMPORARY "hash/2026/11/22/0190a5f0/.main.mp4.copy.part"

static char root[64];

static int remove_entry(const char *path, const struct stat *st _unused_, int type _unused_, struct FTW *w _unused_)
{
	return remove(path);
}

static int set_up(void **state _unused_)
{
	(void)snprintf(root, sizeof(root), "/tmp/rushes-file-XXXXXX");
	return mkdtemp(root) ? 0 : -1;
}

static int tear_down(void **state _unused_)
{
	return nftw(root, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
}

struct text_source {
	const char *text;
	size_t at, fail_at;
};

static int read_text(void *arg, void *buf, size_t n, size_t *ret, struct error *e)
{
	struct text_source *s = arg;
	if (s->fail_at > 0 && s->at >= s->fail_at)
		return error_set(e, ERR_CORRUPT, "the source broke");
	/* in pieces of three bytes */
	*ret = MIN(MIN(n, (size_t)3), strlen(s->text) - s->at);
	memcpy(buf, s->text + s->at, *ret);
	s->at += *ret;
	return 0;
}

static struct delivery_target *target_in(const char *path, const char *below)
{
	static struct target_endpoint endpoint;
	endpoint = (struct target_endpoint){.path = (char *)(uintptr_t)path};
	struct delivery_target_options o = {.endpoint = &endpoint, .file_root = below};
	struct delivery_target *t = NULL;
	struct error e = {0};
	assert_int_equal(delivery_file_new(&o, &t, &e), 0);
	return t;
}

static int put(struct delivery_target *t, struct text_source *text, struct delivery_proof *proof, bool *clean,
	       struct error *e)
{
	struct delivery_item item = {.file_kind = "main", .location = LOCATION, .temporary = TEMPORARY};
	struct delivery_source source = {.read = read_text, .arg = text, .size = strlen(text->text)};
	assert_int_equal(sha256_of(text->text, strlen(text->text), source.sha256, e), 0);
	return t->ops->put(t, &item, &source, proof, clean, e);
}

static json_t *put_ok(struct delivery_target *t, const char *text)
{
	struct text_source source = {.text = text};
	struct delivery_proof proof = {0};
	bool clean = false;
	struct error e = {0};
	if (put(t, &source, &proof, &clean, &e) < 0)
		fail_msg("%s", e.text);
	return proof.evidence;
}

static char *path_of(const char *below, char room[256])
{
	(void)snprintf(room, 256, "%s/%s", root, below);
	return room;
}

static bool exists(const char *below)
{
	char room[256];
	struct stat st;
	return lstat(path_of(below, room), &st) == 0;
}

static void test_put_and_remove(void **state _unused_)
{
	bool found = false;
	_cleanup_(delivery_target_freep) struct delivery_target *t = target_in(root, "");
	json_t *evidence = put_ok(t, "some bytes of a film"), *gone = NULL;
	struct error e = {0};
	struct stat st;
	char room[256];
	assert_int_equal(stat(path_of(LOCATION, room), &st), 0);
	assert_int_equal(st.st_size, 20);
	assert_int_equal(st.st_mode & 0777, 0600);
	assert_false(exists(TEMPORARY));
	assert_string_equal(json_string_value(json_object_get(evidence, "verified")), "read-back");
	assert_int_equal(strlen(json_string_value(json_object_get(evidence, "sha256"))), 64);
	struct delivery_item item = {.location = LOCATION, .temporary = TEMPORARY, .evidence = evidence};
	assert_int_equal(t->ops->remove(t, &item, &gone, &found, &e), 0);
	assert_true(json_is_true(json_object_get(gone, "absent")));
	assert_true(found);
	found = false;
	/* nothing is left that names account or recording */
	assert_false(exists("hash"));
	json_decref(gone);
	/* again: nothing is there, and that is a proof too */
	assert_int_equal(t->ops->remove(t, &item, &gone, &found, &e), 0);
	assert_false(found);
	json_decref(gone);
	json_decref(evidence);
}

static void test_a_retry_accepts_its_own_file_only(void **state _unused_)
{
	_cleanup_(delivery_target_freep) struct delivery_target *t = target_in(root, "");
	json_decref(put_ok(t, "the film"));
	json_decref(put_ok(t, "the film"));
	struct text_source other = {.text = "another film"};
	struct delivery_proof proof = {0};
	bool clean = false;
	struct error e = {0};
	assert_int_equal(put(t, &other, &proof, &clean, &e), ERR_CONFLICT);
	assert_true(clean);
	assert_false(exists(TEMPORARY));
	char room[256], text[32] = "";
	int fd = open(path_of(LOCATION, room), O_RDONLY | O_CLOEXEC);
	assert_int_equal(read(fd, text, sizeof(text) - 1), 8);
	(void)close(fd);
	assert_string_equal(text, "the film");
}

static void test_what_a_dead_attempt_left_is_replaced(void **state _unused_)
{
	_cleanup_(delivery_target_freep) struct delivery_target *t = target_in(root, "");
	json_decref(put_ok(t, "x"));
	char from[256], to[256];
	assert_int_equal(rename(path_of(LOCATION, from), path_of(TEMPORARY, to)), 0);
	json_decref(put_ok(t, "the film"));
	assert_false(exists(TEMPORARY));
}

static void test_broken_sources_leave_nothing(void **state _unused_)
{
	_cleanup_(delivery_target_freep) struct delivery_target *t = target_in(root, "");
	struct text_source breaks = {.text = "0123456789", .fail_at = 6};
	struct delivery_proof proof = {0};
	bool clean = false;
	struct error e = {0};
	assert_int_equal(put(t, &breaks, &proof, &clean, &e), ERR_CORRUPT);
	assert_true(clean);
	struct delivery_item item = {.file_kind = "main", .location = LOCATION, .temporary = TEMPORARY};
	static const uint64_t sizes[] = {9, 11, 10};
	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
		struct text_source text = {.text = "0123456789"};
		/* shorter, longer, and the right size with another hash */
		struct delivery_source source = {.read = read_text, .arg = &text, .size = sizes[i]};
		assert_int_equal(t->ops->put(t, &item, &source, &proof, &clean, &e), ERR_CORRUPT);
		assert_true(clean);
	}
	assert_false(exists(LOCATION));
	assert_false(exists(TEMPORARY));
	assert_null(proof.evidence);
}

static void test_names_that_would_escape(void **state _unused_)
{
	bool found = false;
	static const char *const names[] = {"../x", "a/../../x", "/etc/x", "a//b", "", ".", "..", "a/./b", "a/"};
	_cleanup_(delivery_target_freep) struct delivery_target *t = target_in(root, "");
	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		struct text_source text = {.text = "0"};
		struct delivery_source source = {.read = read_text, .arg = &text, .size = 1};
		struct delivery_item item = {.file_kind = "main", .location = names[i], .temporary = TEMPORARY};
		struct delivery_proof proof = {0};
		json_t *evidence = NULL;
		bool clean = false;
		struct error e = {0};
		assert_int_equal(t->ops->put(t, &item, &source, &proof, &clean, &e), ERR_REJECT);
		assert_int_equal(t->ops->remove(t, &item, &evidence, &found, &e), ERR_REJECT);
	}
}

static void test_links_are_not_followed(void **state _unused_)
{
	bool found = false;
	_cleanup_(delivery_target_freep) struct delivery_target *t = target_in(root, "");
	char room[256], outside[256];
	struct text_source text = {.text = "the film"};
	struct delivery_proof proof = {0};
	json_t *evidence = NULL;
	bool clean = false;
	struct error e = {0};
	assert_int_equal(mkdir(path_of("outside", outside), 0700), 0);
	assert_int_equal(symlink("outside", path_of("hash", room)), 0);
	assert_int_equal(put(t, &text, &proof, &clean, &e), ERR_RETRY);
	struct delivery_item item = {.location = LOCATION, .temporary = TEMPORARY};
	assert_int_equal(t->ops->remove(t, &item, &evidence, &found, &e), ERR_RETRY);
	assert_false(exists("outside/2026"));
	/* a link in the file's own place is not written through */
	assert_int_equal(unlink(room), 0);
	json_decref(put_ok(t, "the film"));
	assert_int_equal(unlink(path_of(LOCATION, room)), 0);
	assert_int_equal(symlink("/etc/hostname", room), 0);
	text.at = 0;
	assert_int_equal(put(t, &text, &proof, &clean, &e), ERR_CONFLICT);
}

static void test_another_disk_confirms_nothing(void **state _unused_)
{
	bool found = false;
	_cleanup_(delivery_target_freep) struct delivery_target *t = target_in(root, "");
	json_t *evidence = put_ok(t, "the film"), *gone = NULL;
	struct delivery_item item = {.location = LOCATION, .temporary = TEMPORARY, .evidence = evidence};
	struct error e = {0};
	char room[256];
	assert_int_equal(unlink(path_of(FOLDER_MARKER, room)), 0);
	assert_int_equal(t->ops->remove(t, &item, &gone, &found, &e), ERR_RETRY);
	assert_non_null(strstr(e.text, "mounted"));
	/* a disk that another store began on */
	_cleanup_(closep) int folder = open(root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct uuid id, again;
	assert_int_equal(folder_store_make(folder, &id, &e), 0);
	assert_int_equal(folder_store_make(folder, &again, &e), 0);
	assert_true(uuid_equal(&id, &again));
	assert_int_equal(t->ops->remove(t, &item, &gone, &found, &e), ERR_RETRY);
	assert_true(exists(LOCATION));
	assert_null(gone);
	json_decref(evidence);
}

static void test_folder_must_lie_below_the_configured_one(void **state _unused_)
{
	char inside[256], sibling[256];
	struct error e = {0};
	_cleanup_(closep) int fd = -1;
	assert_int_equal(mkdir(path_of("in", inside), 0700), 0);
	(void)snprintf(sibling, sizeof(sibling), "%s-other", root);
	assert_int_equal(folder_open(inside, root, &fd, &e), 0);
	int other = -1;
	assert_int_equal(folder_open(sibling, root, &other, &e), ERR_RETRY);
	assert_int_equal(folder_open("/etc", root, &other, &e), ERR_RETRY);
	assert_int_equal(folder_open(path_of("in/../..", sibling), root, &other, &e), ERR_RETRY);
	assert_int_equal(folder_open("relative", "", &other, &e), ERR_REJECT);
	assert_int_equal(folder_open("/nonexistent/folder", "", &other, &e), ERR_RETRY);
	assert_int_equal(other, -1);
}

static bool always(void *arg _unused_)
{
	return true;
}

static void test_stop(void **state _unused_)
{
	struct target_endpoint endpoint = {.path = root};
	struct delivery_target_options o = {.endpoint = &endpoint, .file_root = "", .hooks = {.stop = always}};
	_cleanup_(delivery_target_freep) struct delivery_target *t = NULL;
	struct text_source text = {.text = "0"};
	struct delivery_proof proof = {0};
	bool clean = false;
	struct error e = {0};
	assert_int_equal(delivery_file_new(&o, &t, &e), 0);
	assert_int_equal(put(t, &text, &proof, &clean, &e), ERR_CANCELLED);
	assert_true(clean);
	assert_false(exists(TEMPORARY));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(test_put_and_remove, set_up, tear_down),
	    cmocka_unit_test_setup_teardown(test_a_retry_accepts_its_own_file_only, set_up, tear_down),
	    cmocka_unit_test_setup_teardown(test_what_a_dead_attempt_left_is_replaced, set_up, tear_down),
	    cmocka_unit_test_setup_teardown(test_broken_sources_leave_nothing, set_up, tear_down),
	    cmocka_unit_test_setup_teardown(test_names_that_would_escape, set_up, tear_down),
	    cmocka_unit_test_setup_teardown(test_links_are_not_followed, set_up, tear_down),
	    cmocka_unit_test_setup_teardown(test_another_disk_confirms_nothing, set_up, tear_down),
	    cmocka_unit_test_setup_teardown(test_folder_must_lie_below_the_configured_one, set_up, tear_down),
	    cmocka_unit_test_setup_teardown(test_stop, set_up, tear_down),
	};
	return cmocka_run_group_tests_name("delivery_file", tests, NULL, NULL);
}
