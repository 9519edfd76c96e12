/* The installation's keys, one file and one purpose each. A key file has lines `<key-id> <64 hexadecimal digits>`: the
 * first key is the current one, the others only open what was made before a rotation. Empty lines and lines that begin
 * with # are skipped. */
#ifndef RUSHES_CRYPTO_KEYRING_H
#define RUSHES_CRYPTO_KEYRING_H

#include "base/error.h"

#define KEY_BYTES	       32
#define KEY_ID_CHARS_MAX       64
#define KEYRING_KEYS_MAX       16
#define KEYRING_FILE_BYTES_MAX 8192

/* What a key may be used for. Separate secrets: none serves two purposes. */
enum key_purpose {
	KEY_SPOOL_ROOT,	  /* wraps account keys */
	KEY_VAULT,	  /* X25519 pair that seals credentials of targets */
	KEY_TOKEN_SIGN,	  /* Ed25519 seed, or its public half, of session tokens */
	KEY_WEBHOOK_WRAP, /* wraps signing secrets of webhook endpoints */
	KEY_LINK_PEPPER,  /* HMAC key of link codes and API keys */
	KEY_LEDGER_SIGN,  /* Ed25519 seed of ledger heads */
	KEY_PURPOSE_MAX
};

/* "spool-root", ...: as `rushesctl key generate` takes them. Never NULL for a valid purpose. */
const char *key_purpose_to_string(enum key_purpose p);
/* KEY_PURPOSE_MAX when unknown. */
enum key_purpose key_purpose_from_string(const char *text);

/* Keys in guarded, locked memory (sodium_malloc), read-only after loading. Any thread. */
struct keyring;

/* Reads a file of secret keys. Refuses one that others than its owner can read or write (ERR_FATAL, with what to do),
 * malformed lines, duplicate ids. */
int keyring_load(const char *path, enum key_purpose purpose, struct keyring **ret, struct error *e) _must_check_;

/* The same for public halves (FILE.pub): readable by anyone, but not writable. */
int keyring_load_public(const char *path, enum key_purpose purpose, struct keyring **ret, struct error *e) _must_check_;

/* Parses the text of a key file; for the loaders and tests. `name` is for messages. */
int keyring_parse(const char *text, size_t n, const char *name, enum key_purpose purpose, struct keyring **ret,
		  struct error *e) _must_check_;

void keyring_free(struct keyring *k);
DEFINE_CLEANUP(struct keyring, keyring_free)

enum key_purpose keyring_purpose(const struct keyring *k);

/* The current key and its id; both live as long as the keyring. */
const uint8_t *keyring_current(const struct keyring *k, const char **ret_id);

/* The key with this id, or NULL. */
const uint8_t *keyring_find(const struct keyring *k, const char *id);

/* True for 1 to KEY_ID_CHARS_MAX of a-z, 0-9, '-', '_', '.'. */
int key_id_valid(const char *id);

/* Writes a new key file with one key: temporary file with mode 0600 (0644 for public halves), flushed, linked under
 * `path`, which must not exist (ERR_CONFLICT). */
int keyring_write(const char *path, const char *id, const uint8_t key[KEY_BYTES], int is_public,
		  struct error *e) _must_check_;

#endif
