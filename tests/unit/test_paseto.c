/* Checked against the published vectors: https://github.com/paseto-standard/test-vectors, v4.json. */
#include "crypto/paseto.h"

#include "base/hex.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#define SEED	   "b4cbfb43df4ce210727d953e4a713307fa19bb7d9f85041438d9e11b942a3774"
#define PUBLIC_KEY "1eb9dbbbbc047c03fd70604e0071f0987e16b28b757225c11f00415d0e20b1a2"

struct vector {
	const char *name;
	const char *token;
	const char *payload;
	const char *footer;
	const char *implicit;
};

static const struct vector signs[] = {
    {"4-S-1",
     "v4.public.eyJkYXRhIjoidGhpcyBpcyBhIHNpZ25lZCBtZXNzYWdlIiwiZXhwIjoiMjAyMi0wMS0wMVQwMDowMD"
     "owMCswMDowMCJ9bg_XBBzds8lTZShVlwwKSgeKpLT3yukTw6JUz3W4h_ExsQV-P0V54zemZDcAxFaSeef1QlXEFt"
     "kqxT1ciiQEDA",
     "{\"data\":\"this is a signed message\",\"exp\":\"2022-01-01T00:00:00+00:00\"}", "", ""},
    {"4-S-2",
     "v4.public.eyJkYXRhIjoidGhpcyBpcyBhIHNpZ25lZCBtZXNzYWdlIiwiZXhwIjoiMjAyMi0wMS0wMVQwMDowMD"
     "owMCswMDowMCJ9v3Jt8mx_TdM2ceTGoqwrh4yDFn0XsHvvV_D0DtwQxVrJEBMl0F2caAdgnpKlt4p7xBnx1HcO-S"
     "Po8FPp214HDw.eyJraWQiOiJ6VmhNaVBCUDlmUmYyc25FY1Q3Z0ZUaW9lQTlDT2NOeTlEZmdMMVc2MGhhTiJ9",
     "{\"data\":\"this is a signed message\",\"exp\":\"2022-01-01T00:00:00+00:00\"}",
     "{\"kid\":\"zVhMiPBP9fRf2snEcT7gFTioeA9COcNy9DfgL1W60haN\"}", ""},
    {"4-S-3",
     "v4.public.eyJkYXRhIjoidGhpcyBpcyBhIHNpZ25lZCBtZXNzYWdlIiwiZXhwIjoiMjAyMi0wMS0wMVQwMDowMD"
     "owMCswMDowMCJ9NPWciuD3d0o5eXJXG5pJy-DiVEoyPYWs1YSTwWHNJq6DZD3je5gf-0M4JR9ipdUSJbIovzmBEC"
     "eaWmaqcaP0DQ.eyJraWQiOiJ6VmhNaVBCUDlmUmYyc25FY1Q3Z0ZUaW9lQTlDT2NOeTlEZmdMMVc2MGhhTiJ9",
     "{\"data\":\"this is a signed message\",\"exp\":\"2022-01-01T00:00:00+00:00\"}",
     "{\"kid\":\"zVhMiPBP9fRf2snEcT7gFTioeA9COcNy9DfgL1W60haN\"}", "{\"test-vector\":\"4-S-3\"}"},
};

static const struct vector fails[] = {
    {"4-F-1",
     "v4.local.vngXfCISbnKgiP6VWGuOSlYrFYU300fy9ijW33rznDYgxHNPwWluAY2Bgb0z54CUs6aYYkIJ-bOOOmJ"
     "HPuX_34Agt_IPlNdGDpRdGNnBz2MpWJvB3cttheEc1uyCEYltj7wBQQYX.YXJiaXRyYXJ5LXN0cmluZy10aGF0LW"
     "lzbid0LWpzb24",
     NULL, "arbitrary-string-that-isn't-json", "{\"test-vector\":\"4-F-1\"}"},
    {"4-F-2",
     "v4.public.eyJpbnZhbGlkIjoidGhpcyBzaG91bGQgbmV2ZXIgZGVjb2RlIn22Sp4gjCaUw0c7EH84ZSm_jN_Qr4"
     "1MrgLNu5LIBCzUr1pn3Z-Wukg9h3ceplWigpoHaTLcwxj0NsI1vjTh67YB.eyJraWQiOiJ6VmhNaVBCUDlmUmYyc"
     "25FY1Q3Z0ZUaW9lQTlDT2NOeTlEZmdMMVc2MGhhTiJ9",
     NULL, "{\"kid\":\"zVhMiPBP9fRf2snEcT7gFTioeA9COcNy9DfgL1W60haN\"}", "{\"test-vector\":\"4-F-2\"}"},
    {"4-F-3",
     "v3.local.23e_2PiqpQBPvRFKzB0zHhjmxK3sKo2grFZRRLM-U7L0a8uHxuF9RlVz3Ic6WmdUUWTxCaYycwWV1yM"
     "8gKbZB2JhygDMKvHQ7eBf8GtF0r3K0Q_gF1PXOxcOgztak1eD1dPe9rLVMSgR0nHJXeIGYVuVrVoLWQ.YXJiaXRy"
     "YXJ5LXN0cmluZy10aGF0LWlzbid0LWpzb24",
     NULL, "arbitrary-string-that-isn't-json", "{\"test-vector\":\"4-F-3\"}"},
    {"4-F-4",
     "v4.local.AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAQAr68PS4AXe7If_ZgesdkUMvSwscFlAl1pk5"
     "HC0e8kApeaqMfGo_7OpBnwJOAbY9V7WU6abu74MmcUE8YWAiaArVI8XJ5hOb_4v9RmDkneN0S92dx0OW4pgy7omx"
     "gf3S8c3LlQh",
     NULL, "", ""},
    {"4-F-5",
     "v4.local.32VIErrEkmY4JVILovbmfPXKW9wT1OdQepjMTC_MOtjA4kiqw7_tcaOM5GNEcnTxl60WkwMsYXw6FSN"
     "b_UdJPXjpzm0KW9ojM5f4O2mRvE2IcweP-PRdoHjd5-RHCiExR1IK6t4x-RMNXtQNbz7FvFZ_G-lFpk5RG3EOrwD"
     "L6CgDqcerSQ==.eyJraWQiOiJ6VmhNaVBCUDlmUmYyc25FY1Q3Z0ZUaW9lQTlDT2NOeTlEZmdMMVc2MGhhTiJ9",
     NULL, "{\"kid\":\"zVhMiPBP9fRf2snEcT7gFTioeA9COcNy9DfgL1W60haN\"}", ""},
};

static void keys(uint8_t seed[32], uint8_t public_key[32])
{
	assert_true(hex_decode(SEED, seed, 32));
	assert_true(hex_decode(PUBLIC_KEY, public_key, 32));
}

static void published_vectors_sign_and_verify(void **state)
{
	(void)state;
	uint8_t seed[32], public_key[32], derived[32];
	keys(seed, public_key);
	paseto_public_key(seed, derived);
	assert_memory_equal(derived, public_key, 32);
	for (size_t i = 0; i < ARRAY_SIZE(signs); i++) {
		const struct vector *v = &signs[i];
		_cleanup_(freep) char *token = NULL;
		_cleanup_(freep) char *payload = NULL;
		assert_int_equal(paseto_sign(seed, v->payload, v->footer, v->implicit, &token, NULL), 0);
		assert_string_equal(token, v->token);
		assert_int_equal(paseto_verify(public_key, v->token, v->footer, v->implicit, &payload, NULL), 0);
		assert_string_equal(payload, v->payload);
	}
}

static void published_failures_fail(void **state)
{
	(void)state;
	uint8_t seed[32], public_key[32];
	keys(seed, public_key);
	for (size_t i = 0; i < ARRAY_SIZE(fails); i++) {
		char *payload = NULL;
		struct error e = {0};
		assert_true(
		    paseto_verify(public_key, fails[i].token, fails[i].footer, fails[i].implicit, &payload, &e) < 0);
		assert_null(payload);
	}
}

static void wrong_context_is_denied(void **state)
{
	(void)state;
	uint8_t seed[32], public_key[32];
	keys(seed, public_key);
	const struct vector *v = &signs[2];
	char *payload = NULL;
	struct error e = {0};
	assert_int_equal(paseto_verify(public_key, v->token, v->footer, "", &payload, &e), ERR_DENIED);
	assert_int_equal(paseto_verify(public_key, v->token, "", v->implicit, &payload, &e), ERR_DENIED);
	public_key[0] ^= 1;
	assert_int_equal(paseto_verify(public_key, v->token, v->footer, v->implicit, &payload, &e), ERR_DENIED);
}

/* Every character of the token matters, and base64url has one spelling only. */
static void every_changed_character_is_refused(void **state)
{
	(void)state;
	uint8_t seed[32], public_key[32];
	keys(seed, public_key);
	const struct vector *v = &signs[1];
	_cleanup_(freep) char *token = strdup(v->token);
	assert_non_null(token);
	for (size_t i = 0; token[i]; i++) {
		char kept = token[i];
		for (const char *c = "AQgw_=.%"; *c; c++) {
			if (*c == kept)
				continue;
			token[i] = *c;
			char *payload = NULL;
			assert_true(paseto_verify(public_key, token, v->footer, v->implicit, &payload, NULL) < 0);
		}
		token[i] = kept;
	}
	size_t n = strlen(token);
	for (size_t cut = 0; cut < n; cut++) {
		_cleanup_(freep) char *part = strndup(token, cut);
		char *payload = NULL;
		assert_non_null(part);
		assert_true(paseto_verify(public_key, part, v->footer, v->implicit, &payload, NULL) < 0);
	}
}

static void stray_bits_are_refused(void **state)
{
	(void)state;
	uint8_t seed[32], public_key[32];
	keys(seed, public_key);
	_cleanup_(freep) char *token = NULL;
	assert_int_equal(paseto_sign(seed, "{}", "a", "", &token, NULL), 0);
	size_t n = strlen(token);
	assert_string_equal(token + n - 3, ".YQ");
	char *payload = NULL;
	assert_int_equal(paseto_verify(public_key, token, "a", "", &payload, NULL), 0);
	free(payload);
	payload = NULL;
	token[n - 1] = 'R'; /* the same byte with bits set that no byte has */
	assert_int_equal(paseto_verify(public_key, token, "a", "", &payload, NULL), ERR_REJECT);
}

static void footers_name_keys(void **state)
{
	(void)state;
	uint8_t seed[32], public_key[32];
	keys(seed, public_key);
	_cleanup_(freep) char *footer = NULL;
	_cleanup_(freep) char *token = NULL;
	_cleanup_(freep) char *id = NULL;
	assert_int_equal(paseto_footer_make("t-2026", &footer, NULL), 0);
	assert_string_equal(footer, "{\"kid\":\"t-2026\"}");
	assert_int_equal(paseto_sign(seed, "{}", footer, "", &token, NULL), 0);
	assert_int_equal(paseto_key_id(token, &id, NULL), 0);
	assert_string_equal(id, "t-2026");
	char *none = NULL;
	struct error e = {0};
	assert_int_equal(paseto_footer_make("no id", &none, &e), ERR_REJECT);
	assert_int_equal(paseto_key_id(signs[0].token, &none, &e), ERR_REJECT); /* no footer */
	assert_int_equal(paseto_key_id(signs[1].token, &none, &e), ERR_REJECT); /* upper case: no id of ours */
	assert_int_equal(paseto_key_id("v4.public", &none, &e), ERR_REJECT);
}

static void sizes_are_bounded(void **state)
{
	(void)state;
	uint8_t seed[32], public_key[32];
	keys(seed, public_key);
	_cleanup_(freep) char *big = malloc(PASETO_TOKEN_CHARS_MAX + 2);
	assert_non_null(big);
	memset(big, 'A', PASETO_TOKEN_CHARS_MAX + 1);
	big[PASETO_TOKEN_CHARS_MAX + 1] = '\0';
	memcpy(big, PASETO_HEADER, strlen(PASETO_HEADER));
	char *out = NULL;
	struct error e = {0};
	assert_int_equal(paseto_verify(public_key, big, "", "", &out, &e), ERR_REJECT);
	big[PASETO_TOKEN_CHARS_MAX] = '\0';
	assert_int_equal(paseto_verify(public_key, big, "", "", &out, &e), ERR_REJECT);
	big[PASETO_PAYLOAD_BYTES_MAX + 1] = '\0';
	assert_int_equal(paseto_sign(seed, big, "", "", &out, &e), ERR_REJECT);
	big[PASETO_PAYLOAD_BYTES_MAX] = '\0';
	_cleanup_(freep) char *token = NULL;
	assert_int_equal(paseto_sign(seed, big, "", "", &token, &e), 0);
	_cleanup_(freep) char *payload = NULL;
	assert_int_equal(paseto_verify(public_key, token, "", "", &payload, &e), 0);
	assert_string_equal(payload, big);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(published_vectors_sign_and_verify),
	    cmocka_unit_test(published_failures_fail),
	    cmocka_unit_test(wrong_context_is_denied),
	    cmocka_unit_test(every_changed_character_is_refused),
	    cmocka_unit_test(stray_bits_are_refused),
	    cmocka_unit_test(footers_name_keys),
	    cmocka_unit_test(sizes_are_bounded),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
