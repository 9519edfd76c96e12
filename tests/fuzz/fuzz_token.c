/* Fuzzes session tokens: the outer form of what anybody may send, and payloads behind a right signature. The first byte
 * chooses.
 * Build: make fuzz-build; run: build/fuzz/fuzz_token -dict=tests/fuzz/token.dict tests/fuzz/corpus/token */
#include "crypto/paseto.h"
#include "domain/token.h"

#include <string.h>

#define NOW_US ((int64_t)1795327200 * 1000000)

#define KEY_ID	  "a"
#define FOOTER	  "{\"kid\":\"" KEY_ID "\"}"
#define ASSERTION "rushes.session.v1"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const uint8_t seed[PASETO_KEY_BYTES] = {1};

static void must(bool ok)
{
	if (!ok)
		abort();
}

static struct keyring *public_keys(void)
{
	char text[8 + 2 * PASETO_KEY_BYTES];
	uint8_t public[PASETO_KEY_BYTES];
	struct keyring *keys = NULL;
	paseto_public_key(seed, public);
	int n = snprintf(text, sizeof(text), KEY_ID " ");
	for (size_t i = 0; i < sizeof(public); i++)
		n += snprintf(text + n, sizeof(text) - (size_t)n, "%02x", public[i]);
	text[n++] = '\n';
	must(keyring_parse(text, (size_t)n, "public", KEY_TOKEN_SIGN, &keys, NULL) == 0);
	return keys;
}

/* Nobody signed it: it is refused, whatever it looks like. */
static void outer(const struct keyring *keys, const char *text)
{
	struct session_token t;
	struct error e = {0};
	_cleanup_(freep) char *id = NULL;
	(void)!paseto_key_id(text, &id, &e);
	must(session_token_check(keys, "local", text, NOW_US, &t, &e) < 0 && e.text[0]);
}

/* What a signed payload admits is inside the bounds that callers rely on. */
static void inner(const struct keyring *keys, const char *payload)
{
	struct session_token t;
	struct error e = {0};
	_cleanup_(freep) char *token = NULL;
	if (paseto_sign(seed, payload, FOOTER, ASSERTION, &token, &e) < 0)
		return;
	if (session_token_check(keys, "local", token, NOW_US, &t, &e) < 0) {
		must(e.text[0]);
		return;
	}
	must(t.expires_us > NOW_US && t.made_us <= NOW_US + SESSION_TOKEN_SKEW_US);
	must(t.expires_us - t.made_us <= SESSION_TOKEN_LIFE_MAX_US);
	must(t.max_bytes <= INT64_MAX && t.max_duration_ms <= INT64_MAX);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct keyring *keys;
	if (!keys)
		keys = public_keys();
	if (size < 2)
		return 0;
	_cleanup_(freep) char *text = strndup((const char *)data + 1, size - 1);
	must(text != NULL);
	if (data[0] % 2 == 0)
		outer(keys, text);
	else
		inner(keys, text);
	return 0;
}
