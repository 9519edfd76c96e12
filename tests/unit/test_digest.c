#include "crypto/digest.h"

#include "base/hex.h"
#include "crypto/aead.h"
#include "crypto/hmac.h"
#include "crypto/random.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static void sha256_matches_published_vectors(void **state)
{
	(void)state;
	uint8_t digest[SHA256_BYTES];
	char text[SHA256_TEXT_BYTES];
	assert_int_equal(sha256_of("abc", 3, digest, NULL), 0);
	sha256_format(digest, text);
	assert_string_equal(text, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
	assert_int_equal(sha256_of(NULL, 0, digest, NULL), 0);
	sha256_format(digest, text);
	assert_string_equal(text, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
}

static void sha256_peeks_without_ending(void **state)
{
	(void)state;
	_cleanup_(sha256_freep) struct sha256 *s = NULL;
	assert_int_equal(sha256_new(&s, NULL), 0);
	uint8_t peek[SHA256_BYTES];
	uint8_t whole[SHA256_BYTES];
	uint8_t part[SHA256_BYTES];
	sha256_update(s, "ab", 2);
	sha256_peek(s, peek);
	assert_int_equal(sha256_of("ab", 2, part, NULL), 0);
	assert_memory_equal(peek, part, SHA256_BYTES);
	sha256_update(s, "c", 1);
	sha256_finish(s, whole);
	assert_int_equal(sha256_of("abc", 3, part, NULL), 0);
	assert_memory_equal(whole, part, SHA256_BYTES);
	sha256_update(s, "ab", 2); /* a new message */
	sha256_finish(s, whole);
	assert_memory_equal(whole, peek, SHA256_BYTES);
}

static void crc32_is_the_one_of_gzip_and_joins(void **state)
{
	(void)state;
	assert_int_equal(crc32_update(0, "123456789", 9), 0xcbf43926);
	assert_int_equal(crc32_update(crc32_update(0, "1234", 4), "56789", 5), 0xcbf43926);
	uint32_t a = crc32_update(0, "1234", 4);
	uint32_t b = crc32_update(0, "56789", 5);
	assert_int_equal(crc32_join(a, b, 5), 0xcbf43926);
	assert_int_equal(crc32_join(a, 0, 0), a);
}

static void hmac_matches_rfc_4231(void **state)
{
	(void)state;
	uint8_t mac[HMAC_BYTES];
	char text[SHA256_TEXT_BYTES];
	assert_int_equal(hmac_sha256("Jefe", 4, "what do ya want for nothing?", 28, mac, NULL), 0);
	hex_encode(mac, sizeof(mac), text);
	assert_string_equal(text, "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
}

static void hkdf_matches_rfc_5869(void **state)
{
	(void)state;
	uint8_t key[22];
	memset(key, 0x0b, sizeof(key));
	uint8_t salt[13];
	uint8_t info[10];
	for (uint8_t i = 0; i < sizeof(salt); i++)
		salt[i] = i;
	for (uint8_t i = 0; i < sizeof(info); i++)
		info[i] = (uint8_t)(0xf0 + i);
	uint8_t out[42];
	char text[2 * sizeof(out) + 1];
	assert_int_equal(hkdf_sha256(key, sizeof(key), salt, sizeof(salt), info, sizeof(info), out, sizeof(out), NULL),
			 0);
	hex_encode(out, sizeof(out), text);
	assert_string_equal(text,
			    "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865");
}

/* Test case 16 of the GCM specification: AES-256 with associated data. */
static void gcm_matches_its_specification(void **state)
{
	(void)state;
	uint8_t key[32], nonce[12], plain[60], ad[20], sealed[60], tag[16], back[60];
	char text[121];
	assert_true(hex_decode("feffe9928665731c6d6a8f9467308308feffe9928665731c6d6a8f9467308308", key, 32));
	assert_true(hex_decode("cafebabefacedbaddecaf888", nonce, 12));
	assert_true(hex_decode("d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a72"
			       "1c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b39",
			       plain, 60));
	assert_true(hex_decode("feedfacedeadbeeffeedfacedeadbeefabaddad2", ad, 20));
	_cleanup_(aead_freep) struct aead *a = NULL;
	assert_int_equal(aead_new(key, &a, NULL), 0);
	struct aead_piece pieces[] = {{plain, 4}, {plain + 4, 0}, {plain + 4, 56}};
	for (int round = 0; round < 2; round++) { /* the context is used again */
		assert_int_equal(aead_seal(a, nonce, ad, sizeof(ad), pieces, 3, sealed, tag, NULL), 0);
		hex_encode(sealed, sizeof(sealed), text);
		assert_string_equal(text, "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa"
					  "8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f662");
		hex_encode(tag, sizeof(tag), text);
		assert_string_equal(text, "76fc6ece0f4e1768cddf8853bb2d551b");
		assert_int_equal(aead_open(a, nonce, ad, sizeof(ad), sealed, sizeof(sealed), tag, back, NULL), 0);
		assert_memory_equal(back, plain, sizeof(plain));
	}
}

static void gcm_refuses_whatever_was_changed(void **state)
{
	(void)state;
	uint8_t key[32], nonce[12], tag[16], sealed[3], back[3];
	random_bytes(key, sizeof(key));
	random_bytes(nonce, sizeof(nonce));
	_cleanup_(aead_freep) struct aead *a = NULL;
	assert_int_equal(aead_new(key, &a, NULL), 0);
	struct aead_piece piece = {"abc", 3};
	assert_int_equal(aead_seal(a, nonce, "ad", 2, &piece, 1, sealed, tag, NULL), 0);
	struct error e = {0};
	assert_int_equal(aead_open(a, nonce, "aD", 2, sealed, 3, tag, back, &e), ERR_CORRUPT);
	assert_memory_equal(back, "\0\0\0", 3);
	tag[15] ^= 1;
	assert_int_equal(aead_open(a, nonce, "ad", 2, sealed, 3, tag, back, &e), ERR_CORRUPT);
	tag[15] ^= 1;
	sealed[0] ^= 1;
	assert_int_equal(aead_open(a, nonce, "ad", 2, sealed, 3, tag, back, &e), ERR_CORRUPT);
	sealed[0] ^= 1;
	nonce[0] ^= 1;
	assert_int_equal(aead_open(a, nonce, "ad", 2, sealed, 3, tag, back, &e), ERR_CORRUPT);
	nonce[0] ^= 1;
	assert_int_equal(aead_open(a, nonce, "ad", 2, sealed, 3, tag, back, &e), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(sha256_matches_published_vectors),
	    cmocka_unit_test(sha256_peeks_without_ending),
	    cmocka_unit_test(crc32_is_the_one_of_gzip_and_joins),
	    cmocka_unit_test(hmac_matches_rfc_4231),
	    cmocka_unit_test(hkdf_matches_rfc_5869),
	    cmocka_unit_test(gcm_matches_its_specification),
	    cmocka_unit_test(gcm_refuses_whatever_was_changed),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
