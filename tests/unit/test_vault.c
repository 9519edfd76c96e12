#include "crypto/vault.h"

#include "base/hex.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <string.h>
#include <sys/wait.h>
/* after the headers it needs */
#include <cmocka.h>

static char secret_text[128], public_text[128];
static const char text[] = "{\"access_key\":\"AKIA\",\"secret_key\":\"schl\xc3\xbcssel\"}";
static const struct vault_binding binding = {
    .account = "0190a5f0-0000-7000-8000-000000000001",
    .target = "0190a5f0-0000-7000-8000-000000000002",
    .kind = "s3",
    .host = "https://s3.example.com",
    .port = 443,
    .bucket = "takes",
    .path = "prefix",
    .pinned_key = "",
};

static struct keyring *parse(const char *text_of_file)
{
	struct keyring *k = NULL;
	struct error e = {0};
	assert_int_equal(keyring_parse(text_of_file, strlen(text_of_file), "test", KEY_VAULT, &k, &e), 0);
	return k;
}

static int set_up(void **state _unused_)
{
	uint8_t secret[KEY_BYTES], public[KEY_BYTES];
	char hex[2 * KEY_BYTES + 1];
	vault_key_generate(secret, public);
	hex_encode(secret, KEY_BYTES, hex);
	(void)snprintf(secret_text, sizeof secret_text, "k1 %s\n", hex);
	hex_encode(public, KEY_BYTES, hex);
	(void)snprintf(public_text, sizeof public_text, "k1 %s\n", hex);
	return 0;
}

static uint8_t *seal(size_t *ret_n)
{
	_cleanup_(keyring_freep) struct keyring *p = parse(public_text);
	uint8_t *sealed = NULL;
	struct error e = {0};
	assert_int_equal(vault_seal(p, &binding, text, sizeof text - 1, 0, &sealed, ret_n, &e), 0);
	return sealed;
}

static void test_round_trip(void **state _unused_)
{
	size_t n = 0;
	_cleanup_(freep) uint8_t *sealed = seal(&n);
	_cleanup_(keyring_freep) struct keyring *s = parse(secret_text);
	_cleanup_(vault_credential_freep) struct vault_credential *c = NULL;
	struct error e = {0};
	assert_null(memmem(sealed, n, text, 8));
	assert_int_equal(vault_open(s, &binding, sealed, n, &c, &e), 0);
	assert_int_equal(vault_credential_size(c), sizeof text - 1);
	assert_string_equal(vault_credential_text(c), text);
}

static void test_two_seals_differ(void **state _unused_)
{
	size_t n1 = 0, n2 = 0;
	_cleanup_(freep) uint8_t *a = seal(&n1);
	_cleanup_(freep) uint8_t *b = seal(&n2);
	assert_int_equal(n1, n2);
	/* behind magic and key id everything is fresh: no 16 bytes are equal at the same place */
	for (size_t i = 7; i + 16 <= n1; i++)
		assert_memory_not_equal(a + i, b + i, 16);
}

static void refused(const struct keyring *s, const struct vault_binding *v, const uint8_t *sealed, size_t n)
{
	struct vault_credential *c = NULL;
	struct error e = {0};
	int r = vault_open(s, v, sealed, n, &c, &e);
	assert_true(r == ERR_REJECT || r == ERR_NOTFOUND);
	assert_null(c);
	assert_true(e.text[0] != '\0');
}

static void test_every_changed_byte_is_refused(void **state _unused_)
{
	size_t n = 0;
	_cleanup_(freep) uint8_t *sealed = seal(&n);
	_cleanup_(keyring_freep) struct keyring *s = parse(secret_text);
	for (size_t i = 0; i < n; i++) {
		sealed[i] ^= 0x01;
		refused(s, &binding, sealed, n);
		sealed[i] ^= 0x81;
		refused(s, &binding, sealed, n);
		sealed[i] ^= 0x80;
	}
	for (size_t i = 0; i < n; i++) {
		/* an exact copy, so that reading behind the end is seen by the sanitizers */
		_cleanup_(freep) uint8_t *cut = malloc(i + 1);
		assert_non_null(cut);
		memcpy(cut, sealed, i);
		refused(s, &binding, cut, i);
	}
}

static void test_moved_endpoint_is_refused(void **state _unused_)
{
	size_t n = 0;
	_cleanup_(freep) uint8_t *sealed = seal(&n);
	_cleanup_(keyring_freep) struct keyring *s = parse(secret_text);
	struct vault_binding moved[8];
	for (size_t i = 0; i < ARRAY_SIZE(moved); i++)
		moved[i] = binding;
	moved[0].account = "0190a5f0-0000-7000-8000-000000000009";
	moved[1].target = "0190a5f0-0000-7000-8000-000000000009";
	moved[2].kind = "sftp";
	moved[3].host = "https://s3.example.org";
	moved[4].port = 8443;
	moved[5].bucket = "takes2";
	moved[6].path = NULL;
	moved[7].pinned_key = "x";
	for (size_t i = 0; i < ARRAY_SIZE(moved); i++)
		refused(s, &moved[i], sealed, n);
	/* bytes that move from one field to the next are another binding */
	struct vault_binding shifted = binding;
	shifted.bucket = "takesp";
	shifted.path = "refix";
	refused(s, &shifted, sealed, n);
}

static void test_absent_is_empty(void **state _unused_)
{
	size_t n = 0;
	_cleanup_(freep) uint8_t *sealed = seal(&n);
	_cleanup_(keyring_freep) struct keyring *s = parse(secret_text);
	_cleanup_(vault_credential_freep) struct vault_credential *c = NULL;
	struct error e = {0};
	struct vault_binding v = binding;
	v.pinned_key = NULL;
	assert_int_equal(vault_open(s, &v, sealed, n, &c, &e), 0);
}

static void test_limits(void **state _unused_)
{
	_cleanup_(keyring_freep) struct keyring *p = parse(public_text);
	struct error e = {0};
	char long_text[2 * 5001];
	uint8_t *sealed = NULL;
	size_t n = 0;
	/* 5000 characters of two bytes each pass, one more does not */
	for (size_t i = 0; i < sizeof long_text; i += 2)
		memcpy(long_text + i, "\xc3\xbc", 2);
	assert_int_equal(vault_seal(p, &binding, long_text, 10000, 0, &sealed, &n, &e), 0);
	free(TAKE_PTR(sealed));
	assert_int_equal(vault_seal(p, &binding, long_text, 10002, 0, &sealed, &n, &e), ERR_REJECT);
	assert_int_equal(vault_seal(p, &binding, "abcd", 4, 3, &sealed, &n, &e), ERR_REJECT);
	assert_int_equal(vault_seal(p, &binding, "", 0, 0, &sealed, &n, &e), ERR_REJECT);
	assert_int_equal(vault_seal(p, &binding, "a\0b", 3, 0, &sealed, &n, &e), ERR_REJECT);
	assert_int_equal(vault_seal(p, &binding, "a\xc3", 2, 0, &sealed, &n, &e), ERR_REJECT);
	assert_int_equal(vault_seal(p, &binding, "\x80", 1, 0, &sealed, &n, &e), ERR_REJECT);
	assert_null(sealed);
}

static void test_rotation_opens_with_old_keys(void **state _unused_)
{
	size_t n = 0;
	_cleanup_(freep) uint8_t *sealed = seal(&n);
	uint8_t secret[KEY_BYTES], public[KEY_BYTES];
	char hex[2 * KEY_BYTES + 1], with_old[256], new_only[128], id[KEY_ID_CHARS_MAX + 1];
	vault_key_generate(secret, public);
	hex_encode(secret, KEY_BYTES, hex);
	(void)snprintf(new_only, sizeof new_only, "k2 %s\n", hex);
	(void)snprintf(with_old, sizeof with_old, "%s%s", new_only, secret_text);
	_cleanup_(keyring_freep) struct keyring *both = parse(with_old);
	_cleanup_(keyring_freep) struct keyring *without = parse(new_only);
	_cleanup_(vault_credential_freep) struct vault_credential *c = NULL, *none = NULL;
	struct error e = {0};
	assert_int_equal(vault_key_id(sealed, n, id, &e), 0);
	assert_string_equal(id, "k1");
	assert_int_equal(vault_open(both, &binding, sealed, n, &c, &e), 0);
	assert_int_equal(vault_open(without, &binding, sealed, n, &none, &e), ERR_NOTFOUND);
	assert_null(none);
}

/* The opened text lies in memory that cannot be written, and a child that does so dies. */
static void test_opened_memory_is_read_only(void **state _unused_)
{
	size_t n = 0;
	_cleanup_(freep) uint8_t *sealed = seal(&n);
	_cleanup_(keyring_freep) struct keyring *s = parse(secret_text);
	_cleanup_(vault_credential_freep) struct vault_credential *c = NULL;
	struct error e = {0};
	assert_int_equal(vault_open(s, &binding, sealed, n, &c, &e), 0);
	pid_t pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		/* neither cmocka nor a sanitizer shall turn it into a report */
		(void)signal(SIGSEGV, SIG_DFL);
		*(volatile char *)(uintptr_t)vault_credential_text(c) = 'x';
		_exit(0);
	}
	int status = 0;
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_round_trip),
	    cmocka_unit_test(test_two_seals_differ),
	    cmocka_unit_test(test_every_changed_byte_is_refused),
	    cmocka_unit_test(test_moved_endpoint_is_refused),
	    cmocka_unit_test(test_absent_is_empty),
	    cmocka_unit_test(test_limits),
	    cmocka_unit_test(test_rotation_opens_with_old_keys),
	    cmocka_unit_test(test_opened_memory_is_read_only),
	};
	return cmocka_run_group_tests_name("vault", tests, set_up, NULL);
}
