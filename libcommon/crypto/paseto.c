#include "crypto/paseto.h"

#include "base/buffer.h"
#include "base/json.h"
#include "crypto/keyring.h"

#include <assert.h>
#include <sodium.h>
#include <string.h>

#define HEADER_CHARS (sizeof(PASETO_HEADER) - 1)

/* Pre-authentication encoding: count of the pieces, then length and bytes of each; 64-bit little-endian numbers whose
 * highest bit is clear (PASETO, docs/01-Protocol-Versions/Common.md). */
#define PAE_LIMIT_BYTES ((size_t)16 * 1024)

static int pae_number(struct buffer *b, uint64_t v)
{
	uint8_t le[8];
	for (int i = 0; i < 8; i++)
		le[i] = (uint8_t)(v >> (8 * i));
	le[7] &= 0x7f;
	return buffer_append(b, le, sizeof(le));
}

static int pae(struct buffer *b, const void *payload, size_t payload_n, const char *footer, const char *implicit)
{
	const struct {
		const void *data;
		size_t n;
	} pieces[] = {
	    {PASETO_HEADER, HEADER_CHARS},
	    {payload, payload_n},
	    {footer, strlen(footer)},
	    {implicit, strlen(implicit)},
	};
	int r = pae_number(b, ARRAY_SIZE(pieces));
	for (size_t i = 0; i < ARRAY_SIZE(pieces) && r == 0; i++) {
		r = pae_number(b, pieces[i].n);
		if (r == 0)
			r = buffer_append(b, pieces[i].data, pieces[i].n);
	}
	return r;
}

static void buffer_donep(struct buffer *b)
{
	buffer_done(b);
}

/* Strict base64url without padding: libsodium refuses other characters, we refuse bits that do not belong to a byte by
 * encoding again. `ret` holds `ret_max` bytes and room for an end. */
static int decode64(const char *text, size_t n, uint8_t *ret, size_t ret_max, size_t *ret_n, struct error *e)
{
	const char *end = NULL;
	if (sodium_base642bin(ret, ret_max, text, n, NULL, ret_n, &end, sodium_base64_VARIANT_URLSAFE_NO_PADDING) !=
		0 ||
	    end != text + n)
		return error_set(e, ERR_REJECT, "the token is not strict base64url");
	size_t need = sodium_base64_ENCODED_LEN(*ret_n, sodium_base64_VARIANT_URLSAFE_NO_PADDING);
	_cleanup_(freep) char *again = malloc(need);
	if (!again)
		return error_nomem(e);
	(void)sodium_bin2base64(again, need, ret, *ret_n, sodium_base64_VARIANT_URLSAFE_NO_PADDING);
	if (strlen(again) != n || memcmp(again, text, n) != 0)
		return error_set(e, ERR_REJECT, "the token is not strict base64url");
	ret[*ret_n] = '\0';
	return 0;
}

/* A token's parts, pointing into it. */
struct parts {
	const char *body;
	size_t body_n;
	const char *footer; /* "" when there is none */
	size_t footer_n;
};

static int split(const char *token, struct parts *ret, struct error *e)
{
	size_t n = strnlen(token, PASETO_TOKEN_CHARS_MAX + 1);
	if (n > PASETO_TOKEN_CHARS_MAX)
		return error_set(e, ERR_REJECT, "the token is longer than %d characters", PASETO_TOKEN_CHARS_MAX);
	if (n < HEADER_CHARS || memcmp(token, PASETO_HEADER, HEADER_CHARS) != 0)
		return error_set(e, ERR_REJECT, "the token is not a %s token", PASETO_HEADER);
	*ret = (struct parts){.body = token + HEADER_CHARS, .footer = token + n};
	const char *dot = strchr(ret->body, '.');
	ret->body_n = dot ? (size_t)(dot - ret->body) : n - HEADER_CHARS;
	if (dot) {
		ret->footer = dot + 1;
		ret->footer_n = n - (size_t)(ret->footer - token);
		if (ret->footer_n == 0 || memchr(ret->footer, '.', ret->footer_n))
			return error_set(e, ERR_REJECT, "the token has an empty or a third part");
	}
	return 0;
}

static int footer_of(const struct parts *p, char **ret, struct error *e)
{
	_cleanup_(freep) char *footer = calloc(1, PASETO_FOOTER_BYTES_MAX + 1);
	if (!footer)
		return error_nomem(e);
	size_t n = 0;
	int r = decode64(p->footer, p->footer_n, (uint8_t *)footer, PASETO_FOOTER_BYTES_MAX, &n, e);
	if (r < 0)
		return r;
	if (memchr(footer, '\0', n))
		return error_set(e, ERR_REJECT, "the token's footer holds a NUL");
	*ret = TAKE_PTR(footer);
	return 0;
}

int paseto_footer(const char *token, char **ret, struct error *e)
{
	struct parts p;
	int r = split(token, &p, e);
	return r < 0 ? r : footer_of(&p, ret, e);
}

static int append64(struct buffer *b, const void *data, size_t n)
{
	size_t need = sodium_base64_ENCODED_LEN(n, sodium_base64_VARIANT_URLSAFE_NO_PADDING);
	int r = buffer_reserve(b, need);
	if (r < 0)
		return r;
	(void)sodium_bin2base64(b->data + b->size, need, data, n, sodium_base64_VARIANT_URLSAFE_NO_PADDING);
	b->size += strlen(b->data + b->size);
	return 0;
}

int paseto_sign(const uint8_t seed[PASETO_KEY_BYTES], const char *payload, const char *footer, const char *implicit,
		char **ret, struct error *e)
{
	size_t payload_n = strlen(payload);
	if (payload_n > PASETO_PAYLOAD_BYTES_MAX || strlen(footer) > PASETO_FOOTER_BYTES_MAX)
		return error_set(e, ERR_REJECT, "a token's payload has at most %d bytes, its footer %d",
				 PASETO_PAYLOAD_BYTES_MAX, PASETO_FOOTER_BYTES_MAX);
	_cleanup_(buffer_donep) struct buffer message = {.limit = PAE_LIMIT_BYTES};
	if (pae(&message, payload, payload_n, footer, implicit) < 0)
		return error_set(e, ERR_REJECT, "the token's implicit assertion is too long");

	uint8_t public_key[crypto_sign_PUBLICKEYBYTES];
	uint8_t secret[crypto_sign_SECRETKEYBYTES];
	uint8_t body[PASETO_PAYLOAD_BYTES_MAX + crypto_sign_BYTES];
	(void)crypto_sign_seed_keypair(public_key, secret, seed);
	memcpy(body, payload, payload_n);
	(void)crypto_sign_detached(body + payload_n, NULL, (const uint8_t *)message.data, message.size, secret);
	sodium_memzero(secret, sizeof(secret));

	_cleanup_(buffer_donep) struct buffer token = {.limit = PASETO_TOKEN_CHARS_MAX};
	int r = buffer_append_string(&token, PASETO_HEADER);
	if (r == 0)
		r = append64(&token, body, payload_n + crypto_sign_BYTES);
	if (r == 0 && footer[0])
		r = buffer_append_string(&token, ".");
	if (r == 0 && footer[0])
		r = append64(&token, footer, strlen(footer));
	if (r < 0)
		return error_nomem(e);
	*ret = buffer_take(&token);
	return 0;
}

int paseto_verify(const uint8_t public_key[PASETO_KEY_BYTES], const char *token, const char *footer,
		  const char *implicit, char **ret_payload, struct error *e)
{
	struct parts p;
	int r = split(token, &p, e);
	if (r < 0)
		return r;
	_cleanup_(freep) char *found = NULL;
	r = footer_of(&p, &found, e);
	if (r < 0)
		return r;
	if (strlen(found) != strlen(footer) || sodium_memcmp(found, footer, strlen(footer)) != 0)
		return error_set(e, ERR_DENIED, "the token's footer is not the expected one");

	_cleanup_(freep) char *body = calloc(1, PASETO_PAYLOAD_BYTES_MAX + crypto_sign_BYTES + 1);
	if (!body)
		return error_nomem(e);
	size_t n = 0;
	r = decode64(p.body, p.body_n, (uint8_t *)body, PASETO_PAYLOAD_BYTES_MAX + crypto_sign_BYTES, &n, e);
	if (r < 0)
		return r;
	if (n < crypto_sign_BYTES)
		return error_set(e, ERR_REJECT, "the token is too short for a signature");
	size_t payload_n = n - crypto_sign_BYTES;
	_cleanup_(buffer_donep) struct buffer message = {.limit = PAE_LIMIT_BYTES};
	if (pae(&message, body, payload_n, found, implicit) < 0)
		return error_set(e, ERR_REJECT, "the token's implicit assertion is too long");
	if (crypto_sign_verify_detached((const uint8_t *)body + payload_n, (const uint8_t *)message.data, message.size,
					public_key) != 0)
		return error_set(e, ERR_DENIED, "the token's signature is wrong");
	if (memchr(body, '\0', payload_n))
		return error_set(e, ERR_REJECT, "the token's payload holds a NUL");
	body[payload_n] = '\0';
	*ret_payload = TAKE_PTR(body);
	return 0;
}

int paseto_footer_make(const char *key_id, char **ret, struct error *e)
{
	if (!key_id_valid(key_id))
		return error_set(e, ERR_REJECT, "not a key id");
	/* a valid id needs no escapes in JSON */
	if (asprintf(ret, "{\"kid\":\"%s\"}", key_id) < 0) {
		*ret = NULL;
		return error_nomem(e);
	}
	return 0;
}

int paseto_key_id(const char *token, char **ret, struct error *e)
{
	_cleanup_(freep) char *footer = NULL;
	int r = paseto_footer(token, &footer, e);
	if (r < 0)
		return r;
	_cleanup_(json_decrefp) json_t *object = NULL;
	r = json_parse(footer, strlen(footer), &object, e);
	if (r < 0) {
		(void)error_wrap(e, "the token's footer");
		return r;
	}
	struct {
		char *kid;
	} f = {0};
	const struct json_field fields[] = {
	    {.name = "kid", .type = JSON_FIELD_STRING, .required = true, .max = KEY_ID_CHARS_MAX},
	    {0},
	};
	r = json_read(object, fields, true, &f, e);
	if (r < 0) {
		(void)error_wrap(e, "the token's footer");
		return r;
	}
	if (!key_id_valid(f.kid)) {
		free(f.kid);
		return error_set(e, ERR_REJECT, "the token's footer names no valid key id");
	}
	*ret = f.kid;
	return 0;
}

void paseto_public_key(const uint8_t seed[PASETO_KEY_BYTES], uint8_t ret[PASETO_KEY_BYTES])
{
	uint8_t secret[crypto_sign_SECRETKEYBYTES];
	(void)crypto_sign_seed_keypair(ret, secret, seed);
	sodium_memzero(secret, sizeof(secret));
}
