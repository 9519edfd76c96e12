/* Credentials of storage targets, sealed so that only the delivery child can open them (DESIGN section 5,
 * "Credentials"). Whoever has the public half can seal; nobody but the holder of the secret half can open.
 *
 * A sealed credential, all integers big-endian:
 *   "RVC1" · u8 length of the key id · key id · crypto_box_seal(AES-256 key · HMAC key) · 16 bytes IV ·
 *   AES-256-CBC ciphertext with PKCS#7 padding · 32 bytes HMAC-SHA-256
 * Both keys are fresh for each credential. The HMAC covers everything before it and the binding: each field as
 * u8 tag · u32 length · bytes, in the order of struct vault_binding. So a row whose endpoint was changed no longer
 * opens, and the credential has to be given again. */
#ifndef RUSHES_CRYPTO_VAULT_H
#define RUSHES_CRYPTO_VAULT_H

#include "crypto/keyring.h"

/* Longest credential unless the configuration says otherwise; counted in characters of UTF-8. */
#define VAULT_CHARACTERS_DEFAULT 5000
/* The configuration cannot raise it over this: the column and the message to the child hold it. */
#define VAULT_CHARACTERS_MAX 20000

/* What a credential may be used for. NULL counts as ""; an absent and an empty field are the same. */
struct vault_binding {
	const char *account; /* canonical UUID text */
	const char *target;  /* canonical UUID text */
	const char *kind;    /* "s3", "sftp", ... */
	const char *host;    /* for s3 the endpoint, scheme included */
	uint16_t port;	     /* 0: the kind's own */
	const char *bucket;
	const char *path;
	const char *pinned_key; /* host key or certificate pin */
};

/* Seals `n` bytes of UTF-8 text for `binding` with the current key of a public KEY_VAULT keyring
 * (keyring_load_public()). At most `characters_max` characters (0: the default). `*ret` is the caller's, to free().
 * ERR_REJECT: empty, too long, not UTF-8 or with a NUL inside; ERR_NOMEM. */
int vault_seal(const struct keyring *public_keys, const struct vault_binding *binding, const char *text, size_t n,
	       unsigned characters_max, uint8_t **ret, size_t *ret_n, struct error *e) _must_check_;

/* Id of the key that a sealed credential needs: a rotation finds the old ones by it. ERR_REJECT: wrong form. */
int vault_key_id(const uint8_t *sealed, size_t n, char ret_id[KEY_ID_CHARS_MAX + 1], struct error *e) _must_check_;

/* An opened credential in memory from sodium_malloc(): guard pages, locked, read-only. */
struct vault_credential;

/* Opens with the keys of a secret KEY_VAULT keyring (keyring_load()). ERR_REJECT when the MAC does not hold (tampered,
 * or the target's endpoint is not the one it was given for) or the form is wrong; ERR_NOTFOUND when no key of the
 * keyring has the id; ERR_NOMEM also when memory cannot be locked. */
int vault_open(const struct keyring *secret_keys, const struct vault_binding *binding, const uint8_t *sealed, size_t n,
	       struct vault_credential **ret, struct error *e) _must_check_;

/* The text, ended by a NUL; lives until vault_credential_free(). */
const char *vault_credential_text(const struct vault_credential *c);
size_t vault_credential_size(const struct vault_credential *c);
/* Wipes. */
void vault_credential_free(struct vault_credential *c);
DEFINE_CLEANUP(struct vault_credential, vault_credential_free)

/* A fresh X25519 key pair, for keyring_write(). The caller wipes `ret_secret` with sodium_memzero(). */
void vault_key_generate(uint8_t ret_secret[KEY_BYTES], uint8_t ret_public[KEY_BYTES]);

#endif
