#include "crypto/vault.h"

#include "base/buffer.h"
#include "crypto/hmac.h"

#include <assert.h>
#include <errno.h>
#include <openssl/evp.h>
#include <sodium.h>
#include <stdbool.h>
#include <string.h>

#define MAGIC	    "RVC1"
#define MAGIC_BYTES 4
#define IV_BYTES    16
#define BLOCK_BYTES 16
#define MAC_BYTES   HMAC_BYTES
/* What a UTF-8 character takes at most. */
#define UTF8_BYTES_MAX 4
#define BOX_BYTES      (2 * KEY_BYTES + crypto_box_SEALBYTES)

static const char mac_domain[] = "rushes vault credential 1";

struct vault_credential {
	size_t size;
	char text[];
};

/* The fresh keys of one credential. */
struct credential_keys {
	uint8_t aes[KEY_BYTES];
	uint8_t mac[KEY_BYTES];
};

_Static_assert(sizeof(struct credential_keys) == 2 * KEY_BYTES, "sealed as one run");

/* sodium_malloc() goes on when the memory cannot be locked; here that is an error, so it is asked again. */
static void *locked_new(size_t n, struct error *e)
{
	if (sodium_init() < 0) {
		error_set(e, ERR_FATAL, "libsodium cannot start");
		return NULL;
	}
	/* the run ends at a guard page: a rounded size keeps its start aligned */
	n = (n + 15) & ~(size_t)15;
	void *p = sodium_malloc(n);
	if (!p || sodium_mlock(p, n) != 0) {
		error_set(e, ERR_NOMEM, "cannot lock %zu bytes of memory: raise RLIMIT_MEMLOCK", n);
		sodium_free(p);
		return NULL;
	}
	sodium_memzero(p, n);
	return p;
}

static void sodium_freep(void *p)
{
	sodium_free(*(void **)p);
}

static void put_u32(uint8_t out[4], uint32_t v)
{
	out[0] = (uint8_t)(v >> 24);
	out[1] = (uint8_t)(v >> 16);
	out[2] = (uint8_t)(v >> 8);
	out[3] = (uint8_t)v;
}

static int append_field(struct buffer *b, uint8_t tag, const char *value)
{
	size_t n = value ? strlen(value) : 0;
	uint8_t head[5] = {tag};
	put_u32(head + 1, (uint32_t)n);
	int r = buffer_append(b, head, sizeof head);
	return r < 0 ? r : buffer_append(b, value ? value : "", n);
}

/* HMAC over domain, binding and everything of the sealed form before the MAC. */
static int compute_mac(const uint8_t key[KEY_BYTES], const struct vault_binding *v, const uint8_t *sealed, size_t n,
		       uint8_t ret[MAC_BYTES], struct error *e)
{
	char port[8];
	(void)snprintf(port, sizeof port, "%u", v->port);
	const char *const fields[] = {v->account, v->target, v->kind, v->host, port, v->bucket, v->path, v->pinned_key};
	_cleanup_(buffer_done) struct buffer b;
	buffer_init(&b, 1 * MIB);
	int r = buffer_append(&b, mac_domain, sizeof mac_domain);
	for (size_t i = 0; r == 0 && i < ARRAY_SIZE(fields); i++)
		r = append_field(&b, (uint8_t)(i + 1), fields[i]);
	if (r == 0)
		r = buffer_append(&b, sealed, n);
	if (r < 0)
		return error_set(e, r, "the target's fields are too long to be bound to a credential");
	return hmac_sha256(key, KEY_BYTES, b.data, b.size, ret, e);
}

static void cipher_freep(EVP_CIPHER_CTX **c)
{
	EVP_CIPHER_CTX_free(*c);
}

/* Characters of UTF-8 text; false for what is not UTF-8 by form or holds a NUL. */
static bool count_characters(const char *text, size_t n, size_t *ret)
{
	size_t count = 0;
	for (size_t i = 0; i < n; count++) {
		uint8_t c = (uint8_t)text[i];
		size_t more = c < 0x80		 ? 0
			      : (c >> 5) == 0x6	 ? 1
			      : (c >> 4) == 0xe	 ? 2
			      : (c >> 3) == 0x1e ? 3
						 : SIZE_MAX;
		if (c == 0 || more > n - i - 1)
			return false;
		for (size_t k = 1; k <= more; k++)
			if (((uint8_t)text[i + k] & 0xc0) != 0x80)
				return false;
		i += more + 1;
	}
	*ret = count;
	return true;
}

static int check_text(const char *text, size_t n, unsigned characters_max, struct error *e)
{
	size_t limit = characters_max == 0 ? VAULT_CHARACTERS_DEFAULT : MIN(characters_max, VAULT_CHARACTERS_MAX);
	size_t count = 0;
	if (n == 0)
		return error_set(e, ERR_REJECT, "the credential is empty");
	if (n > limit * UTF8_BYTES_MAX)
		return error_set(e, ERR_REJECT, "the credential is longer than %zu characters", limit);
	if (!count_characters(text, n, &count))
		return error_set(e, ERR_REJECT, "the credential is not UTF-8 text");
	if (count > limit)
		return error_set(e, ERR_REJECT, "the credential is longer than %zu characters", limit);
	return 0;
}

/* AES-256-CBC of `text` to `out`, which has room for the padding. */
static int encrypt(const struct credential_keys *k, const uint8_t iv[IV_BYTES], const char *text, size_t n,
		   uint8_t *out, size_t *ret_n, struct error *e)
{
	_cleanup_(cipher_freep) EVP_CIPHER_CTX *c = EVP_CIPHER_CTX_new();
	int first = 0, last = 0;
	if (!c || EVP_EncryptInit_ex(c, EVP_aes_256_cbc(), NULL, k->aes, iv) != 1 ||
	    EVP_EncryptUpdate(c, out, &first, (const uint8_t *)text, (int)n) != 1 ||
	    EVP_EncryptFinal_ex(c, out + first, &last) != 1)
		return error_set(e, ERR_FATAL, "AES-256-CBC failed");
	*ret_n = (size_t)first + (size_t)last;
	return 0;
}

int vault_seal(const struct keyring *public_keys, const struct vault_binding *binding, const char *text, size_t n,
	       unsigned characters_max, uint8_t **ret, size_t *ret_n, struct error *e)
{
	int r = check_text(text, n, characters_max, e);
	if (r < 0)
		return r;
	const char *key_id = NULL;
	const uint8_t *key = keyring_current(public_keys, &key_id);
	assert(keyring_purpose(public_keys) == KEY_VAULT);
	size_t id = strlen(key_id);
	size_t head = MAGIC_BYTES + 1 + id + BOX_BYTES + IV_BYTES;
	_cleanup_(freep) uint8_t *sealed = malloc(head + n + BLOCK_BYTES + MAC_BYTES);
	if (!sealed)
		return error_nomem(e);
	_cleanup_(sodium_freep) struct credential_keys *k = locked_new(sizeof *k, e);
	if (!k)
		return e ? e->code : ERR_NOMEM;
	randombytes_buf(k, sizeof *k);
	memcpy(sealed, MAGIC, MAGIC_BYTES);
	sealed[MAGIC_BYTES] = (uint8_t)id;
	memcpy(sealed + MAGIC_BYTES + 1, key_id, id);
	uint8_t *box = sealed + MAGIC_BYTES + 1 + id;
	if (crypto_box_seal(box, (const uint8_t *)k, sizeof *k, key) != 0)
		return error_set(e, ERR_FATAL, "the vault's public key %s is not usable", key_id);
	uint8_t *iv = box + BOX_BYTES;
	randombytes_buf(iv, IV_BYTES);
	size_t cipher = 0;
	r = encrypt(k, iv, text, n, sealed + head, &cipher, e);
	if (r == 0)
		r = compute_mac(k->mac, binding, sealed, head + cipher, sealed + head + cipher, e);
	if (r < 0)
		return r;
	*ret_n = head + cipher + MAC_BYTES;
	*ret = TAKE_PTR(sealed);
	return 0;
}

/* Where the parts of a sealed credential lie. */
struct sealed_parts {
	char id[KEY_ID_CHARS_MAX + 1];
	const uint8_t *box, *iv, *cipher, *mac;
	size_t cipher_n;
};

static int split_sealed(const uint8_t *sealed, size_t n, struct sealed_parts *ret, struct error *e)
{
	static const size_t fixed = MAGIC_BYTES + 1 + BOX_BYTES + IV_BYTES + MAC_BYTES;
	size_t id = n > MAGIC_BYTES ? sealed[MAGIC_BYTES] : 0;
	if (n > VAULT_CHARACTERS_MAX * UTF8_BYTES_MAX + fixed + KEY_ID_CHARS_MAX + BLOCK_BYTES || n <= fixed + id ||
	    id == 0 || id > KEY_ID_CHARS_MAX || memcmp(sealed, MAGIC, MAGIC_BYTES) != 0 ||
	    (n - fixed - id) % BLOCK_BYTES != 0)
		return error_set(e, ERR_REJECT, "the sealed credential has a wrong form");
	memcpy(ret->id, sealed + MAGIC_BYTES + 1, id);
	ret->id[id] = '\0';
	ret->box = sealed + MAGIC_BYTES + 1 + id;
	ret->iv = ret->box + BOX_BYTES;
	ret->cipher = ret->iv + IV_BYTES;
	ret->cipher_n = n - fixed - id;
	ret->mac = ret->cipher + ret->cipher_n;
	return 0;
}

int vault_key_id(const uint8_t *sealed, size_t n, char ret_id[KEY_ID_CHARS_MAX + 1], struct error *e)
{
	struct sealed_parts parts;
	int r = split_sealed(sealed, n, &parts, e);
	if (r == 0)
		memcpy(ret_id, parts.id, sizeof parts.id);
	return r;
}

static int decrypt(const struct credential_keys *k, const struct sealed_parts *parts, struct vault_credential *c,
		   struct error *e)
{
	_cleanup_(cipher_freep) EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
	int first = 0, last = 0;
	if (!ctx || EVP_DecryptInit_ex(ctx, EVP_aes_256_cbc(), NULL, k->aes, parts->iv) != 1 ||
	    EVP_DecryptUpdate(ctx, (uint8_t *)c->text, &first, parts->cipher, (int)parts->cipher_n) != 1 ||
	    EVP_DecryptFinal_ex(ctx, (uint8_t *)c->text + first, &last) != 1)
		return error_set(e, ERR_REJECT, "the credential's padding is wrong");
	c->size = (size_t)first + (size_t)last;
	c->text[c->size] = '\0';
	return 0;
}

int vault_open(const struct keyring *secret_keys, const struct vault_binding *binding, const uint8_t *sealed, size_t n,
	       struct vault_credential **ret, struct error *e)
{
	struct sealed_parts parts;
	int r = split_sealed(sealed, n, &parts, e);
	if (r < 0)
		return r;
	assert(keyring_purpose(secret_keys) == KEY_VAULT);
	const uint8_t *secret = keyring_find(secret_keys, parts.id);
	if (!secret)
		return error_set(e, ERR_NOTFOUND, "the vault's key file lacks the key of this credential");
	_cleanup_(sodium_freep) struct credential_keys *k = locked_new(sizeof *k, e);
	_cleanup_(sodium_freep) struct vault_credential *c = locked_new(sizeof *c + parts.cipher_n + 1, e);
	if (!k || !c)
		return e ? e->code : ERR_NOMEM;
	uint8_t mac[MAC_BYTES], public[KEY_BYTES];
	if (crypto_scalarmult_base(public, secret) != 0 ||
	    crypto_box_seal_open((uint8_t *)k, parts.box, BOX_BYTES, public, secret) != 0)
		return error_set(e, ERR_REJECT, "the credential does not open with key %s", parts.id);
	r = compute_mac(k->mac, binding, sealed, n - MAC_BYTES, mac, e);
	if (r < 0)
		return r;
	if (sodium_memcmp(mac, parts.mac, MAC_BYTES) != 0)
		return error_set(e, ERR_REJECT, "the credential was not given for this endpoint: give it again");
	r = decrypt(k, &parts, c, e);
	if (r < 0)
		return r;
	if (sodium_mprotect_readonly(c) != 0)
		return error_set_errno(e, ERR_FATAL, errno, "cannot protect the opened credential");
	*ret = TAKE_PTR(c);
	return 0;
}

const char *vault_credential_text(const struct vault_credential *c)
{
	return c->text;
}

size_t vault_credential_size(const struct vault_credential *c)
{
	return c->size;
}

void vault_credential_free(struct vault_credential *c)
{
	sodium_free(c);
}

void vault_key_generate(uint8_t ret_secret[KEY_BYTES], uint8_t ret_public[KEY_BYTES])
{
	if (sodium_init() < 0 || crypto_box_keypair(ret_public, ret_secret) != 0)
		abort();
}
