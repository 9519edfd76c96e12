#include "domain/access_code.h"

#include "base/hex.h"
#include "crypto/random.h"

#include <sodium.h>
#include <string.h>

static const char alphabet[] = "abcdefghijklmnopqrstuvwxyz234567";

/* 256 is a multiple of 32: every character is equally likely. */
static void random_text(char *ret, size_t n)
{
	random_bytes(ret, n);
	for (size_t i = 0; i < n; i++)
		ret[i] = alphabet[(uint8_t)ret[i] % 32];
	ret[n] = '\0';
}

static bool is_text(const char *text, size_t n)
{
	return strnlen(text, n + 1) == n && strspn(text, alphabet) == n;
}

void link_code_new(char ret[LINK_CODE_BYTES])
{
	random_text(ret, LINK_CODE_CHARS);
}

bool link_code_valid(const char *code)
{
	return is_text(code, LINK_CODE_CHARS);
}

static int hash(const struct keyring *pepper, char *message, int n, uint8_t ret[HMAC_BYTES], struct error *e)
{
	const char *id = NULL;
	int r = hmac_sha256(keyring_current(pepper, &id), KEY_BYTES, message, (size_t)n, ret, e);
	sodium_memzero(message, (size_t)n);
	return r;
}

int link_code_hash(const struct keyring *pepper, const char *code, uint8_t ret[HMAC_BYTES], struct error *e)
{
	char message[5 + LINK_CODE_BYTES];
	if (!link_code_valid(code))
		return error_set(e, ERR_REJECT, "this is no code of a link");
	return hash(pepper, message, snprintf(message, sizeof(message), "link %s", code), ret, e);
}

int link_code_derive(const struct keyring *pepper, const struct uuid *account, const char *idempotency,
		     char ret[LINK_CODE_BYTES], struct error *e)
{
	char name[UUID_TEXT_BYTES];
	char message[16 + UUID_TEXT_BYTES + LINK_IDEMPOTENCY_CHARS_MAX + 1];
	uint8_t bytes[HMAC_BYTES];
	if (strlen(idempotency) > LINK_IDEMPOTENCY_CHARS_MAX)
		return error_set(e, ERR_REJECT, "an idempotency key has at most %d characters",
				 LINK_IDEMPOTENCY_CHARS_MAX);
	uuid_format(account, name);
	int n = snprintf(message, sizeof(message), "link-code %s %s", name, idempotency);
	int r = hash(pepper, message, n, bytes, e);
	if (r < 0)
		return r;
	/* 26 of 32 bytes, one character each: 130 bits */
	for (size_t i = 0; i < LINK_CODE_CHARS; i++)
		ret[i] = alphabet[bytes[i] % 32];
	ret[LINK_CODE_CHARS] = '\0';
	sodium_memzero(bytes, sizeof(bytes));
	return 0;
}

/* The id's digits without the dashes. */
static void format_id(const struct uuid *id, char ret[2 * UUID_BYTES + 1])
{
	hex_encode(id->b, UUID_BYTES, ret);
}

void api_key_new(const struct uuid *id, char ret[API_KEY_BYTES])
{
	char digits[2 * UUID_BYTES + 1];
	format_id(id, digits);
	int n = snprintf(ret, API_KEY_BYTES, "rk_%s_", digits);
	random_text(ret + n, API_KEY_SECRET_CHARS);
}

bool api_key_parse(const char *text, struct uuid *ret_id, const char **ret_secret)
{
	char digits[2 * UUID_BYTES + 1];
	if (strnlen(text, API_KEY_BYTES) != API_KEY_CHARS || strncmp(text, "rk_", 3) != 0 || text[35] != '_' ||
	    !is_text(text + 36, API_KEY_SECRET_CHARS))
		return false;
	memcpy(digits, text + 3, 2 * UUID_BYTES);
	digits[2 * UUID_BYTES] = '\0';
	if (!hex_decode(digits, ret_id->b, UUID_BYTES))
		return false;
	*ret_secret = text + 36;
	return true;
}

int api_key_hash(const struct keyring *pepper, const struct uuid *id, const char *secret, uint8_t ret[HMAC_BYTES],
		 struct error *e)
{
	char name[UUID_TEXT_BYTES];
	char message[8 + UUID_TEXT_BYTES + API_KEY_SECRET_CHARS + 1];
	if (!is_text(secret, API_KEY_SECRET_CHARS))
		return error_set(e, ERR_REJECT, "this is no API key");
	uuid_format(id, name);
	return hash(pepper, message, snprintf(message, sizeof(message), "api-key %s %s", name, secret), ret, e);
}

void account_hash_new(char ret[ACCOUNT_HASH_BYTES])
{
	random_text(ret, ACCOUNT_HASH_CHARS);
}
