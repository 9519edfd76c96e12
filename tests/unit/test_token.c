/* Session tokens: what is signed comes back; every other key, region, time and byte is refused. */
#include "base/clock.h"
#include "crypto/paseto.h"
#include "domain/token.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#define NOW_US	((int64_t)1795312800 * 1000000)
#define HOUR_US ((int64_t)3600 * 1000000)

static struct error e;

#define SEED	   "1111111111111111111111111111111111111111111111111111111111111111"
#define OTHER_SEED "2222222222222222222222222222222222222222222222222222222222222222"

struct keys {
	struct keyring *secret, *public;
};

static void make(const char *id, const char *seed_hex, struct keys *ret)
{
	char text[256], public_hex[2 * KEY_BYTES + 1];
	int n = snprintf(text, sizeof(text), "%s %s\n", id, seed_hex);
	assert_int_equal(keyring_parse(text, (size_t)n, "secret", KEY_TOKEN_SIGN, &ret->secret, NULL), 0);
	uint8_t public[KEY_BYTES];
	paseto_public_key(keyring_current(ret->secret, NULL), public);
	for (size_t i = 0; i < KEY_BYTES; i++)
		(void)snprintf(public_hex + 2 * i, 3, "%02x", public[i]);
	n = snprintf(text, sizeof(text), "%s %s\n", id, public_hex);
	assert_int_equal(keyring_parse(text, (size_t)n, "public", KEY_TOKEN_SIGN, &ret->public, NULL), 0);
}

static void unmake(struct keys *k)
{
	keyring_free(k->secret);
	keyring_free(k->public);
}

static struct session_token sample(void)
{
	struct session_token t = {.made_us = NOW_US,
				  .expires_us = NOW_US + 2 * HOUR_US,
				  .max_bytes = 10737418240,
				  .max_duration_ms = 7200000,
				  .send_on_stop = true};
	t.account = uuid_v4();
	t.session = uuid_v4();
	return t;
}

static void test_round_trip(void **state _unused_)
{
	struct keys k;
	make("2026-a", SEED, &k);
	struct session_token t = sample(), back;
	_cleanup_(freep) char *token = NULL;
	assert_int_equal(session_token_sign(k.secret, "eu1", &t, &token, NULL), 0);
	assert_true(strlen(token) < 1024);
	assert_int_equal(session_token_check(k.public, "eu1", token, NOW_US + HOUR_US, &back, &e), 0);
	assert_true(uuid_equal(&t.account, &back.account));
	assert_true(uuid_equal(&t.session, &back.session));
	assert_int_equal(back.made_us, t.made_us);
	assert_int_equal(back.expires_us, t.expires_us);
	assert_int_equal(back.max_bytes, t.max_bytes);
	assert_int_equal(back.max_duration_ms, t.max_duration_ms);
	assert_true(back.send_on_stop);
	unmake(&k);
}

static void test_refusals(void **state _unused_)
{
	struct keys k, other, renamed;
	make("2026-a", SEED, &k);
	make("2026-a", OTHER_SEED, &other);
	make("2026-b", SEED, &renamed);
	struct session_token t = sample(), back;
	_cleanup_(freep) char *token = NULL;
	assert_int_equal(session_token_sign(k.secret, "eu1", &t, &token, NULL), 0);

	assert_int_equal(session_token_check(other.public, "eu1", token, NOW_US, &back, &e), ERR_DENIED);
	assert_int_equal(session_token_check(renamed.public, "eu1", token, NOW_US, &back, &e), ERR_DENIED);
	assert_int_equal(session_token_check(k.public, "us1", token, NOW_US, &back, &e), ERR_DENIED);
	assert_int_equal(session_token_check(k.public, "eu1", token, t.expires_us, &back, &e), ERR_DENIED);
	assert_int_equal(session_token_check(k.public, "eu1", token, NOW_US - HOUR_US, &back, &e), ERR_DENIED);
	assert_int_equal(session_token_check(k.public, "eu1", "", NOW_US, &back, &e), ERR_REJECT);
	assert_int_equal(session_token_check(k.public, "eu1", "v4.public.", NOW_US, &back, &e), ERR_REJECT);

	for (size_t i = strlen(PASETO_HEADER); i < strlen(token); i += 7) {
		char was = token[i];
		token[i] = was == 'A' ? 'B' : 'A';
		assert_int_not_equal(session_token_check(k.public, "eu1", token, NOW_US, &back, &e), 0);
		token[i] = was;
	}
	t.expires_us = t.made_us + SESSION_TOKEN_LIFE_MAX_US + 1000000;
	_cleanup_(freep) char *longer = NULL;
	assert_int_equal(session_token_sign(k.secret, "eu1", &t, &longer, NULL), ERR_REJECT);
	unmake(&k);
	unmake(&other);
	unmake(&renamed);
}

/* A correctly signed token of another purpose, or with a payload that is none of ours. */
static void test_foreign_payloads(void **state _unused_)
{
	static const char *const payloads[] = {
	    "{}",
	    "not json",
	    "{\"aud\":\"ingest.eu1\",\"iat\":\"2026-11-22\",\"exp\":\"2026-11-23\"}",
	    "{\"aud\":\"ingest.eu1\",\"iat\":\"2026-11-22T10:00:00Z\",\"exp\":\"2036-11-22T10:00:00Z\",\"account\":"
	    "\"00000000-0000-4000-8000-000000000001\",\"session\":\"00000000-0000-4000-8000-000000000002\","
	    "\"max_bytes\":1,\"max_duration_ms\":1,\"send_on_stop\":false}",
	};
	struct keys k;
	make("2026-a", SEED, &k);
	struct session_token back;
	for (size_t i = 0; i < ARRAY_SIZE(payloads); i++) {
		_cleanup_(freep) char *token = NULL;
		assert_int_equal(paseto_sign(keyring_current(k.secret, NULL), payloads[i], "{\"kid\":\"2026-a\"}",
					     "rushes.session.v1", &token, NULL),
				 0);
		assert_int_not_equal(session_token_check(k.public, "eu1", token, NOW_US, &back, &e), 0);
	}
	_cleanup_(freep) char *playback = NULL;
	assert_int_equal(paseto_sign(keyring_current(k.secret, NULL), payloads[3], "{\"kid\":\"2026-a\"}", "",
				     &playback, NULL),
			 0);
	assert_int_equal(session_token_check(k.public, "eu1", playback, NOW_US, &back, &e), ERR_DENIED);
	unmake(&k);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_round_trip),
	    cmocka_unit_test(test_refusals),
	    cmocka_unit_test(test_foreign_payloads),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
