#include "domain/key.h"

#include "base/hex.h"
#include "crypto/random.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#define DIGITS "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"

struct made {
	struct keyring *root;
	struct uuid account, recording, account_key_id;
	uint8_t key[KEY_BYTES];
	json_t *context;
};

/* A context as rushes.job_context gives it, with a chain of keys made here. */
static void make(struct made *m)
{
	assert_int_equal(keyring_parse("root-1 " DIGITS, strlen("root-1 " DIGITS), "test", KEY_SPOOL_ROOT, &m->root,
				       NULL),
			 0);
	m->account = uuid_v7();
	m->recording = uuid_v7();
	m->account_key_id = uuid_v7();
	uint8_t account_key[KEY_BYTES], account_wrapped[WRAPPED_KEY_BYTES], wrapped[WRAPPED_KEY_BYTES];
	char id[UUID_TEXT_BYTES], a[2 * WRAPPED_KEY_BYTES + 1], w[2 * WRAPPED_KEY_BYTES + 1];
	random_bytes(account_key, sizeof(account_key));
	random_bytes(m->key, sizeof(m->key));
	struct wrap_context outer = {KEY_SPOOL_ROOT, "root-1", &m->account, NULL};
	assert_int_equal(wrap_key(keyring_current(m->root, NULL), &outer, account_key, account_wrapped, NULL), 0);
	uuid_format(&m->account_key_id, id);
	struct wrap_context inner = {KEY_SPOOL_ROOT, id, &m->account, &m->recording};
	assert_int_equal(wrap_key(account_key, &inner, m->key, wrapped, NULL), 0);
	hex_encode(account_wrapped, sizeof(account_wrapped), a);
	hex_encode(wrapped, sizeof(wrapped), w);
	m->context = json_pack("{s:s, s:s, s:s, s:s}", "account_key", id, "root_key", "root-1", "account_wrapped", a,
			       "wrapped", w);
	assert_non_null(m->context);
}

static void done(struct made *m)
{
	json_decref(m->context);
	keyring_free(m->root);
}

static void a_context_opens_to_the_key(void **state)
{
	(void)state;
	struct made m;
	make(&m);
	uint8_t key[KEY_BYTES];
	struct error e = {0};
	assert_int_equal(recording_key_from_context(m.root, &m.account, &m.recording, m.context, key, &e), 0);
	assert_memory_equal(key, m.key, KEY_BYTES);
	done(&m);
}

static void another_account_or_recording_does_not_open(void **state)
{
	(void)state;
	struct made m;
	make(&m);
	uint8_t key[KEY_BYTES];
	struct error e = {0};
	struct uuid other = uuid_v7();
	assert_int_equal(recording_key_from_context(m.root, &other, &m.recording, m.context, key, &e), ERR_CORRUPT);
	assert_int_equal(recording_key_from_context(m.root, &m.account, &other, m.context, key, &e), ERR_CORRUPT);
	done(&m);
}

static void malformed_contexts_are_told_apart(void **state)
{
	(void)state;
	struct made m;
	make(&m);
	uint8_t key[KEY_BYTES];
	struct error e = {0};
	assert_int_equal(recording_key_from_context(m.root, &m.account, &m.recording, NULL, key, &e), ERR_NOTFOUND);
	assert_int_equal(recording_key_from_context(m.root, &m.account, &m.recording, json_null(), key, &e),
			 ERR_NOTFOUND);
	assert_int_equal(json_object_set_new(m.context, "wrapped", json_string("zz")), 0);
	assert_int_equal(recording_key_from_context(m.root, &m.account, &m.recording, m.context, key, &e), ERR_CORRUPT);
	assert_int_equal(json_object_set_new(m.context, "root_key", json_string("root-2")), 0);
	assert_int_equal(recording_key_from_context(m.root, &m.account, &m.recording, m.context, key, &e), ERR_CORRUPT);
	assert_int_equal(json_object_del(m.context, "root_key"), 0);
	assert_int_equal(recording_key_from_context(m.root, &m.account, &m.recording, m.context, key, &e), ERR_REJECT);
	done(&m);
}

static void a_root_key_that_is_not_held_is_denied(void **state)
{
	(void)state;
	struct made m;
	make(&m);
	uint8_t key[KEY_BYTES];
	struct error e = {0};
	assert_int_equal(json_object_set_new(m.context, "root_key", json_string("root-2")), 0);
	assert_int_equal(recording_key_from_context(m.root, &m.account, &m.recording, m.context, key, &e), ERR_DENIED);
	done(&m);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(a_context_opens_to_the_key),
	    cmocka_unit_test(another_account_or_recording_does_not_open),
	    cmocka_unit_test(malformed_contexts_are_told_apart),
	    cmocka_unit_test(a_root_key_that_is_not_held_is_denied),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
