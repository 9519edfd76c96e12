#include "crypto/keyring.h"

#include "base/hex.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <string.h>
#include <sys/stat.h>

static const char *const purpose_names[KEY_PURPOSE_MAX] = {
    [KEY_SPOOL_ROOT] = "spool-root",   [KEY_VAULT] = "vault",
    [KEY_TOKEN_SIGN] = "token-sign",   [KEY_WEBHOOK_WRAP] = "webhook-wrap",
    [KEY_LINK_PEPPER] = "link-pepper", [KEY_LEDGER_SIGN] = "ledger-sign",
};

struct keyring_key {
	uint8_t bytes[KEY_BYTES];
	char id[KEY_ID_CHARS_MAX + 1];
};

/* The whole struct lives in guarded memory. */
struct keyring {
	enum key_purpose purpose;
	size_t n;
	struct keyring_key keys[KEYRING_KEYS_MAX];
};

const char *key_purpose_to_string(enum key_purpose p)
{
	return p >= 0 && p < KEY_PURPOSE_MAX ? purpose_names[p] : "unknown";
}

enum key_purpose key_purpose_from_string(const char *text)
{
	for (int p = 0; p < KEY_PURPOSE_MAX; p++)
		if (strcmp(text, purpose_names[p]) == 0)
			return (enum key_purpose)p;
	return KEY_PURPOSE_MAX;
}

int key_id_valid(const char *id)
{
	size_t n = strspn(id, "abcdefghijklmnopqrstuvwxyz0123456789-_.");
	return n >= 1 && n <= KEY_ID_CHARS_MAX && id[n] == '\0';
}

/* One line without its end. The key's digits are decoded straight into guarded memory. */
static int parse_line(struct keyring *k, char *line, const char *name, unsigned number, struct error *e)
{
	size_t n = strlen(line);
	while (n > 0 && (line[n - 1] == ' ' || line[n - 1] == '\t' || line[n - 1] == '\r'))
		line[--n] = '\0';
	if (n == 0 || line[0] == '#')
		return 0;
	char *space = strchr(line, ' ');
	if (!space)
		return error_set(e, ERR_FATAL, "%s line %u: wants <key-id> <64 hexadecimal digits>", name, number);
	*space = '\0';
	if (!key_id_valid(line))
		return error_set(e, ERR_FATAL, "%s line %u: a key id is 1 to %d of a-z, 0-9, '-', '_', '.'", name,
				 number, KEY_ID_CHARS_MAX);
	if (keyring_find(k, line))
		return error_set(e, ERR_FATAL, "%s line %u: the key id %s stands there twice", name, number, line);
	if (k->n == KEYRING_KEYS_MAX)
		return error_set(e, ERR_FATAL, "%s line %u: more than %d keys", name, number, KEYRING_KEYS_MAX);
	struct keyring_key *key = &k->keys[k->n];
	if (!hex_decode(space + 1, key->bytes, KEY_BYTES))
		return error_set(e, ERR_FATAL, "%s line %u: the key %s is not 64 hexadecimal digits", name, number,
				 line);
	(void)snprintf(key->id, sizeof(key->id), "%s", line);
	k->n++;
	return 0;
}

/* `text` is ended by a NUL and is cut into lines in place. */
static int parse(char *text, size_t n, const char *name, enum key_purpose purpose, struct keyring **ret,
		 struct error *e)
{
	assert(purpose >= 0 && purpose < KEY_PURPOSE_MAX);
	if (memchr(text, '\0', n))
		return error_set(e, ERR_FATAL, "%s holds a NUL byte: not a key file", name);
	_cleanup_(keyring_freep) struct keyring *k = sodium_malloc(sizeof(*k));
	if (!k)
		return error_set(e, ERR_FATAL, "no locked memory for the keys of %s: raise the limit memlock", name);
	sodium_memzero(k, sizeof(*k));
	k->purpose = purpose;
	unsigned number = 0;
	for (char *line = text; line;) {
		char *end = strchr(line, '\n');
		if (end)
			*end = '\0';
		int r = parse_line(k, line, name, ++number, e);
		if (r < 0)
			return r;
		line = end ? end + 1 : NULL;
	}
	if (k->n == 0)
		return error_set(e, ERR_FATAL, "%s holds no key", name);
	(void)sodium_mprotect_readonly(k);
	*ret = TAKE_PTR(k);
	return 0;
}

static void sodium_freep(void *p)
{
	sodium_free(*(void **)p);
}

int keyring_parse(const char *text, size_t n, const char *name, enum key_purpose purpose, struct keyring **ret,
		  struct error *e)
{
	if (n > KEYRING_FILE_BYTES_MAX)
		return error_set(e, ERR_FATAL, "%s is over %d bytes: not a key file", name, KEYRING_FILE_BYTES_MAX);
	if (sodium_init() < 0)
		return error_set(e, ERR_FATAL, "libsodium does not start");
	_cleanup_(sodium_freep) char *copy = sodium_malloc(n + 1);
	if (!copy)
		return error_nomem(e);
	memcpy(copy, text, n);
	copy[n] = '\0';
	return parse(copy, n, name, purpose, ret, e);
}

/* Read with plain read(2) into guarded memory: stdio would leave the key in its buffer. */
static int load(const char *path, mode_t refused, enum key_purpose purpose, struct keyring **ret, struct error *e)
{
	if (sodium_init() < 0)
		return error_set(e, ERR_FATAL, "libsodium does not start");
	_cleanup_(closep) int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
	if (fd < 0)
		return error_set_errno(e, ERR_FATAL, errno, "key file %s cannot be opened", path);
	struct stat st;
	if (fstat(fd, &st) < 0)
		return error_set_errno(e, ERR_FATAL, errno, "key file %s", path);
	if (!S_ISREG(st.st_mode))
		return error_set(e, ERR_FATAL, "key file %s is no regular file", path);
	if (st.st_mode & refused)
		return error_set(e, ERR_FATAL, "key file %s has mode %03o: take others' access away with chmod %s",
				 path, (unsigned)st.st_mode & 0777, refused & S_IRGRP ? "600" : "644");
	_cleanup_(sodium_freep) char *text = sodium_malloc(KEYRING_FILE_BYTES_MAX + 1);
	if (!text)
		return error_nomem(e);
	size_t n = 0;
	while (n <= KEYRING_FILE_BYTES_MAX) {
		ssize_t got = read(fd, text + n, KEYRING_FILE_BYTES_MAX + 1 - n);
		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return error_set_errno(e, ERR_FATAL, errno, "key file %s cannot be read", path);
		if (got == 0)
			break;
		n += (size_t)got;
	}
	if (n > KEYRING_FILE_BYTES_MAX)
		return error_set(e, ERR_FATAL, "%s is over %d bytes: not a key file", path, KEYRING_FILE_BYTES_MAX);
	text[n] = '\0';
	return parse(text, n, path, purpose, ret, e);
}

int keyring_load(const char *path, enum key_purpose purpose, struct keyring **ret, struct error *e)
{
	return load(path, S_IRWXG | S_IRWXO, purpose, ret, e);
}

int keyring_load_public(const char *path, enum key_purpose purpose, struct keyring **ret, struct error *e)
{
	return load(path, S_IWGRP | S_IWOTH, purpose, ret, e);
}

void keyring_free(struct keyring *k)
{
	sodium_free(k); /* wipes */
}

enum key_purpose keyring_purpose(const struct keyring *k)
{
	return k->purpose;
}

const uint8_t *keyring_current(const struct keyring *k, const char **ret_id)
{
	assert(k->n > 0);
	if (ret_id)
		*ret_id = k->keys[0].id;
	return k->keys[0].bytes;
}

const uint8_t *keyring_find(const struct keyring *k, const char *id)
{
	for (size_t i = 0; i < k->n; i++)
		if (strcmp(k->keys[i].id, id) == 0)
			return k->keys[i].bytes;
	return NULL;
}

static int write_line(int fd, const char *id, const uint8_t key[KEY_BYTES])
{
	char line[KEY_ID_CHARS_MAX + 1 + 2 * KEY_BYTES + 2];
	char digits[2 * KEY_BYTES + 1];
	hex_encode(key, KEY_BYTES, digits);
	int n = snprintf(line, sizeof(line), "%s %s\n", id, digits);
	ssize_t put = write(fd, line, (size_t)n);
	sodium_memzero(line, sizeof(line));
	sodium_memzero(digits, sizeof(digits));
	if (put >= 0 && put != n)
		errno = ENOSPC;
	return put == n ? 0 : -1;
}

int keyring_write(const char *path, const char *id, const uint8_t key[KEY_BYTES], int is_public, struct error *e)
{
	if (!key_id_valid(id))
		return error_set(e, ERR_REJECT, "a key id is 1 to %d of a-z, 0-9, '-', '_', '.'", KEY_ID_CHARS_MAX);
	char temporary[4096];
	if ((size_t)snprintf(temporary, sizeof(temporary), "%s.%d.new", path, (int)getpid()) >= sizeof(temporary))
		return error_set(e, ERR_REJECT, "the path of the key file is too long");
	mode_t mode = is_public ? 0644 : 0600;
	_cleanup_(closep) int fd = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode);
	if (fd < 0)
		return error_set_errno(e, ERR_FATAL, errno, "%s cannot be created", temporary);
	int r = 0;
	if (write_line(fd, id, key) < 0 || fchmod(fd, mode) < 0 || fsync(fd) < 0)
		r = error_set_errno(e, ERR_FATAL, errno, "%s cannot be written", temporary);
	/* link, not rename: an existing key must not be replaced */
	else if (link(temporary, path) < 0)
		r = errno == EEXIST ? error_set(e, ERR_CONFLICT, "%s is there already", path)
				    : error_set_errno(e, ERR_FATAL, errno, "%s cannot be created", path);
	(void)unlink(temporary);
	return r;
}
