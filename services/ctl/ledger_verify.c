#include "ledger_verify.h"

#include "base/clock.h"
#include "base/hex.h"
#include "domain/ledger.h"
#include "domain/ledger_object.h"

#include <inttypes.h>
#include <stdarg.h>
#include <string.h>

/* Findings that are told; more would be one cause. */
#define FINDINGS_MAX  1000
#define UNSEALED_PAGE 5000
/* An entry's time is that of its transaction's begin, so a later id may carry an earlier time: by as much as the
 * longest transaction lasts. What lies further back was written later than it says. */
#define TIME_SLACK_US ((int64_t)600 * 1000000)

struct verifier {
	struct db *db;
	const struct keyring *keys;
	struct ledger_target *target;
	const char *known_head;
	bool knows_head; /* known_head was met */
	json_t *findings;
	struct ledger_head before; /* the last head that could be read; batch 0: none */
	int64_t latest_us;	   /* latest time of an entry so far */
	uint64_t batches, entries, unsealed, last_here, last_there;
};

/* `entry` 0: none. One finding for an entry of a batch: the first is the nearest to the cause. */
static void find(struct verifier *v, const char *what, uint64_t batch, int64_t entry, const char *fmt, ...)
    _printf_(5, 6);

static void find(struct verifier *v, const char *what, uint64_t batch, int64_t entry, const char *fmt, ...)
{
	char detail[300];
	size_t i = 0;
	json_t *f = NULL;
	va_list args;
	if (json_array_size(v->findings) >= FINDINGS_MAX)
		return;
	json_array_foreach (v->findings, i, f)
		if (entry != 0 && json_integer_value(json_object_get(f, "entry")) == entry)
			return;
	va_start(args, fmt);
	(void)vsnprintf(detail, sizeof(detail), fmt, args);
	va_end(args);
	f = json_pack("{s:s, s:o, s:o, s:s}", "what", what, "batch",
		      batch ? json_integer((json_int_t)batch) : json_null(), "entry",
		      entry ? json_integer(entry) : json_null(), "detail", detail);
	(void)json_array_append_new(v->findings, f);
}

static const char *text_of(const json_t *o, const char *name)
{
	const char *text = json_string_value(json_object_get(o, name));
	return text ? text : "";
}

static int64_t number_of(const json_t *o, const char *name)
{
	return json_integer_value(json_object_get(o, name));
}

static int64_t id_of_text(const char *text)
{
	json_t *o = json_loads(text, 0, NULL);
	int64_t id = number_of(o, "id");
	json_decref(o);
	return id;
}

/* Recomputes the leaf of a row and looks at its time. */
static void check_entry(struct verifier *v, uint64_t batch, const json_t *entry, merkle_hash ret_leaf)
{
	const char *text = text_of(entry, "text"), *at = text_of(entry, "at");
	char hash[2 * MERKLE_HASH_BYTES + 1];
	int64_t id = number_of(entry, "id"), at_us = 0;
	merkle_leaf(text, strlen(text), ret_leaf);
	hex_encode(ret_leaf, MERKLE_HASH_BYTES, hash);
	if (strcmp(hash, text_of(entry, "hash")) != 0)
		find(v, "changed", batch, id, "entry %" PRId64 " no longer gives its hash", id);
	if (!clock_parse(at, &at_us))
		find(v, "changed", batch, id, "the time %s of entry %" PRId64 " cannot be", at, id);
	else if (at_us < v->latest_us - TIME_SLACK_US)
		find(v, "back-dated", batch, id, "entry %" PRId64 " of %s stands behind later ones", id, at);
	v->latest_us = MAX(v->latest_us, at_us);
	v->entries++;
}

/* Leaves in their places, in the order of their ids, none missing; then the root. `has_witness`: the target's file will
 * tell which entry is wrong. */
static void check_leaves(struct verifier *v, const struct ledger_head *h, const json_t *entries, bool has_witness)
{
	size_t i = 0, findings = json_array_size(v->findings);
	int64_t expected = 0, id_before = 0, head_us = 0;
	struct merkle tree = {0};
	merkle_hash leaf, root;
	json_t *entry = NULL;
	bool has_time = clock_parse(h->at, &head_us);
	json_array_foreach (entries, i, entry) {
		int64_t at_us = 0, id = number_of(entry, "id"), position = number_of(entry, "position");
		check_entry(v, h->batch, entry, leaf);
		merkle_add(&tree, leaf);
		if (position > expected)
			find(v, "removed", h->batch, 0, "leaves %" PRId64 " to %" PRId64 " are missing", expected,
			     position - 1);
		else if (position < expected)
			find(v, "reordered", h->batch, id, "entry %" PRId64 " has another one's place", id);
		if (id <= id_before)
			find(v, "reordered", h->batch, id, "entry %" PRId64 " stands behind %" PRId64, id, id_before);
		if (has_time && clock_parse(text_of(entry, "at"), &at_us) && at_us > head_us + TIME_SLACK_US)
			find(v, "changed", h->batch, id, "entry %" PRId64 " is later than its batch", id);
		expected = position + 1;
		id_before = id;
	}
	if (expected < h->leaves)
		find(v, "removed", h->batch, 0, "leaves %" PRId64 " to %" PRIu32 " are missing", expected,
		     h->leaves - 1);
	else if (tree.leaves > h->leaves)
		find(v, "added", h->batch, 0, "there are %" PRIu64 " leaves, the head says %" PRIu32, tree.leaves,
		     h->leaves);
	merkle_root(&tree, root);
	if (memcmp(root, h->root, sizeof(root)) != 0 && json_array_size(v->findings) == findings && !has_witness)
		find(v, "changed", h->batch, 0,
		     "the entries do not give the signed root: one was changed together with its hash; the ledger "
		     "target tells which");
}

static void check_head(struct verifier *v, const struct ledger_head *h)
{
	struct error why = {0};
	merkle_hash hash;
	char text[2 * MERKLE_HASH_BYTES + 1];
	int64_t at_us = 0, before_us = 0;
	if (ledger_head_verify(h, v->keys, &why) < 0)
		find(v, "signature", h->batch, 0, "%s", why.text);
	memset(hash, 0, sizeof(hash));
	if (v->before.batch)
		ledger_head_hash(&v->before, hash);
	if (memcmp(hash, h->previous, sizeof(hash)) != 0)
		find(v, "link", h->batch, 0, "batch %" PRIu64 " does not follow the head before it", h->batch);
	if (v->before.batch && clock_parse(h->at, &at_us) && clock_parse(v->before.at, &before_us) && at_us < before_us)
		find(v, "back-dated", h->batch, 0, "batch %" PRIu64 " of %s is earlier than the one before", h->batch,
		     h->at);
	v->before = *h;
	ledger_head_hash(h, hash);
	hex_encode(hash, sizeof(hash), text);
	v->knows_head = v->knows_head || (v->known_head && strcasecmp(text, v->known_head) == 0);
}

static int read_kept(struct verifier *v, uint64_t batch, struct ledger_object *k, struct error *e)
{
	int r = ledger_object_read(v->target, batch, v->keys, k, e);
	if (r == 0 && k->is_there && !k->is_sound)
		find(v, "target-changed", batch, 0,
		     "the ledger target's file of batch %" PRIu64 " is not what was signed%s%s", batch,
		     k->why.code ? ": " : "", k->why.text);
	return r;
}

/* The rows of a batch against its sound file: which of them differ, and how. */
static void compare_entries(struct verifier *v, uint64_t batch, const struct ledger_object *k, const json_t *entries)
{
	size_t i = 0;
	json_t *entry = NULL, *places = json_object();
	char id[24];
	json_array_foreach (entries, i, entry) {
		(void)snprintf(id, sizeof(id), "%" PRId64, number_of(entry, "id"));
		(void)json_object_set(places, id, entry);
	}
	for (i = 2; i < k->n; i++) {
		int64_t number = id_of_text(k->lines[i]);
		(void)snprintf(id, sizeof(id), "%" PRId64, number);
		entry = json_object_get(places, id);
		if (!entry)
			find(v, "removed", batch, number, "entry %s is not in the database; the ledger target has it",
			     id);
		else if (strcmp(text_of(entry, "text"), k->lines[i]) != 0)
			find(v, "changed", batch, number, "entry %s is another one at the ledger target", id);
		else if (number_of(entry, "position") != (int64_t)i - 2)
			find(v, "reordered", batch, number, "entry %s has another one's place", id);
		(void)json_object_del(places, id);
	}
	const char *name = NULL;
	json_object_foreach (places, name, entry) {
		find(v, "added", batch, number_of(entry, "id"), "entry %s was not in the batch that was signed", name);
	}
	json_decref(places);
}

static void compare_heads(struct verifier *v, const struct ledger_head *here, const struct ledger_object *k)
{
	char text[LEDGER_HEAD_TEXT_BYTES], kept[LEDGER_HEAD_TEXT_BYTES];
	ledger_head_text(here, text);
	ledger_head_text(&k->head, kept);
	if (strcmp(text, kept) != 0 || memcmp(here->signature, k->head.signature, sizeof(here->signature)) != 0)
		find(v, "changed", here->batch, 0, "the head of batch %" PRIu64 " is another one at the ledger target",
		     here->batch);
}

/* Without its row: what is known comes from the target. */
static void tell_missing_batch(struct verifier *v, uint64_t batch, const struct ledger_object *k)
{
	const char *what = batch > v->last_here ? "cut-off" : "removed";
	if (!k->is_sound) {
		find(v, what, batch, 0, "batch %" PRIu64 " is not in the database", batch);
		return;
	}
	find(v, what, batch, 0,
	     "batch %" PRIu64 " is not in the database; the ledger target has it with the entries %" PRId64
	     " to %" PRId64,
	     batch, id_of_text(k->lines[2]), id_of_text(k->lines[k->n - 1]));
	check_head(v, &k->head);
}

static int check_batch(struct verifier *v, uint64_t batch, struct error *e)
{
	_cleanup_(ledger_object_done) struct ledger_object k = {0};
	struct ledger_batch b = {0};
	struct error missing = {0};
	json_t *entries = NULL;
	int row = ledger_batch_get(v->db, batch, &b, &missing);
	if (row < 0 && row != ERR_NOTFOUND)
		return error_set(e, row, "%s", missing.text);
	int r = v->target ? read_kept(v, batch, &k, e) : 0;
	if (r < 0)
		return r;
	if (row == ERR_NOTFOUND) {
		tell_missing_batch(v, batch, &k);
		return 0;
	}
	r = ledger_batch_entries(v->db, batch, &entries, e);
	if (r < 0)
		return r;
	v->batches++;
	check_head(v, &b.head);
	check_leaves(v, &b.head, entries, k.is_sound);
	if (k.is_sound) {
		compare_heads(v, &b.head, &k);
		compare_entries(v, batch, &k, entries);
	} else if (v->target && !k.is_there && b.is_published) {
		find(v, batch > v->last_there ? "cut-off" : "removed", batch, 0,
		     "the ledger target no longer has batch %" PRIu64, batch);
	}
	json_decref(entries);
	return 0;
}

static int check_unsealed(struct verifier *v, struct error *e)
{
	int64_t after = 0;
	for (size_t n = UNSEALED_PAGE; n == UNSEALED_PAGE;) {
		json_t *entries = NULL, *entry = NULL;
		merkle_hash leaf;
		size_t i = 0;
		int r = ledger_unsealed_entries(v->db, after, UNSEALED_PAGE, &entries, e);
		if (r < 0)
			return r;
		n = json_array_size(entries);
		json_array_foreach (entries, i, entry) {
			check_entry(v, 0, entry, leaf);
			after = number_of(entry, "id");
			v->unsealed++;
		}
		json_decref(entries);
	}
	return 0;
}

/* What other rows say of the ledger: tombstones without their proof, and a head that somebody kept. */
static int check_witnesses(struct verifier *v, struct error *e)
{
	json_t *unproven = NULL, *id = NULL;
	size_t i = 0;
	int r = ledger_unproven(v->db, FINDINGS_MAX, &unproven, e);
	if (r < 0)
		return r;
	json_array_foreach (unproven, i, id) {
		find(v, "removed", 0, 0, "recording %s is deleted, but its entry `complete` is not there",
		     json_string_value(id));
	}
	json_decref(unproven);
	if (v->known_head && !v->knows_head)
		find(v, "cut-off", 0, 0, "no batch has the head %s that is known from elsewhere", v->known_head);
	return 0;
}

static json_t *answer(struct verifier *v)
{
	merkle_hash hash;
	char text[2 * MERKLE_HASH_BYTES + 1] = "";
	json_t *last = json_null();
	if (v->before.batch) {
		ledger_head_hash(&v->before, hash);
		hex_encode(hash, sizeof(hash), text);
		last = json_pack("{s:I, s:s, s:s}", "batch", (json_int_t)v->before.batch, "at", v->before.at, "head",
				 text);
	}
	return json_pack("{s:I, s:I, s:I, s:o, s:b, s:o}", "batches", (json_int_t)v->batches, "entries",
			 (json_int_t)v->entries, "unsealed", (json_int_t)v->unsealed, "last", last, "target",
			 v->target != NULL, "findings", v->findings);
}

int ledger_verify(struct db *d, const struct keyring *public_keys, struct ledger_target *target, const char *known_head,
		  json_t **ret, struct error *e)
{
	struct verifier v = {.db = d, .keys = public_keys, .target = target, .known_head = known_head};
	v.findings = json_array();
	/* the target first: a batch comes there from the database, so that what is sealed meanwhile is no finding */
	int r = target ? ledger_target_last(target, &v.last_there, e) : 0;
	if (r == 0)
		r = ledger_last_batch(d, &v.last_here, e);
	for (uint64_t batch = 1;
	     r == 0 && batch <= MAX(v.last_here, v.last_there) && json_array_size(v.findings) < FINDINGS_MAX; batch++)
		r = check_batch(&v, batch, e);
	if (r == 0)
		r = check_unsealed(&v, e);
	if (r == 0)
		r = check_witnesses(&v, e);
	if (r < 0) {
		json_decref(v.findings);
		return r;
	}
	*ret = answer(&v);
	return 0;
}
