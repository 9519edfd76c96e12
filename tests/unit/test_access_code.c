#include "domain/access_code.h"

#include "base/hex.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#define PEPPER_TEXT "p1 000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f\n"

static struct keyring *pepper(void)
{
	struct keyring *k = NULL;
	struct error e = {0};
	if (keyring_parse(PEPPER_TEXT, strlen(PEPPER_TEXT), "test", KEY_LINK_PEPPER, &k, &e) < 0)
		fail_msg("%s", e.text);
	return k;
}

static void hash_is(const uint8_t hash[HMAC_BYTES], const char *want)
{
	char text[2 * HMAC_BYTES + 1];
	hex_encode(hash, HMAC_BYTES, text);
	assert_string_equal(text, want);
}

static void codes_have_their_form_and_differ(void **state _unused_)
{
	char a[LINK_CODE_BYTES], b[LINK_CODE_BYTES];
	link_code_new(a);
	link_code_new(b);
	assert_true(link_code_valid(a) && link_code_valid(b));
	assert_string_not_equal(a, b);
	assert_int_equal(strlen(a), LINK_CODE_CHARS);
}

static void other_texts_are_no_codes(void **state _unused_)
{
	assert_true(link_code_valid("abcdefghijklmnopqrstuvwxyz"));
	assert_false(link_code_valid(""));
	assert_false(link_code_valid("abcdefghijklmnopqrstuvwxy"));
	assert_false(link_code_valid("abcdefghijklmnopqrstuvwxyza"));
	assert_false(link_code_valid("Abcdefghijklmnopqrstuvwxyz"));
	assert_false(link_code_valid("abcdefghijklmnopqrstuvwxy1"));
	assert_false(link_code_valid("abcdefghijklmnopqrstuvwx%20"));
}

/* The values are those of `printf 'link abc…' | openssl dgst -sha256 -mac HMAC -macopt hexkey:000102…`. */
static void hashes_are_hmacs_that_name_their_purpose(void **state _unused_)
{
	_cleanup_(keyring_freep) struct keyring *k = pepper();
	struct error e = {0};
	struct uuid id;
	uint8_t hash[HMAC_BYTES];
	char secret[API_KEY_SECRET_CHARS + 1];
	assert_int_equal(link_code_hash(k, "abcdefghijklmnopqrstuvwxyz", hash, &e), 0);
	hash_is(hash, "114de561705fa46dbbd2b5693ff15f84e182ca1c32b66eae4f69b4a64ad18f93");
	memset(secret, 'a', API_KEY_SECRET_CHARS);
	secret[API_KEY_SECRET_CHARS] = '\0';
	assert_true(uuid_parse("0193b2c4-6f1e-7a3b-9c52-3f0d8f6f1a77", &id));
	assert_int_equal(api_key_hash(k, &id, secret, hash, &e), 0);
	hash_is(hash, "cd81a482126ee6cc06b6a241b6e698ddcd1ec3e380eadbe66be00848fba190f7");
	assert_int_equal(link_code_hash(k, "abc", hash, &e), ERR_REJECT);
	assert_int_equal(api_key_hash(k, &id, "abc", hash, &e), ERR_REJECT);
}

static void api_keys_are_read_as_they_are_made(void **state _unused_)
{
	struct uuid id = uuid_v7(), read;
	char key[API_KEY_BYTES];
	const char *secret = NULL;
	api_key_new(&id, key);
	assert_int_equal(strlen(key), API_KEY_CHARS);
	assert_true(api_key_parse(key, &read, &secret));
	assert_true(uuid_equal(&id, &read));
	assert_ptr_equal(secret, key + API_KEY_CHARS - API_KEY_SECRET_CHARS);
}

static void other_texts_are_no_api_keys(void **state _unused_)
{
	struct uuid id = uuid_v7(), read;
	char key[API_KEY_BYTES + 1];
	const char *secret = NULL;
	/* every byte counts: none may be exchanged, left out or added */
	for (size_t i = 0; i < API_KEY_CHARS; i++) {
		api_key_new(&id, key);
		key[i] = '!';
		assert_false(api_key_parse(key, &read, &secret));
		api_key_new(&id, key);
		key[i] = '\0';
		assert_false(api_key_parse(key, &read, &secret));
	}
	api_key_new(&id, key);
	key[API_KEY_CHARS] = 'a';
	key[API_KEY_CHARS + 1] = '\0';
	assert_false(api_key_parse(key, &read, &secret));
	assert_false(api_key_parse("", &read, &secret));
}

static void account_hashes_fit_their_column(void **state _unused_)
{
	char hash[ACCOUNT_HASH_BYTES];
	account_hash_new(hash);
	assert_int_equal(strlen(hash), ACCOUNT_HASH_CHARS);
	assert_int_equal(strspn(hash, "abcdefghijklmnopqrstuvwxyz0123456789"), ACCOUNT_HASH_CHARS);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(codes_have_their_form_and_differ),
	    cmocka_unit_test(other_texts_are_no_codes),
	    cmocka_unit_test(hashes_are_hmacs_that_name_their_purpose),
	    cmocka_unit_test(api_keys_are_read_as_they_are_made),
	    cmocka_unit_test(other_texts_are_no_api_keys),
	    cmocka_unit_test(account_hashes_fit_their_column),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
