#include "domain/ledger_seal.h"

#include "base/hex.h"
#include "domain/ledger.h"

#include <inttypes.h>
#include <string.h>

#define TEXT_(x)	 #x
#define TEXT(x)		 TEXT_(x)
#define HEAD_COLUMNS	 "batch, leaves, root, previous, at, key_id, signature"
#define ENTRY_TEXT_BYTES 21 /* of an id, with its comma */

static const struct db_statement last_sql = {"ledger_last_batch",
					     "SELECT " HEAD_COLUMNS ", now FROM rushes.ledger_last_batch()", 0};

static const struct db_statement unsealed_sql = {
    "ledger_unsealed", "SELECT id, hash FROM rushes.ledger_unsealed(" TEXT(LEDGER_BATCH_LEAVES_MAX) ")", 0};

static const struct db_statement seal_sql = {
    "ledger_seal",
    "SELECT rushes.ledger_seal($1::bigint, $2::bigint[], $3::bytea, $4::bytea, $5::timestamptz, $6, $7::bytea)", 7};

static const struct db_statement unpublished_sql = {"ledger_unpublished",
						    "SELECT " HEAD_COLUMNS " FROM rushes.ledger_unpublished(1)", 0};

static const struct db_statement texts_sql = {"ledger_batch_texts",
					      "SELECT text FROM rushes.ledger_batch_texts($1::bigint)", 1};

static const struct db_statement published_sql = {"ledger_published", "SELECT rushes.ledger_published($1::bigint)", 1};

static const struct db_statement backlog_sql = {
    "ledger_backlog",
    "SELECT round(unsealed_s * 1000)::bigint, round(unpublished_s * 1000)::bigint, unpublished"
    " FROM rushes.ledger_backlog()",
    0};

/* The head that comes next, but for root and leaves. */
static int begin_head(struct db_pool *p, struct ledger_head *ret, struct error *e)
{
	_cleanup_(db_result_freep) struct db_result *rows = NULL;
	struct ledger_head last;
	*ret = (struct ledger_head){.batch = 1};
	int r = db_run(p, &last_sql, NULL, &rows, e);
	if (r < 0)
		return r;
	if (!db_null(rows, 0, 0)) {
		r = ledger_head_of_row(rows, 0, 0, &last, e);
		if (r < 0)
			return r;
		ret->batch = last.batch + 1;
		ledger_head_hash(&last, ret->previous);
	}
	(void)snprintf(ret->at, sizeof(ret->at), "%s", db_text(rows, 0, 7));
	return 0;
}

/* Root and leaves of the entries, and their ids as an array of SQL. */
static int add_entries(const struct db_result *rows, struct ledger_head *h, struct buffer *ids, struct error *e)
{
	struct merkle tree = {0};
	int r = 0;
	for (size_t i = 0; i < db_rows(rows) && r == 0; i++) {
		merkle_hash leaf;
		size_t n = 0;
		r = db_bytea(rows, i, 1, leaf, sizeof(leaf), &n, e);
		if (r == 0 && n != sizeof(leaf))
			r = error_set(e, ERR_CORRUPT, "entry %s of the ledger has no hash", db_text(rows, i, 0));
		if (r < 0)
			return r;
		merkle_add(&tree, leaf);
		r = buffer_printf(ids, "%s%s", i ? "," : "{", db_text(rows, i, 0));
	}
	if (r == 0)
		r = buffer_append_string(ids, "}");
	merkle_root(&tree, h->root);
	h->leaves = (uint32_t)tree.leaves;
	return r < 0 ? error_nomem(e) : 0;
}

static int commit(struct db_pool *p, const struct ledger_head *h, const char *ids, struct error *e)
{
	char batch[DB_INT_BYTES], root[DB_BYTEA_BYTES(sizeof(h->root))], previous[DB_BYTEA_BYTES(sizeof(h->previous))];
	char signature[DB_BYTEA_BYTES(sizeof(h->signature))];
	const char *params[] = {db_param_int((int64_t)h->batch, batch),
				ids,
				db_param_bytea(h->root, sizeof(h->root), root),
				db_param_bytea(h->previous, sizeof(h->previous), previous),
				h->at,
				h->key_id,
				db_param_bytea(h->signature, sizeof(h->signature), signature)};
	return db_run(p, &seal_sql, params, NULL, e);
}

int ledger_seal_next(struct db_pool *p, const struct keyring *secret, unsigned *ret_n, struct error *e)
{
	_cleanup_(db_result_freep) struct db_result *rows = NULL;
	_cleanup_(buffer_done) struct buffer ids = {.limit = (size_t)LEDGER_BATCH_LEAVES_MAX * ENTRY_TEXT_BYTES + 2};
	struct ledger_head h;
	*ret_n = 0;
	int r = db_run(p, &unsealed_sql, NULL, &rows, e);
	if (r < 0 || db_rows(rows) == 0)
		return r;
	/* behind the entries, so that none is later than its head */
	r = begin_head(p, &h, e);
	if (r == 0)
		r = add_entries(rows, &h, &ids, e);
	if (r < 0)
		return r;
	ledger_head_sign(&h, secret);
	r = commit(p, &h, ids.data, e);
	if (r == 0)
		*ret_n = h.leaves;
	return r;
}

/* Head, signature and entries, a line each. */
static int write_object(const struct ledger_head *h, const struct db_result *rows, struct buffer *ret, struct error *e)
{
	char head[LEDGER_HEAD_TEXT_BYTES], signature[2 * sizeof(h->signature) + 1];
	struct merkle tree = {0};
	merkle_hash root;
	ledger_head_text(h, head);
	hex_encode(h->signature, sizeof(h->signature), signature);
	int r = buffer_printf(ret, "%s\n%s\n", head, signature);
	for (size_t i = 0; i < db_rows(rows) && r == 0; i++) {
		merkle_hash leaf;
		const char *text = db_text(rows, i, 0);
		merkle_leaf(text, strlen(text), leaf);
		merkle_add(&tree, leaf);
		r = buffer_append_string(ret, text);
		if (r == 0)
			r = buffer_append_string(ret, "\n");
	}
	if (r < 0)
		return error_set(e, r, "batch %" PRIu64 " of the ledger does not fit into memory", h->batch);
	merkle_root(&tree, root);
	if (tree.leaves != h->leaves || memcmp(root, h->root, sizeof(root)) != 0)
		return error_set(e, ERR_CORRUPT,
				 "the entries of batch %" PRIu64
				 " no longer give its root: run `rushesctl ledger verify`",
				 h->batch);
	return 0;
}

int ledger_publish_next(struct db_pool *p, struct ledger_target *t, unsigned *ret_n, struct error *e)
{
	_cleanup_(db_result_freep) struct db_result *heads = NULL, *texts = NULL;
	_cleanup_(buffer_done) struct buffer object = {.limit = LEDGER_TARGET_BYTES_MAX};
	struct ledger_head h;
	char batch[DB_INT_BYTES];
	*ret_n = 0;
	int r = db_run(p, &unpublished_sql, NULL, &heads, e);
	if (r < 0 || db_rows(heads) == 0)
		return r;
	r = ledger_head_of_row(heads, 0, 0, &h, e);
	const char *const params[] = {db_param_int((int64_t)h.batch, batch)};
	if (r == 0)
		r = db_run(p, &texts_sql, params, &texts, e);
	if (r == 0)
		r = write_object(&h, texts, &object, e);
	if (r == 0)
		r = ledger_target_put(t, h.batch, object.data, object.size, e);
	if (r == 0)
		r = db_run(p, &published_sql, params, NULL, e);
	if (r == 0)
		*ret_n = 1;
	return r;
}

int ledger_backlog(struct db_pool *p, struct ledger_backlog *ret, struct error *e)
{
	_cleanup_(db_result_freep) struct db_result *rows = NULL;
	int r = db_run(p, &backlog_sql, NULL, &rows, e);
	if (r < 0)
		return r;
	*ret = (struct ledger_backlog){.unsealed_s = (double)db_int(rows, 0, 0) / 1e3,
				       .unpublished_s = (double)db_int(rows, 0, 1) / 1e3,
				       .unpublished = (uint64_t)db_int(rows, 0, 2)};
	return 0;
}
