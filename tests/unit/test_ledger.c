#include "domain/ledger_head.h"
#include "domain/ledger_target.h"

#include "base/hex.h"
#include "crypto/paseto.h"

#include <dirent.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#define SEED "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60"

static struct keyring *keys_of(const char *text)
{
	struct keyring *k = NULL;
	assert_int_equal(keyring_parse(text, strlen(text), "test", KEY_LEDGER_SIGN, &k, NULL), 0);
	return k;
}

static struct ledger_head a_head(void)
{
	struct ledger_head h = {.batch = 12, .leaves = 3, .at = "2026-11-22T01:44:01.123456Z", .key_id = "one"};
	memset(h.root, 0xab, sizeof(h.root));
	return h;
}

static void a_head_has_one_text(void **state _unused_)
{
	struct ledger_head h = a_head(), again = {0};
	char text[LEDGER_HEAD_TEXT_BYTES];
	ledger_head_text(&h, text);
	assert_string_equal(text, "{\"type\":\"rushes-ledger-head/1\",\"batch\":12,\"leaves\":3,\"root\":"
				  "\"abababababababababababababababababababababababababababababababab\",\"previous\":"
				  "\"0000000000000000000000000000000000000000000000000000000000000000\",\"at\":"
				  "\"2026-11-22T01:44:01.123456Z\",\"key\":\"one\"}");
	assert_int_equal(ledger_head_parse(text, &again, NULL), 0);
	assert_int_equal(again.batch, 12);
	assert_int_equal(again.leaves, 3);
	assert_memory_equal(again.root, h.root, sizeof(h.root));
	assert_string_equal(again.key_id, "one");
}

/* Each says the same or nearly so, but is not what was signed. */
static void a_head_in_another_form_is_refused(void **state _unused_)
{
	struct ledger_head h = a_head(), again;
	char text[LEDGER_HEAD_TEXT_BYTES], other[LEDGER_HEAD_TEXT_BYTES + 16];
	ledger_head_text(&h, text);
	(void)snprintf(other, sizeof(other), "%s ", text);
	assert_int_equal(ledger_head_parse(other, &again, NULL), ERR_CORRUPT);
	(void)snprintf(other, sizeof(other), "{ %s", text + 1);
	assert_int_equal(ledger_head_parse(other, &again, NULL), ERR_CORRUPT);
	static const struct {
		const char *from, *to;
	} changes[] = {{"ab", "AB"},
		       {"/1", "/2"},
		       {"12,", "0,"},
		       {"12,", "-1,"},
		       {"12,", "12.0,"},
		       {"\"one\"", "\"O\""},
		       {":3", ":0"},
		       {":3", ":10001"},
		       {"2026", "9x99"},
		       {"00\"", "\""},
		       {"\"one\"", "\"\\u006fne\""}};
	for (size_t i = 0; i < ARRAY_SIZE(changes); i++) {
		char *at = strstr(text, changes[i].from);
		assert_non_null(at);
		(void)snprintf(other, sizeof(other), "%.*s%s%s", (int)(at - text), text, changes[i].to,
			       at + strlen(changes[i].from));
		assert_int_equal(ledger_head_parse(other, &again, NULL), ERR_CORRUPT);
	}
	assert_int_equal(ledger_head_parse("", &again, NULL), ERR_CORRUPT);
	assert_int_equal(ledger_head_parse("[]", &again, NULL), ERR_CORRUPT);
}

static void a_signature_is_of_one_key_and_one_head(void **state _unused_)
{
	uint8_t seed[KEY_BYTES], public_key[KEY_BYTES];
	char digits[2 * KEY_BYTES + 1], line[256];
	assert_true(hex_decode(SEED, seed, sizeof(seed)));
	paseto_public_key(seed, public_key);
	hex_encode(public_key, sizeof(public_key), digits);
	(void)snprintf(line, sizeof(line), "two " SEED "\none %s\ntwo-public %s\n", digits, digits);
	_cleanup_(keyring_freep) struct keyring *secret = keys_of("one " SEED "\n");
	_cleanup_(keyring_freep) struct keyring *public_keys = keys_of(line);
	struct ledger_head h = a_head();
	ledger_head_sign(&h, secret);
	assert_string_equal(h.key_id, "one");
	assert_int_equal(ledger_head_verify(&h, public_keys, NULL), 0);
	h.leaves++;
	assert_int_equal(ledger_head_verify(&h, public_keys, NULL), ERR_CORRUPT);
	h.leaves--;
	(void)snprintf(h.key_id, sizeof(h.key_id), "two");
	assert_int_equal(ledger_head_verify(&h, public_keys, NULL), ERR_CORRUPT);
	(void)snprintf(h.key_id, sizeof(h.key_id), "three");
	assert_int_equal(ledger_head_verify(&h, public_keys, NULL), ERR_NOTFOUND);
}

static int count_names(const char *folder)
{
	int n = 0;
	DIR *names = opendir(folder);
	assert_non_null(names);
	while (readdir(names))
		n++;
	(void)closedir(names);
	return n - 2;
}

static void a_target_keeps_each_batch_as_it_was(void **state _unused_)
{
	char folder[] = "/tmp/rushes-ledger-XXXXXX", where[64], name[96];
	assert_non_null(mkdtemp(folder));
	(void)snprintf(where, sizeof(where), "file:%s", folder);
	_cleanup_(ledger_target_freep) struct ledger_target *t = NULL;
	uint64_t last = 9;
	assert_int_equal(ledger_target_open(&(struct ledger_target_config){.where = where}, &t, NULL), 0);
	assert_int_equal(ledger_target_last(t, &last, NULL), 0);
	assert_int_equal(last, 0);
	assert_int_equal(ledger_target_put(t, 1, "one\n", 4, NULL), 0);
	assert_int_equal(ledger_target_put(t, 10, "ten\n", 4, NULL), 0);
	assert_int_equal(ledger_target_put(t, 10, "ten\n", 4, NULL), 0);
	assert_int_equal(ledger_target_put(t, 10, "tea\n", 4, NULL), ERR_CORRUPT);
	assert_int_equal(ledger_target_put(t, 10, "ten\n\n", 5, NULL), ERR_CORRUPT);
	assert_int_equal(ledger_target_last(t, &last, NULL), 0);
	assert_int_equal(last, 10);
	_cleanup_(buffer_done) struct buffer b = {0}, none = {0};
	assert_int_equal(ledger_target_get(t, 10, &b, NULL), 0);
	assert_string_equal(b.data, "ten\n");
	assert_int_equal(ledger_target_get(t, 2, &none, NULL), ERR_NOTFOUND);
	assert_int_equal(count_names(folder), 2);

	/* what a killed process left goes when it is old; a name that is no batch's means nothing */
	const struct timespec old[2] = {{1000, 0}, {1000, 0}};
	(void)snprintf(name, sizeof(name), "%s/.new-left", folder);
	int fd = open(name, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
	assert_int_equal(futimens(fd, old), 0);
	(void)close(fd);
	(void)snprintf(name, sizeof(name), "%s/99.ledger", folder);
	assert_int_equal(symlink("/etc/passwd", name), 0);
	assert_int_equal(ledger_target_put(t, 11, "x", 1, NULL), 0);
	assert_int_equal(count_names(folder), 4);
	assert_int_equal(ledger_target_last(t, &last, NULL), 0);
	assert_int_equal(last, 11);

	/* a link in a batch's place is not followed */
	(void)snprintf(name, sizeof(name), "%s/000000000012.ledger", folder);
	assert_int_equal(symlink("/etc/passwd", name), 0);
	_cleanup_(buffer_done) struct buffer linked = {0};
	assert_int_equal(ledger_target_get(t, 12, &linked, NULL), ERR_RETRY);
	assert_int_equal(ledger_target_put(t, 12, "x", 1, NULL), ERR_RETRY);

	static const char *const files[] = {"000000000001.ledger", "000000000010.ledger", "000000000011.ledger",
					    "000000000012.ledger", "99.ledger"};
	for (size_t i = 0; i < ARRAY_SIZE(files); i++) {
		(void)snprintf(name, sizeof(name), "%s/%s", folder, files[i]);
		assert_int_equal(unlink(name), 0);
	}
	assert_int_equal(rmdir(folder), 0);
}

static void a_wrong_target_is_told_from_one_that_is_away(void **state _unused_)
{
	struct ledger_target *t = NULL;
	static const char *const wrong[] = {
	    "",	   "file:",	      "file:relative",	  "/absolute", "ftp://host/",
	    "s3:", "s3:https://host", "s3:https://host/", "s3:bucket", "s3:https://host/bucket/prefix"};
	for (size_t i = 0; i < ARRAY_SIZE(wrong); i++)
		assert_int_equal(ledger_target_open(&(struct ledger_target_config){.where = wrong[i]}, &t, NULL),
				 ERR_REJECT);
	assert_int_equal(ledger_target_open(&(struct ledger_target_config){.where = "file:/nonexistent/folder"}, &t,
					    NULL),
			 ERR_RETRY);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(a_head_has_one_text),
	    cmocka_unit_test(a_head_in_another_form_is_refused),
	    cmocka_unit_test(a_signature_is_of_one_key_and_one_head),
	    cmocka_unit_test(a_target_keeps_each_batch_as_it_was),
	    cmocka_unit_test(a_wrong_target_is_told_from_one_that_is_away),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
