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

#include "base/error.h"

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

/* The public half. */
struct vault_public;

/* Reads the first line of a public key file: `<key-id> <64 hex digits>`. ERR_FATAL with the file's name. */
int vault_public_load(const char *path, struct vault_public **ret, struct error *e) _must_check_;
void vault_public_free(struct vault_public *p);
DEFINE_CLEANUP(struct vault_public, vault_public_free)

/* Id of the key that seals: kept beside the sealed credential so that a rotation finds the old ones. */
const char *vault_public_id(const struct vault_public *p);

/* Seals `n` bytes of UTF-8 text for `binding`. At most `characters_max` characters (0: the default).
 * `*ret` is the caller's, to free(). ERR_REJECT: empty, too long, not UTF-8 or with a NUL inside; ERR_NOMEM. */
int vault_seal(const struct vault_public *p, const struct vault_binding *binding, const char *text, size_t n,
	       unsigned characters_max, uint8_t **ret, size_t *ret_n, struct error *e) _must_check_;

/* The secret half: every key of the file, in guarded, locked, read-only memory. */
struct vault_secret;

/* Reads a secret key file: lines `<key-id> <64 hex digits>`, the first is current. The file must be a regular one that
 * only its owner may read. ERR_FATAL with the file's name and line, never its contents. */
int vault_secret_load(const char *path, struct vault_secret **ret, struct error *e) _must_check_;
/* Wipes. */
void vault_secret_free(struct vault_secret *s);
DEFINE_CLEANUP(struct vault_secret, vault_secret_free)

/* An opened credential in memory from sodium_malloc(): guard pages, locked, read-only. */
struct vault_credential;

/* ERR_REJECT when the MAC does not hold (tampered, or the target's endpoint is not the one it was given for) or the
 * form is wrong; ERR_NOTFOUND when no key of the file has the id; ERR_NOMEM also when memory cannot be locked. */
int vault_open(const struct vault_secret *s, const struct vault_binding *binding, const uint8_t *sealed, size_t n,
	       struct vault_credential **ret, struct error *e) _must_check_;

/* The text, ended by a NUL; lives until vault_credential_free(). */
const char *vault_credential_text(const struct vault_credential *c);
size_t vault_credential_size(const struct vault_credential *c);
/* Wipes. */
void vault_credential_free(struct vault_credential *c);
DEFINE_CLEANUP(struct vault_credential, vault_credential_free)

/* A fresh key pair as the contents of the two files: `ret_secret` and `ret_public` hold VAULT_KEY_HEX_BYTES each, hex
 * digits and an end. The caller wipes `ret_secret` with sodium_memzero(). */
#define VAULT_KEY_HEX_BYTES 65
void vault_key_generate(char ret_secret[VAULT_KEY_HEX_BYTES], char ret_public[VAULT_KEY_HEX_BYTES]);

#endif
