/* The ledger target of kind s3 at a real gateway and at a double; started by s3.test.mjs. */
#include "domain/ledger_target.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <sys/stat.h>
/* after the headers it needs */
#include <cmocka.h>

#define HOLES 7

static const char *credential_file;

static struct ledger_target *target_at(const char *endpoint, const char *bucket_and_prefix)
{
	char where[512];
	struct ledger_target *t = NULL;
	struct error e = {0};
	(void)snprintf(where, sizeof(where), "s3:%s/%s", endpoint, bucket_and_prefix);
	struct ledger_target_config c = {.where = where,
					 .credential_file = credential_file,
					 .ca_file = getenv("TEST_S3_CA"),
					 .allow_private = true};
	assert_int_equal(ledger_target_open(&c, &t, &e), 0);
	return t;
}

static void put(struct ledger_target *t, uint64_t batch, const char *text, int expected)
{
	struct error e = {0};
	int r = ledger_target_put(t, batch, text, strlen(text), &e);
	if (r != expected)
		fail_msg("batch %llu: %d, %s", (unsigned long long)batch, r, e.text);
}

static uint64_t last(struct ledger_target *t)
{
	struct error e = {0};
	uint64_t batch = 0;
	int r = ledger_target_last(t, &batch, &e);
	if (r < 0)
		fail_msg("%s", e.text);
	return batch;
}

static void keeps_what_it_has(const char *endpoint, const char *where)
{
	_cleanup_(ledger_target_freep) struct ledger_target *t = target_at(endpoint, where);
	_cleanup_(buffer_done) struct buffer there = {0}, none = {0};
	struct error e = {0};
	assert_int_equal(last(t), 0);
	put(t, 1, "one\n", 0);
	put(t, 1, "one\n", 0);
	put(t, 1, "two\n", ERR_CORRUPT);
	put(t, 2, "", 0);
	assert_int_equal(ledger_target_get(t, 1, &there, &e), 0);
	assert_string_equal(there.data, "one\n");
	assert_int_equal(there.size, 4);
	assert_int_equal(ledger_target_get(t, 3, &none, &e), ERR_NOTFOUND);
	assert_int_equal(last(t), 2);
}

/* However many are missing between, and beside names of others. */
static void finds_the_last(const char *endpoint, const char *where)
{
	static const uint64_t batches[HOLES] = {5, 6, 7, 300, 301, 70000, 123456789};
	_cleanup_(ledger_target_freep) struct ledger_target *t = target_at(endpoint, where);
	for (size_t i = 0; i < HOLES; i++) {
		put(t, batches[i], "x\n", 0);
		assert_int_equal(last(t), batches[i]);
	}
}

static void test_gateway(void **state _unused_)
{
	keeps_what_it_has(getenv("TEST_S3_ENDPOINT"), "ledger/a/b");
	finds_the_last(getenv("TEST_S3_ENDPOINT"), "ledger/holes/");
	finds_the_last(getenv("TEST_S3_ENDPOINT"), "ledger");
}

static void test_double(void **state _unused_)
{
	keeps_what_it_has(getenv("TEST_S3_DOUBLE"), "ledger/prefix");
	finds_the_last(getenv("TEST_S3_DOUBLE"), "ledger/holes");
	/* another janitor writes between the look and the write: what it wrote stays, and is compared */
	_cleanup_(ledger_target_freep) struct ledger_target *quick = target_at(getenv("TEST_S3_DOUBLE"), "quicker/x");
	put(quick, 1, "mine\n", ERR_CORRUPT);
	put(quick, 2, "same\n", 0);
}

static void test_credential_files(void **state _unused_)
{
	char path[64] = "/tmp/rushes-ledger-XXXXXX";
	int fd = mkstemp(path);
	struct ledger_target *t = NULL;
	struct error e = {0};
	struct ledger_target_config c = {.where = "s3:https://localhost/bucket", .credential_file = path};
	assert_true(fd >= 0);
	assert_int_equal(ledger_target_open(&c, &t, &e), ERR_RETRY);
	assert_int_equal(write(fd, "{\"access_key\":\"a\"}", 18), 18);
	assert_int_equal(ledger_target_open(&c, &t, &e), ERR_RETRY);
	assert_non_null(strstr(e.text, "secret_key"));
	assert_int_equal(fchmod(fd, 0644), 0);
	assert_int_equal(ledger_target_open(&c, &t, &e), ERR_RETRY);
	assert_non_null(strstr(e.text, "take others' access away"));
	(void)close(fd);
	(void)unlink(path);
	assert_int_equal(ledger_target_open(&c, &t, &e), ERR_RETRY);
	c.credential_file = "";
	assert_int_equal(ledger_target_open(&c, &t, &e), ERR_REJECT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_gateway),
	    cmocka_unit_test(test_double),
	    cmocka_unit_test(test_credential_files),
	};
	credential_file = getenv("TEST_S3_CREDENTIAL_FILE");
	return cmocka_run_group_tests(tests, NULL, NULL);
}
