/* Secrets that open a door once shown: codes of short links and API keys. Both are random, shown once, and known to the
 * database only by their HMAC-SHA-256 under link-pepper's current key, so that a copy of the database opens nothing.
 * A link's code and an API key's secret never have the same HMAC: the purpose is part of the message. */
#ifndef RUSHES_DOMAIN_ACCESS_CODE_H
#define RUSHES_DOMAIN_ACCESS_CODE_H

#include "base/uuid.h"
#include "crypto/hmac.h"
#include "crypto/keyring.h"

#include <stdbool.h>

/* 26 characters of a-z and 2-7 (RFC 4648 base32, lower case, no padding): 130 bits. No character that mail programs
 * cut from the end of an address, and none to confuse when read aloud. */
#define LINK_CODE_CHARS 26
#define LINK_CODE_BYTES (LINK_CODE_CHARS + 1)

#define LINK_IDEMPOTENCY_CHARS_MAX 128

/* A fresh code. */
void link_code_new(char ret[LINK_CODE_BYTES]);

/* The code that belongs to an idempotency key of an account: a repeated request gets the same short URL although the
 * code is stored nowhere. As unguessable as the pepper. */
int link_code_derive(const struct keyring *pepper, const struct uuid *account, const char *idempotency,
		     char ret[LINK_CODE_BYTES], struct error *e) _must_check_;

/* Whether it has the form of a code; what has not needs no question to the database. */
bool link_code_valid(const char *code);

/* HMAC-SHA-256(pepper, "link " code). Any thread. */
int link_code_hash(const struct keyring *pepper, const char *code, uint8_t ret[HMAC_BYTES],
		   struct error *e) _must_check_;

/* An API key is `rk_<32 hexadecimal digits of its id>_<52 characters of base32>`: 260 bits of secret. */
#define API_KEY_SECRET_CHARS 52
#define API_KEY_CHARS	     (3 + 32 + 1 + API_KEY_SECRET_CHARS)
#define API_KEY_BYTES	     (API_KEY_CHARS + 1)

/* A fresh key with this id. The caller wipes `ret` when it was shown. */
void api_key_new(const struct uuid *id, char ret[API_KEY_BYTES]);

/* Reads id and secret of a presented key; `*ret_secret` points into `text`. False on any other form. */
bool api_key_parse(const char *text, struct uuid *ret_id, const char **ret_secret) _must_check_;

/* HMAC-SHA-256(pepper, "api-key " id in canonical form " " secret). Any thread. */
int api_key_hash(const struct keyring *pepper, const struct uuid *id, const char *secret, uint8_t ret[HMAC_BYTES],
		 struct error *e) _must_check_;

/* The public hash of an account: 24 characters of the same alphabet. Not a secret, but not to be guessed either. */
#define ACCOUNT_HASH_CHARS 24
#define ACCOUNT_HASH_BYTES (ACCOUNT_HASH_CHARS + 1)
void account_hash_new(char ret[ACCOUNT_HASH_BYTES]);

#endif
