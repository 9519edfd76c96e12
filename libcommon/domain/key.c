#include "domain/key.h"

#include "base/hex.h"
#include "crypto/random.h"

#include <sodium.h>
#include <string.h>

/* An account's key as its row holds it. */
struct account_key {
	struct uuid account;
	struct uuid id;
	char root_key[KEY_ID_CHARS_MAX + 1];
	uint8_t wrapped[WRAPPED_KEY_BYTES];
};

static int account_key_read(const struct db_result *rows, const struct uuid *account, struct account_key *ret,
			    struct error *e)
{
	if (db_rows(rows) == 0)
		return error_set(e, ERR_NOTFOUND, "the account has no key yet");
	*ret = (struct account_key){.account = *account};
	const char *root_key = db_text(rows, 0, 1);
	if (!db_uuid(rows, 0, 0, &ret->id) || !root_key || !key_id_valid(root_key))
		return error_set(e, ERR_CORRUPT, "the account's key row is malformed");
	(void)snprintf(ret->root_key, sizeof(ret->root_key), "%s", root_key);
	size_t n = 0;
	int r = db_bytea(rows, 0, 2, ret->wrapped, sizeof(ret->wrapped), &n, e);
	if (r == 0 && n != sizeof(ret->wrapped))
		return error_set(e, ERR_CORRUPT, "the account's wrapped key has %zu bytes", n);
	return r;
}

static int account_key_unwrap(const struct keyring *root, const struct account_key *k, uint8_t ret[KEY_BYTES],
			      struct error *e)
{
	const uint8_t *wrapping = keyring_find(root, k->root_key);
	if (!wrapping)
		return error_set(e, ERR_DENIED, "the ring %s does not hold the key %s",
				 key_purpose_to_string(keyring_purpose(root)), k->root_key);
	const struct wrap_context ctx = {keyring_purpose(root), k->root_key, &k->account, NULL};
	return unwrap_key(wrapping, &ctx, k->wrapped, sizeof(k->wrapped), ret, e);
}

/* Makes a key, offers it to the table and takes what the table then holds. */
static int account_key_add(struct db_pool *p, const struct keyring *root, const struct uuid *account,
			   struct account_key *ret, struct error *e)
{
	static const struct db_statement st = {
	    "account_key_add",
	    "SELECT id, root_key, wrapped FROM rushes.account_key_add($1::uuid, $2::uuid, $3, $4::bytea)", 4};
	const char *root_id = NULL;
	const uint8_t *wrapping = keyring_current(root, &root_id);
	const struct wrap_context ctx = {keyring_purpose(root), root_id, account, NULL};
	uint8_t key[KEY_BYTES], wrapped[WRAPPED_KEY_BYTES];
	random_bytes(key, sizeof(key));
	int r = wrap_key(wrapping, &ctx, key, wrapped, e);
	sodium_memzero(key, sizeof(key));
	if (r < 0)
		return r;
	struct uuid id = uuid_v7();
	char id_text[UUID_TEXT_BYTES], account_text[UUID_TEXT_BYTES], wrapped_text[DB_BYTEA_BYTES(WRAPPED_KEY_BYTES)];
	uuid_format(&id, id_text);
	uuid_format(account, account_text);
	const char *params[] = {account_text, id_text, root_id, db_param_bytea(wrapped, sizeof(wrapped), wrapped_text)};
	_cleanup_(db_result_freep) struct db_result *rows = NULL;
	r = db_run(p, &st, params, &rows, e);
	return r < 0 ? r : account_key_read(rows, account, ret, e);
}

static int account_key_get(struct db_pool *p, const struct keyring *root, const struct uuid *account,
			   struct account_key *ret, struct error *e)
{
	static const struct db_statement st = {"account_key_get",
					       "SELECT id, root_key, wrapped FROM rushes.account_key_get($1::uuid)", 1};
	char account_text[UUID_TEXT_BYTES];
	uuid_format(account, account_text);
	_cleanup_(db_result_freep) struct db_result *rows = NULL;
	int r = db_run(p, &st, (const char *[]){account_text}, &rows, e);
	if (r < 0)
		return r;
	if (db_rows(rows) == 0)
		return account_key_add(p, root, account, ret, e);
	return account_key_read(rows, account, ret, e);
}

/* The id of an account's key, as its children name it. */
static struct wrap_context recording_context(const struct keyring *root, const char *account_key,
					     const struct uuid *account, const struct uuid *recording)
{
	return (struct wrap_context){keyring_purpose(root), account_key, account, recording};
}

static int recording_key_unwrap(const struct keyring *root, const struct account_key *k, const struct uuid *recording,
				const uint8_t *wrapped, size_t n, uint8_t ret[KEY_BYTES], struct error *e)
{
	uint8_t account_key[KEY_BYTES];
	int r = account_key_unwrap(root, k, account_key, e);
	if (r < 0)
		return r;
	char id[UUID_TEXT_BYTES];
	uuid_format(&k->id, id);
	const struct wrap_context ctx = recording_context(root, id, &k->account, recording);
	r = unwrap_key(account_key, &ctx, wrapped, n, ret, e);
	sodium_memzero(account_key, sizeof(account_key));
	return r;
}

int recording_key_make(struct db_pool *p, const struct keyring *root, const struct uuid *account,
		       const struct uuid *recording, uint8_t ret_key[KEY_BYTES], struct recording_key *ret,
		       struct error *e)
{
	struct account_key k;
	int r = account_key_get(p, root, account, &k, e);
	if (r < 0)
		return r;
	uint8_t account_key[KEY_BYTES];
	r = account_key_unwrap(root, &k, account_key, e);
	if (r < 0)
		return r;
	char id[UUID_TEXT_BYTES];
	uuid_format(&k.id, id);
	const struct wrap_context ctx = recording_context(root, id, account, recording);
	ret->account_key = k.id;
	random_bytes(ret_key, KEY_BYTES);
	r = wrap_key(account_key, &ctx, ret_key, ret->wrapped, e);
	sodium_memzero(account_key, sizeof(account_key));
	return r;
}

int recording_key_get(struct db_pool *p, const struct keyring *root, const struct uuid *recording,
		      uint8_t ret_key[KEY_BYTES], struct recording_key *ret, struct error *e)
{
	static const struct db_statement st = {
	    "recording_key_get",
	    "SELECT account_key, root_key, account_wrapped, account, wrapped FROM rushes.recording_key_get($1::uuid)",
	    1};
	char recording_text[UUID_TEXT_BYTES];
	uuid_format(recording, recording_text);
	_cleanup_(db_result_freep) struct db_result *rows = NULL;
	int r = db_run(p, &st, (const char *[]){recording_text}, &rows, e);
	if (r < 0)
		return r;
	struct uuid account = {0};
	if (db_rows(rows) == 0)
		return error_set(e, ERR_NOTFOUND, "recording %s has no key", recording_text);
	if (!db_uuid(rows, 0, 3, &account))
		return error_set(e, ERR_CORRUPT, "the recording's key row is malformed");
	struct account_key k;
	r = account_key_read(rows, &account, &k, e);
	if (r < 0)
		return r;
	struct recording_key found = {.account_key = k.id};
	size_t n = 0;
	r = db_bytea(rows, 0, 4, found.wrapped, sizeof(found.wrapped), &n, e);
	if (r == 0)
		r = recording_key_unwrap(root, &k, recording, found.wrapped, n, ret_key, e);
	if (r == 0 && ret)
		*ret = found;
	return r;
}

int recording_key_from_context(const struct keyring *root, const struct uuid *account, const struct uuid *recording,
			       json_t *key, uint8_t ret_key[KEY_BYTES], struct error *e)
{
	struct fields {
		struct uuid account_key;
		char *root_key, *account_wrapped, *wrapped;
	} f = {0};
	static const struct json_field fields[] = {
	    {.name = "account_key",
	     .type = JSON_FIELD_UUID,
	     .required = true,
	     .offset = offsetof(struct fields, account_key)},
	    {.name = "root_key",
	     .type = JSON_FIELD_STRING,
	     .required = true,
	     .max = KEY_ID_CHARS_MAX,
	     .offset = offsetof(struct fields, root_key)},
	    {.name = "account_wrapped",
	     .type = JSON_FIELD_STRING,
	     .required = true,
	     .max = 2 * (uint64_t)WRAPPED_KEY_BYTES,
	     .offset = offsetof(struct fields, account_wrapped)},
	    {.name = "wrapped",
	     .type = JSON_FIELD_STRING,
	     .required = true,
	     .max = 2 * (uint64_t)WRAPPED_KEY_BYTES,
	     .offset = offsetof(struct fields, wrapped)},
	    {0},
	};
	if (!json_is_object(key))
		return error_set(e, ERR_NOTFOUND, "the recording has no key");
	int r = json_read(key, fields, true, &f, e);
	if (r < 0)
		return r;
	struct account_key k = {.account = *account, .id = f.account_key};
	uint8_t wrapped[WRAPPED_KEY_BYTES];
	if (!key_id_valid(f.root_key) || !hex_decode(f.account_wrapped, k.wrapped, sizeof(k.wrapped)) ||
	    !hex_decode(f.wrapped, wrapped, sizeof(wrapped))) {
		r = error_set(e, ERR_CORRUPT, "the recording's key in the job's context is malformed");
	} else {
		(void)snprintf(k.root_key, sizeof(k.root_key), "%s", f.root_key);
		r = recording_key_unwrap(root, &k, recording, wrapped, sizeof(wrapped), ret_key, e);
	}
	json_read_done(fields, &f);
	return r;
}
