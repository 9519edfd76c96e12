#include "crypto/vault.h"

#include "base/buffer.h"
#include "base/hex.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <sodium.h>
#include <string.h>
#include <sys/stat.h>

#define MAGIC	     "RVC1"
#define MAGIC_BYTES  4
#define KEY_BYTES    32
#define IV_BYTES     16
#define BLOCK_BYTES  16
#define MAC_BYTES    32
#define ID_BYTES_MAX 63
/* A key file holds the current key and those that a rotation has not replaced yet. */
#define KEYS_MAX       16
#define FILE_BYTES_MAX 4096
/* What a UTF-8 character takes at most. */
#define UTF8_BYTES_MAX 4
#define BOX_BYTES      (2 * KEY_BYTES + crypto_box_SEALBYTES)

static const char mac_domain[] = "rushes vault credential 1";

struct vault_public {
	char id[ID_BYTES_MAX + 1];
	uint8_t key[crypto_box_PUBLICKEYBYTES];
};

struct vault_key {
	char id[ID_BYTES_MAX + 1];
	uint8_t secret[crypto_box_SECRETKEYBYTES];
	uint8_t public[crypto_box_PUBLICKEYBYTES];
};

/* Lies in sodium_malloc() memory as a whole. */
struct vault_secret {
	size_t n;
	struct vault_key keys[KEYS_MAX];
};

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

/* Reads a whole small file into `buf`, which keeps room for an end. */
static int read_key_file(const char *path, bool secret, char *buf, size_t capacity, struct error *e)
{
	_cleanup_(closep) int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	if (fd < 0)
		return error_set_errno(e, ERR_FATAL, errno, "cannot open key file %s", path);
	struct stat st;
	if (fstat(fd, &st) < 0)
		return error_set_errno(e, ERR_FATAL, errno, "cannot look at key file %s", path);
	if (!S_ISREG(st.st_mode))
		return error_set(e, ERR_FATAL, "key file %s is not a regular file", path);
	if (secret && (st.st_mode & (S_IRWXG | S_IRWXO)))
		return error_set(e, ERR_FATAL, "key file %s may be used by others than its owner: chmod 600", path);
	size_t n = 0;
	for (;;) {
		ssize_t r = read(fd, buf + n, capacity - n);
		if (r < 0 && errno == EINTR)
			continue;
		if (r < 0)
			return error_set_errno(e, ERR_FATAL, errno, "cannot read key file %s", path);
		if (r == 0)
			break;
		n += (size_t)r;
		if (n == capacity)
			return error_set(e, ERR_FATAL, "key file %s is longer than %zu bytes", path, capacity - 1);
	}
	buf[n] = '\0';
	return 0;
}

/* Splits `<key-id> <64 hex digits>` in place. */
static bool parse_key_line(char *line, char ret_id[ID_BYTES_MAX + 1], uint8_t ret_key[KEY_BYTES])
{
	char *space = strchr(line, ' ');
	if (!space || space == line || (size_t)(space - line) > ID_BYTES_MAX)
		return false;
	*space = '\0';
	memcpy(ret_id, line, (size_t)(space - line) + 1);
	return hex_decode(space + 1, ret_key, KEY_BYTES);
}

/* The next line of *cursor that is not empty, ended in place; NULL behind the last. */
static char *next_line(char **cursor, unsigned *number)
{
	while (*cursor && **cursor) {
		char *line = *cursor;
		char *end = strchr(line, '\n');
		*cursor = end ? end + 1 : NULL;
		if (end)
			*end = '\0';
		++*number;
		if (*line)
			return line;
	}
	return NULL;
}

int vault_public_load(const char *path, struct vault_public **ret, struct error *e)
{
	char text[FILE_BYTES_MAX];
	int r = read_key_file(path, false, text, sizeof text, e);
	if (r < 0)
		return r;
	_cleanup_(freep) struct vault_public *p = calloc(1, sizeof *p);
	if (!p)
		return error_nomem(e);
	char *cursor = text;
	unsigned number = 0;
	char *line = next_line(&cursor, &number);
	if (!line || !parse_key_line(line, p->id, p->key))
		return error_set(e, ERR_FATAL, "key file %s: the first line is not `<key-id> <64 hex digits>`", path);
	*ret = TAKE_PTR(p);
	return 0;
}

void vault_public_free(struct vault_public *p)
{
	free(p);
}

const char *vault_public_id(const struct vault_public *p)
{
	return p->id;
}

int vault_secret_load(const char *path, struct vault_secret **ret, struct error *e)
{
	_cleanup_(sodium_freep) char *text = locked_new(FILE_BYTES_MAX, e);
	_cleanup_(sodium_freep) struct vault_secret *s = locked_new(sizeof *s, e);
	if (!text || !s)
		return e ? e->code : ERR_NOMEM;
	int r = read_key_file(path, true, text, FILE_BYTES_MAX, e);
	if (r < 0)
		return r;
	char *cursor = text;
	unsigned number = 0;
	for (char *line; (line = next_line(&cursor, &number));) {
		if (s->n == KEYS_MAX)
			return error_set(e, ERR_FATAL, "key file %s has more than %d keys", path, KEYS_MAX);
		struct vault_key *k = &s->keys[s->n++];
		if (!parse_key_line(line, k->id, k->secret) || crypto_scalarmult_base(k->public, k->secret) != 0)
			return error_set(e, ERR_FATAL, "key file %s, line %u: not `<key-id> <64 hex digits>`", path,
					 number);
	}
	if (s->n == 0)
		return error_set(e, ERR_FATAL, "key file %s is empty", path);
	if (sodium_mprotect_readonly(s) != 0)
		return error_set_errno(e, ERR_FATAL, errno, "cannot protect the vault's keys");
	*ret = TAKE_PTR(s);
	return 0;
}

void vault_secret_free(struct vault_secret *s)
{
	sodium_free(s);
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
	unsigned length = MAC_BYTES;
	if (!HMAC(EVP_sha256(), key, KEY_BYTES, (const uint8_t *)b.data, b.size, ret, &length))
		return error_set(e, ERR_FATAL, "HMAC-SHA-256 failed");
	return 0;
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

int vault_seal(const struct vault_public *p, const struct vault_binding *binding, const char *text, size_t n,
	       unsigned characters_max, uint8_t **ret, size_t *ret_n, struct error *e)
{
	int r = check_text(text, n, characters_max, e);
	if (r < 0)
		return r;
	if (sodium_init() < 0)
		return error_set(e, ERR_FATAL, "libsodium cannot start");
	size_t id = strlen(p->id);
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
	memcpy(sealed + MAGIC_BYTES + 1, p->id, id);
	uint8_t *box = sealed + MAGIC_BYTES + 1 + id;
	if (crypto_box_seal(box, (const uint8_t *)k, sizeof *k, p->key) != 0)
		return error_set(e, ERR_FATAL, "the vault's public key %s is not usable", p->id);
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
	char id[ID_BYTES_MAX + 1];
	const uint8_t *box, *iv, *cipher, *mac;
	size_t cipher_n;
};

static int split_sealed(const uint8_t *sealed, size_t n, struct sealed_parts *ret, struct error *e)
{
	static const size_t fixed = MAGIC_BYTES + 1 + BOX_BYTES + IV_BYTES + MAC_BYTES;
	size_t id = n > MAGIC_BYTES ? sealed[MAGIC_BYTES] : 0;
	if (n > VAULT_CHARACTERS_MAX * UTF8_BYTES_MAX + fixed + ID_BYTES_MAX + BLOCK_BYTES || n <= fixed + id ||
	    id == 0 || id > ID_BYTES_MAX || memcmp(sealed, MAGIC, MAGIC_BYTES) != 0 ||
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

static const struct vault_key *find_key(const struct vault_secret *s, const char *id)
{
	for (size_t i = 0; i < s->n; i++)
		if (strcmp(s->keys[i].id, id) == 0)
			return &s->keys[i];
	return NULL;
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

int vault_open(const struct vault_secret *s, const struct vault_binding *binding, const uint8_t *sealed, size_t n,
	       struct vault_credential **ret, struct error *e)
{
	struct sealed_parts parts;
	int r = split_sealed(sealed, n, &parts, e);
	if (r < 0)
		return r;
	const struct vault_key *key = find_key(s, parts.id);
	if (!key)
		return error_set(e, ERR_NOTFOUND, "the vault's key file lacks the key of this credential");
	_cleanup_(sodium_freep) struct credential_keys *k = locked_new(sizeof *k, e);
	_cleanup_(sodium_freep) struct vault_credential *c = locked_new(sizeof *c + parts.cipher_n + 1, e);
	if (!k || !c)
		return e ? e->code : ERR_NOMEM;
	uint8_t mac[MAC_BYTES];
	if (crypto_box_seal_open((uint8_t *)k, parts.box, BOX_BYTES, key->public, key->secret) != 0)
		return error_set(e, ERR_REJECT, "the credential does not open with key %s", key->id);
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

void vault_key_generate(char ret_secret[VAULT_KEY_HEX_BYTES], char ret_public[VAULT_KEY_HEX_BYTES])
{
	uint8_t secret[crypto_box_SECRETKEYBYTES], public[crypto_box_PUBLICKEYBYTES];
	if (sodium_init() < 0 || crypto_box_keypair(public, secret) != 0)
		abort();
	hex_encode(secret, sizeof secret, ret_secret);
	hex_encode(public, sizeof public, ret_public);
	sodium_memzero(secret, sizeof secret);
}
