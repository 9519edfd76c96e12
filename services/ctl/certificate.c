#include "certificate.h"

#include "base/clock.h"
#include "base/hex.h"
#include "domain/ledger.h"

#include <inttypes.h>
#include <string.h>

static const char *text_of(const json_t *o, const char *name)
{
	const char *text = json_string_value(json_object_get(o, name));
	return text ? text : "";
}

static const char *place_of(const json_t *entry)
{
	return text_of(entry, "place");
}

/* The entry of this kind about the recording itself; the last one, or NULL. */
static json_t *own_entry(json_t *entries, const char *kind)
{
	size_t i = 0;
	json_t *entry = NULL, *found = NULL;
	json_array_foreach (entries, i, entry)
		if (strcmp(text_of(entry, "kind"), kind) == 0 && !json_is_string(json_object_get(entry, "copy")) &&
		    !place_of(entry)[0])
			found = entry;
	return found;
}

/* The words of proto/ledger-format.md for what stands behind a copy's removal. */
static json_t *evidence_words(const json_t *entry, bool key_destroyed)
{
	const json_t *evidence = json_object_get(entry, "evidence");
	const char *by = text_of(evidence, "node_destroyed_attested_by");
	json_t *words = json_array();
	if (key_destroyed && strncmp(place_of(entry), "node/", 5) == 0)
		(void)json_array_append_new(words, json_string("key-destroyed"));
	if (json_is_true(json_object_get(evidence, "unlinked")))
		(void)json_array_append_new(words, json_string("unlinked"));
	if (json_is_true(json_object_get(evidence, "absent")))
		(void)json_array_append_new(words, json_string("absent"));
	if (json_object_get(evidence, "versions"))
		(void)json_array_append_new(words, json_string("all-versions-deleted"));
	if (strcmp(place_of(entry), "database") == 0)
		(void)json_array_append_new(words, json_string("rows-deleted"));
	if (*by)
		(void)json_array_append_new(words, json_sprintf("node-destroyed, attested by %s", by));
	return words;
}

static json_t *list_copies(json_t *entries, bool key_destroyed)
{
	size_t i = 0;
	json_t *entry = NULL, *copies = json_array();
	json_array_foreach (entries, i, entry)
		if (strcmp(text_of(entry, "kind"), "gone") == 0)
			(void)json_array_append_new(copies, json_pack("{s:O, s:O, s:O, s:o, s:O}", "copy",
								      json_object_get(entry, "copy"), "place",
								      json_object_get(entry, "place"), "gone_at",
								      json_object_get(entry, "at"), "evidence",
								      evidence_words(entry, key_destroyed), "entry",
								      json_object_get(entry, "id")));
	return copies;
}

/* What a look after the removal found at a target, and removed. */
static json_t *list_found_late(json_t *entries)
{
	size_t i = 0;
	json_t *entry = NULL, *list = json_array();
	json_array_foreach (entries, i, entry)
		if (strcmp(text_of(entry, "kind"), "found-late") == 0)
			(void)json_array_append_new(list, json_pack("{s:O, s:O, s:O, s:O}", "copy",
								    json_object_get(entry, "copy"), "place",
								    json_object_get(entry, "place"), "removed_at",
								    json_object_get(entry, "at"), "entry",
								    json_object_get(entry, "id")));
	return list;
}

static json_t *backup_line(const char *what, const json_t *entry, int64_t reach_ms)
{
	char until[CLOCK_TEXT_BYTES] = "";
	int64_t at_us = 0;
	if (clock_parse(text_of(entry, "at"), &at_us))
		clock_format(at_us + reach_ms * 1000, until);
	return json_pack("{s:s, s:s}", "what", what, "until", until);
}

static json_t *list_backups(json_t *entries, json_t *decided, json_t *complete, bool key_destroyed, int64_t reach_ms)
{
	size_t i = 0;
	json_t *entry = NULL, *lines = json_array();
	if (key_destroyed)
		(void)json_array_append_new(lines, backup_line("the recording's sealed key, not its bytes", decided,
							       reach_ms));
	json_array_foreach (entries, i, entry)
		if (strcmp(text_of(entry, "rule"), "personal-metadata") == 0)
			(void)json_array_append_new(lines, backup_line("personal metadata", entry, reach_ms));
	(void)json_array_append_new(lines, backup_line("names, sizes and places of the copies", complete, reach_ms));
	return lines;
}

/* The batch's leaf hashes by position, which must give the signed root. */
static int read_leaves(struct db *d, const struct ledger_head *h, merkle_hash **ret, struct error *e)
{
	json_t *entries = NULL, *entry = NULL;
	size_t i = 0;
	struct merkle tree = {0};
	merkle_hash root;
	int r = ledger_batch_entries(d, h->batch, &entries, e);
	if (r < 0)
		return r;
	_cleanup_(freep) merkle_hash *leaves = calloc(h->leaves, sizeof(*leaves));
	if (!leaves) {
		json_decref(entries);
		return error_nomem(e);
	}
	json_array_foreach (entries, i, entry) {
		const char *text = text_of(entry, "text");
		if (i < h->leaves) {
			merkle_leaf(text, strlen(text), leaves[i]);
			merkle_add(&tree, leaves[i]);
		}
	}
	size_t n = json_array_size(entries);
	json_decref(entries);
	merkle_root(&tree, root);
	if (n != h->leaves || memcmp(root, h->root, sizeof(root)) != 0)
		return error_set(e, ERR_CORRUPT,
				 "the entries of batch %" PRIu64
				 " do not give its signed root: run `rushesctl ledger verify`",
				 h->batch);
	*ret = TAKE_PTR(leaves);
	return 0;
}

static json_t *path_json(const struct ledger_head *h, const merkle_hash *leaves, uint64_t position)
{
	merkle_hash path[MERKLE_PATH_MAX];
	unsigned n = merkle_path(leaves, h->leaves, position, path);
	json_t *hashes = json_array();
	for (unsigned i = 0; i < n; i++) {
		char text[2 * MERKLE_HASH_BYTES + 1];
		hex_encode(path[i], sizeof(path[i]), text);
		(void)json_array_append_new(hashes, json_string(text));
	}
	return hashes;
}

static json_t *head_json(const struct ledger_head *h)
{
	char text[LEDGER_HEAD_TEXT_BYTES], signature[2 * sizeof(h->signature) + 1];
	ledger_head_text(h, text);
	hex_encode(h->signature, sizeof(h->signature), signature);
	return json_pack("{s:s, s:s}", "head", text, "signature", signature);
}

/* The signed head of one batch, and the proof of each of the recording's entries in it. */
static int prove_batch(struct db *d, uint64_t batch, json_t *entries, json_t *proven, json_t *heads, struct error *e)
{
	struct ledger_batch b;
	_cleanup_(freep) merkle_hash *leaves = NULL;
	size_t i = 0;
	json_t *entry = NULL;
	int r = ledger_batch_get(d, batch, &b, e);
	if (r == 0)
		r = read_leaves(d, &b.head, &leaves, e);
	if (r < 0)
		return r;
	(void)json_array_append_new(heads, head_json(&b.head));
	json_array_foreach (entries, i, entry) {
		json_int_t position = json_integer_value(json_object_get(entry, "position"));
		if ((uint64_t)json_integer_value(json_object_get(entry, "batch")) != batch)
			continue;
		if (position < 0 || position >= (json_int_t)b.head.leaves)
			return error_set(e, ERR_CORRUPT, "an entry of batch %" PRIu64 " has no place in it", batch);
		(void)json_array_append_new(proven,
					    json_pack("{s:O, s:I, s:I, s:o}", "text", json_object_get(entry, "text"),
						      "batch", (json_int_t)batch, "position", position, "path",
						      path_json(&b.head, leaves, (uint64_t)position)));
	}
	return 0;
}

static int prove(struct db *d, json_t *entries, json_t *proven, json_t *heads, struct error *e)
{
	size_t i = 0, k = 0;
	json_t *entry = NULL, *earlier = NULL;
	json_array_foreach (entries, i, entry) {
		json_t *batch = json_object_get(entry, "batch");
		bool is_done = false;
		if (!json_is_integer(batch))
			return error_set(e, ERR_RETRY,
					 "the ledger's last entries are not sealed yet: the janitor does it every ten "
					 "seconds");
		json_array_foreach (entries, k, earlier) {
			if (k == i)
				break;
			is_done = is_done || json_equal(json_object_get(earlier, "batch"), batch);
		}
		int r = is_done ? 0 : prove_batch(d, (uint64_t)json_integer_value(batch), entries, proven, heads, e);
		if (r < 0)
			return r;
	}
	return 0;
}

int certificate_make(struct db *d, const struct uuid *recording, int64_t backup_reach_ms, json_t **ret, struct error *e)
{
	char id[UUID_TEXT_BYTES];
	json_t *entries = NULL, *proven = NULL, *heads = NULL;
	uuid_format(recording, id);
	int r = ledger_recording_entries(d, recording, &entries, e);
	if (r < 0)
		return r;
	json_t *decided = own_entry(entries, "decided"), *complete = own_entry(entries, "complete");
	if (!decided || !complete) {
		json_decref(entries);
		return error_set(e, ERR_NOTFOUND, "recording %s is not completely removed", id);
	}
	proven = json_array();
	heads = json_array();
	r = prove(d, entries, proven, heads, e);
	if (r == 0) {
		bool key_destroyed = strcmp(text_of(json_object_get(decided, "evidence"), "key"), "destroyed") == 0;
		json_t *left = json_object_get(json_object_get(complete, "evidence"), "left_with_the_client");
		*ret =
		    json_pack("{s:s, s:s, s:O, s:O, s:O, s:O, s:O?, s:o, s:o, s:o, s:O, s:O}", "type",
			      "rushes-certificate/1", "recording", id, "account", json_object_get(complete, "account"),
			      "rule", json_object_get(complete, "rule"), "decided_at", json_object_get(decided, "at"),
			      "completed_at", json_object_get(complete, "at"), "left_with_the_client", left, "copies",
			      list_copies(entries, key_destroyed), "found_late", list_found_late(entries), "backups",
			      list_backups(entries, decided, complete, key_destroyed, backup_reach_ms), "entries",
			      proven, "heads", heads);
		r = *ret ? 0 : error_nomem(e);
	}
	json_decref(proven);
	json_decref(heads);
	json_decref(entries);
	return r;
}

static void print_words(const json_t *words, FILE *out)
{
	size_t i = 0;
	json_t *word = NULL;
	json_array_foreach (words, i, word)
		(void)fprintf(out, "%s%s", i ? ", " : "", json_string_value(word));
}

void certificate_print(const json_t *c, FILE *out)
{
	size_t i = 0;
	json_t *one = NULL;
	(void)fprintf(out,
		      "Certificate of deletion\n\n"
		      "recording   %s\naccount     %s\ndecided     %s by the rule %s\ncompleted   %s\n\nCopies\n",
		      text_of(c, "recording"), text_of(c, "account"), text_of(c, "decided_at"), text_of(c, "rule"),
		      text_of(c, "completed_at"));
	json_array_foreach (json_object_get(c, "copies"), i, one) {
		const char *copy = text_of(one, "copy");
		(void)fprintf(out, "  %s  %s  %s: ", text_of(one, "gone_at"), *copy ? copy : "personal metadata",
			      text_of(one, "place"));
		print_words(json_object_get(one, "evidence"), out);
		(void)fputc('\n', out);
	}
	(void)fprintf(out, "  copies left with the client, who alone removes them: %lld\n",
		      (long long)json_integer_value(json_object_get(c, "left_with_the_client")));
	(void)fputs("  copies at targets are looked for again an hour and a day after their removal\n", out);
	json_array_foreach (json_object_get(c, "found_late"), i, one)
		(void)fprintf(out, "  %s  %s  %s: found again by a look, and removed\n", text_of(one, "removed_at"),
			      text_of(one, "copy"), text_of(one, "place"));
	(void)fputs("\nBackups of the database may hold\n", out);
	json_array_foreach (json_object_get(c, "backups"), i, one)
		(void)fprintf(out, "  until %s: %s\n", text_of(one, "until"), text_of(one, "what"));
	(void)fputs("\nSigned heads\n", out);
	json_array_foreach (json_object_get(c, "heads"), i, one)
		(void)fprintf(out, "  %s\n", text_of(one, "head"));
	(void)fprintf(out,
		      "\n%zu ledger entries are proven by these heads: docs/certificates.md tells how to check it.\n",
		      json_array_size(json_object_get(c, "entries")));
}
