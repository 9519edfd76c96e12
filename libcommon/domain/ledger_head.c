#include "domain/ledger_head.h"

#include "base/hex.h"

#include <inttypes.h>
#include <jansson.h>
#include <string.h>

#define HASH_TEXT_BYTES (2 * MERKLE_HASH_BYTES + 1)

void ledger_head_text(const struct ledger_head *h, char ret[LEDGER_HEAD_TEXT_BYTES])
{
	char root[HASH_TEXT_BYTES], previous[HASH_TEXT_BYTES];
	hex_encode(h->root, sizeof(h->root), root);
	hex_encode(h->previous, sizeof(h->previous), previous);
	/* no member needs escapes: key ids and times have none of the characters */
	(void)snprintf(ret, LEDGER_HEAD_TEXT_BYTES,
		       "{\"type\":\"rushes-ledger-head/1\",\"batch\":%" PRIu64 ",\"leaves\":%" PRIu32
		       ",\"root\":\"%s\",\"previous\":\"%s\",\"at\":\"%s\",\"key\":\"%s\"}",
		       h->batch, h->leaves, root, previous, h->at, h->key_id);
}

static bool read_members(json_t *o, struct ledger_head *h)
{
	json_int_t batch = 0, leaves = 0;
	const char *root = NULL, *previous = NULL, *at = NULL, *key = NULL;
	int64_t wall_us = 0;
	if (json_unpack(o, "{s:I, s:I, s:s, s:s, s:s, s:s}", "batch", &batch, "leaves", &leaves, "root", &root,
			"previous", &previous, "at", &at, "key", &key) < 0)
		return false;
	if (batch < 1 || leaves < 1 || leaves > LEDGER_BATCH_LEAVES_MAX || !key_id_valid(key) ||
	    strlen(at) >= sizeof(h->at) || !clock_parse(at, &wall_us) || !hex_decode(root, h->root, sizeof(h->root)) ||
	    !hex_decode(previous, h->previous, sizeof(h->previous)))
		return false;
	h->batch = (uint64_t)batch;
	h->leaves = (uint32_t)leaves;
	(void)snprintf(h->at, sizeof(h->at), "%s", at);
	(void)snprintf(h->key_id, sizeof(h->key_id), "%s", key);
	return true;
}

int ledger_head_parse(const char *text, struct ledger_head *ret, struct error *e)
{
	char again[LEDGER_HEAD_TEXT_BYTES];
	struct ledger_head h = {0};
	json_t *o = json_loads(text, JSON_REJECT_DUPLICATES, NULL);
	bool is_read = o && read_members(o, &h);
	json_decref(o);
	if (!is_read)
		return error_set(e, ERR_CORRUPT, "that is no head of a batch");
	/* only one text has this meaning: the signed one */
	ledger_head_text(&h, again);
	if (strcmp(again, text) != 0)
		return error_set(e, ERR_CORRUPT, "the head of batch %" PRIu64 " is not in its canonical form", h.batch);
	*ret = h;
	return 0;
}

void ledger_head_hash(const struct ledger_head *h, merkle_hash ret)
{
	char text[LEDGER_HEAD_TEXT_BYTES];
	ledger_head_text(h, text);
	/* of a buffer in memory: fails only where merkle_root() would abort, too */
	if (sha256_of(text, strlen(text), ret, NULL) < 0)
		abort();
}

void ledger_head_sign(struct ledger_head *h, const struct keyring *secret)
{
	char text[LEDGER_HEAD_TEXT_BYTES];
	const char *id = NULL;
	const uint8_t *seed = keyring_current(secret, &id);
	(void)snprintf(h->key_id, sizeof(h->key_id), "%s", id);
	ledger_head_text(h, text);
	ed25519_sign(seed, text, strlen(text), h->signature);
}

int ledger_head_verify(const struct ledger_head *h, const struct keyring *public_keys, struct error *e)
{
	char text[LEDGER_HEAD_TEXT_BYTES];
	const uint8_t *key = keyring_find(public_keys, h->key_id);
	if (!key)
		return error_set(e, ERR_NOTFOUND, "there is no public key %s", h->key_id);
	ledger_head_text(h, text);
	if (!ed25519_verify(key, text, strlen(text), h->signature))
		return error_set(e, ERR_CORRUPT, "the signature of batch %" PRIu64 " is not that of key %s", h->batch,
				 h->key_id);
	return 0;
}
