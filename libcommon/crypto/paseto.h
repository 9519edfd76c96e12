/* PASETO version 4, purpose public (https://github.com/paseto-standard/paseto-spec, docs/01-Protocol-Versions/
 * Version4.md): a signed message (Ed25519) with a footer that names the key and an implicit assertion that both sides
 * know. What a payload means is the caller's business. */
#ifndef RUSHES_CRYPTO_PASETO_H
#define RUSHES_CRYPTO_PASETO_H

#include "base/error.h"

#define PASETO_HEADER	 "v4.public."
#define PASETO_KEY_BYTES 32
/* A token travels in one header line or one text frame of at most 4 KiB. */
#define PASETO_TOKEN_CHARS_MAX	 4096
#define PASETO_PAYLOAD_BYTES_MAX 2048
#define PASETO_FOOTER_BYTES_MAX	 256

/* Signs `payload` with the Ed25519 seed. `footer` and `implicit` may be "" (their ends are NULs). Returns an allocated
 * string. ERR_REJECT when a part is over its limit. */
int paseto_sign(const uint8_t seed[PASETO_KEY_BYTES], const char *payload, const char *footer, const char *implicit,
		char **ret, struct error *e) _must_check_;

/* The footer of a token whose signature was not checked: only for choosing the key. Allocated, NUL-ended; footers with
 * a NUL inside are refused. "" when there is none. ERR_REJECT for what is no v4.public token. */
int paseto_footer(const char *token, char **ret, struct error *e) _must_check_;

/* Checks the signature and that the footer is exactly `footer`; returns the payload, allocated and NUL-ended (one with
 * a NUL inside is refused). ERR_REJECT for malformed tokens, ERR_DENIED for wrong signatures, footers or implicit
 * assertions. Base64url is read strictly: no padding, no stray bits. */
int paseto_verify(const uint8_t public_key[PASETO_KEY_BYTES], const char *token, const char *footer,
		  const char *implicit, char **ret_payload, struct error *e) _must_check_;

/* Footers of this project: {"kid":"<key id>"}. */
int paseto_footer_make(const char *key_id, char **ret, struct error *e) _must_check_;
/* The key id in the footer of an unchecked token. */
int paseto_key_id(const char *token, char **ret, struct error *e) _must_check_;

/* The public half of a seed. */
void paseto_public_key(const uint8_t seed[PASETO_KEY_BYTES], uint8_t ret[PASETO_KEY_BYTES]);

#endif
