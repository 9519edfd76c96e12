#include "crypto/keyring.h"

#include "crypto/random.h"
#include "crypto/wrap.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#define DIGITS_A "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"
#define DIGITS_B "ffeeddccbbaa99887766554433221100ffeeddccbbaa99887766554433221100"

static int parse(const char *text, struct keyring **ret, struct error *e)
{
	return keyring_parse(text, strlen(text), "test", KEY_SPOOL_ROOT, ret, e);
}

static void first_key_is_current_and_others_are_found(void **state)
{
	(void)state;
	_cleanup_(keyring_freep) struct keyring *k = NULL;
	assert_int_equal(parse("# new\nk2 " DIGITS_B "\n\nk1 " DIGITS_A "  \r\n", &k, NULL), 0);
	const char *id = NULL;
	assert_int_equal(keyring_current(k, &id)[0], 0xff);
	assert_string_equal(id, "k2");
	assert_non_null(keyring_find(k, "k1"));
	assert_int_equal(keyring_find(k, "k1")[1], 0x11);
	assert_null(keyring_find(k, "k3"));
	assert_int_equal(keyring_purpose(k), KEY_SPOOL_ROOT);
}

static void malformed_files_are_refused_with_the_line(void **state)
{
	(void)state;
	const char *const bad[] = {
	    "",
	    "\n# nothing\n",
	    "k1\n",
	    "k1 0011\n",
	    "k1 " DIGITS_A "0\n",
	    "K1 " DIGITS_A "\n",
	    "k1 " DIGITS_A "\nk1 " DIGITS_B "\n",
	    "k1 zz112233445566778899aabbccddeeff00112233445566778899aabbccddeeff\n",
	};
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		struct keyring *k = NULL;
		struct error e = {0};
		assert_int_equal(parse(bad[i], &k, &e), ERR_FATAL);
		assert_null(strstr(e.text, "00112233")); /* never the key itself */
		assert_null(k);
	}
}

static void write_then_load_refuses_open_modes(void **state)
{
	(void)state;
	char dir[] = "/tmp/test-keyring.XXXXXX";
	assert_non_null(mkdtemp(dir));
	char path[64];
	(void)snprintf(path, sizeof(path), "%s/root.key", dir);
	uint8_t key[KEY_BYTES];
	random_bytes(key, sizeof(key));
	struct error e = {0};
	assert_int_equal(keyring_write(path, "k1", key, 0, &e), 0);
	assert_int_equal(keyring_write(path, "k1", key, 0, &e), ERR_CONFLICT);
	_cleanup_(keyring_freep) struct keyring *k = NULL;
	assert_int_equal(keyring_load(path, KEY_SPOOL_ROOT, &k, &e), 0);
	assert_memory_equal(keyring_current(k, NULL), key, KEY_BYTES);

	struct keyring *none = NULL;
	assert_int_equal(chmod(path, 0640), 0);
	assert_int_equal(keyring_load(path, KEY_SPOOL_ROOT, &none, &e), ERR_FATAL);
	assert_non_null(strstr(e.text, "chmod 600"));
	assert_int_equal(chmod(path, 0644), 0);
	assert_int_equal(keyring_load_public(path, KEY_SPOOL_ROOT, &none, &e), 0);
	keyring_free(none);
	none = NULL;
	assert_int_equal(chmod(path, 0664), 0);
	assert_int_equal(keyring_load_public(path, KEY_SPOOL_ROOT, &none, &e), ERR_FATAL);
	assert_int_equal(unlink(path), 0);
	assert_int_equal(keyring_load(path, KEY_SPOOL_ROOT, &none, &e), ERR_FATAL);
	assert_int_equal(rmdir(dir), 0);
}

static void purposes_have_names(void **state)
{
	(void)state;
	for (int p = 0; p < KEY_PURPOSE_MAX; p++)
		assert_int_equal(key_purpose_from_string(key_purpose_to_string((enum key_purpose)p)), p);
	assert_int_equal(key_purpose_from_string("nothing"), KEY_PURPOSE_MAX);
}

static void wrapped_keys_open_only_in_their_context(void **state)
{
	(void)state;
	uint8_t kek[KEY_BYTES], key[KEY_BYTES], back[KEY_BYTES], wrapped[WRAPPED_KEY_BYTES];
	random_bytes(kek, sizeof(kek));
	random_bytes(key, sizeof(key));
	struct uuid account = uuid_v7();
	struct uuid recording = uuid_v7();
	struct wrap_context ctx = {KEY_SPOOL_ROOT, "k1", &account, &recording};
	assert_int_equal(wrap_key(kek, &ctx, key, wrapped, NULL), 0);
	assert_int_equal(unwrap_key(kek, &ctx, wrapped, sizeof(wrapped), back, NULL), 0);
	assert_memory_equal(key, back, KEY_BYTES);

	struct error e = {0};
	struct wrap_context other = ctx;
	other.recording = NULL;
	assert_int_equal(unwrap_key(kek, &other, wrapped, sizeof(wrapped), back, &e), ERR_CORRUPT);
	other = ctx;
	other.recording = &account;
	assert_int_equal(unwrap_key(kek, &other, wrapped, sizeof(wrapped), back, &e), ERR_CORRUPT);
	other = ctx;
	other.account = &recording;
	assert_int_equal(unwrap_key(kek, &other, wrapped, sizeof(wrapped), back, &e), ERR_CORRUPT);
	other = ctx;
	other.key_id = "k11";
	assert_int_equal(unwrap_key(kek, &other, wrapped, sizeof(wrapped), back, &e), ERR_CORRUPT);
	other = ctx;
	other.purpose = KEY_WEBHOOK_WRAP;
	assert_int_equal(unwrap_key(kek, &other, wrapped, sizeof(wrapped), back, &e), ERR_CORRUPT);
	assert_int_equal(unwrap_key(kek, &ctx, wrapped, sizeof(wrapped) - 1, back, &e), ERR_REJECT);
	for (size_t i = 0; i < sizeof(wrapped); i++) {
		wrapped[i] ^= 0x40;
		assert_int_equal(unwrap_key(kek, &ctx, wrapped, sizeof(wrapped), back, &e),
				 i == 0 ? ERR_REJECT : ERR_CORRUPT);
		wrapped[i] ^= 0x40;
	}
	assert_int_equal(unwrap_key(kek, &ctx, wrapped, sizeof(wrapped), back, &e), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(first_key_is_current_and_others_are_found),
	    cmocka_unit_test(malformed_files_are_refused_with_the_line),
	    cmocka_unit_test(write_then_load_refuses_open_modes),
	    cmocka_unit_test(purposes_have_names),
	    cmocka_unit_test(wrapped_keys_open_only_in_their_context),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
