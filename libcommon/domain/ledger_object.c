#include "domain/ledger_object.h"

#include "base/hex.h"

#include <string.h>

void ledger_object_done(struct ledger_object *o)
{
	buffer_done(&o->data);
	free(o->lines);
	o->lines = NULL;
}

/* Cuts at line feeds; `*ret_bytes` is what the lines take with them. */
static void cut_lines(struct ledger_object *o, size_t *ret_bytes)
{
	char *save = NULL;
	for (char *line = strtok_r(o->data.data, "\n", &save); line && o->n < LEDGER_BATCH_LEAVES_MAX + 2;
	     line = strtok_r(NULL, "\n", &save)) {
		o->lines[o->n++] = line;
		*ret_bytes += strlen(line) + 1;
	}
}

int ledger_object_read(struct ledger_target *t, uint64_t batch, const struct keyring *public_keys,
		       struct ledger_object *ret, struct error *e)
{
	struct merkle tree = {0};
	merkle_hash leaf, root;
	size_t bytes = 0;
	struct ledger_head *h = &ret->head;
	*ret = (struct ledger_object){0};
	int r = ledger_target_get(t, batch, &ret->data, &ret->why);
	ret->is_there = r != ERR_NOTFOUND;
	if (r == ERR_NOTFOUND || r == ERR_CORRUPT)
		return 0;
	if (r < 0)
		return error_set(e, r, "%s", ret->why.text);
	ret->lines = calloc(LEDGER_BATCH_LEAVES_MAX + 2, sizeof(*ret->lines));
	if (!ret->lines)
		return error_nomem(e);
	cut_lines(ret, &bytes);
	for (size_t i = 2; i < ret->n; i++) {
		merkle_leaf(ret->lines[i], strlen(ret->lines[i]), leaf);
		merkle_add(&tree, leaf);
	}
	merkle_root(&tree, root);
	ret->is_sound = ret->n > 2 && bytes == ret->data.size && ledger_head_parse(ret->lines[0], h, &ret->why) == 0 &&
			strlen(ret->lines[1]) == 2 * (size_t)ED25519_SIGNATURE_BYTES &&
			hex_decode(ret->lines[1], h->signature, sizeof(h->signature)) && h->batch == batch &&
			ledger_head_verify(h, public_keys, &ret->why) == 0 && tree.leaves == h->leaves &&
			memcmp(root, h->root, sizeof(root)) == 0;
	return 0;
}
