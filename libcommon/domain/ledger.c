#include "domain/ledger.h"

#include "store/db_json.h"

static const struct db_statement list_sql = {
    "ledger_list",
    "SELECT coalesce(json_agg(t ORDER BY t.id), '[]')::text FROM ("
    " SELECT l.id, l.at, l.kind, l.account, l.recording, l.copy, l.rule, l.place, l.evidence,"
    "  encode(l.hash, 'hex') AS hash,"
    "  l.hash = sha256('\\x00'::bytea || convert_to(rushes.ledger_text(l), 'UTF8')) AS intact"
    " FROM rushes.ledger l WHERE l.recording = $1::uuid) t",
    1};

static const struct db_statement certificate_sql = {
    "ledger_certificate",
    "SELECT encode(hash, 'hex') FROM rushes.ledger WHERE recording = $1::uuid AND kind = 'complete'"
    " ORDER BY id DESC LIMIT 1",
    1};

static const struct db_statement batch_sql = {
    "ledger_batch_get",
    "SELECT id, leaves, root, previous, to_char(at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"'), key_id,"
    " signature, published_at IS NOT NULL FROM rushes.ledger_batch WHERE id = $1::bigint",
    1};

static const struct db_statement last_batch_sql = {
    "ledger_last_number",
    "SELECT greatest((SELECT coalesce(max(id), 0) FROM rushes.ledger_batch),"
    " (SELECT coalesce(max(batch), 0) FROM rushes.ledger WHERE batch IS NOT NULL))",
    0};

#define ENTRY_OBJECT                                                                                   \
	"json_build_object('id', l.id, 'position', l.position, 'at', to_char(l.at AT TIME ZONE 'UTC'," \
	" 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"'), 'text', rushes.ledger_text(l), 'hash', encode(l.hash, 'hex'))"

static const struct db_statement batch_entries_sql = {"ledger_batch_entries",
						      "SELECT coalesce(json_agg(" ENTRY_OBJECT
						      " ORDER BY l.position, l.id), '[]')::text"
						      " FROM rushes.ledger l WHERE l.batch = $1::bigint",
						      1};

static const struct db_statement unsealed_sql = {
    "ledger_unsealed_entries",
    "SELECT coalesce(json_agg(" ENTRY_OBJECT " ORDER BY l.id), '[]')::text FROM (SELECT * FROM rushes.ledger"
    " WHERE batch IS NULL AND id > $1::bigint ORDER BY id LIMIT $2::integer) l",
    2};

static const struct db_statement recording_entries_sql = {
    "ledger_recording_entries",
    "SELECT coalesce(json_agg((rushes.ledger_text(l)::jsonb || jsonb_build_object('text', rushes.ledger_text(l),"
    " 'batch', l.batch, 'position', l.position)) ORDER BY l.id), '[]')::text"
    " FROM rushes.ledger l WHERE l.recording = $1::uuid",
    1};

static const struct db_statement unproven_sql = {
    "ledger_unproven",
    "SELECT coalesce(json_agg(t.id), '[]')::text FROM (SELECT r.id FROM rushes.recording r WHERE r.state = 'deleted'"
    " AND NOT EXISTS (SELECT FROM rushes.ledger l WHERE l.recording = r.id AND l.kind = 'complete')"
    " ORDER BY r.id LIMIT $1::integer) t",
    1};

int ledger_list(struct db *d, const struct uuid *recording, json_t **ret, struct error *e)
{
	char id[UUID_TEXT_BYTES];
	uuid_format(recording, id);
	return db_query_json(d, &list_sql, (const char *const[]){id}, ret, e);
}

int ledger_certificate(struct db *d, const struct uuid *recording, char ret[LEDGER_HASH_BYTES], struct error *e)
{
	char id[UUID_TEXT_BYTES];
	_cleanup_(db_result_freep) struct db_result *rows = NULL;
	uuid_format(recording, id);
	int r = db_query(d, &certificate_sql, (const char *const[]){id}, &rows, e);
	if (r < 0)
		return r;
	if (db_rows(rows) == 0)
		return error_set(e, ERR_NOTFOUND, "recording %s is not completely removed", id);
	(void)snprintf(ret, LEDGER_HASH_BYTES, "%s", db_text(rows, 0, 0));
	return 0;
}

static int read_bytes(const struct db_result *rows, size_t row, size_t column, void *ret, size_t n, struct error *e)
{
	size_t got = 0;
	int r = db_bytea(rows, row, column, ret, n, &got, e);
	return r == 0 && got != n ? error_set(e, ERR_CORRUPT, "a hash or signature of a batch is too short") : r;
}

int ledger_head_of_row(const struct db_result *rows, size_t row, size_t column, struct ledger_head *ret,
		       struct error *e)
{
	*ret = (struct ledger_head){.batch = (uint64_t)db_int(rows, row, column),
				    .leaves = (uint32_t)db_int(rows, row, column + 1)};
	(void)snprintf(ret->at, sizeof(ret->at), "%s", db_text(rows, row, column + 4));
	(void)snprintf(ret->key_id, sizeof(ret->key_id), "%s", db_text(rows, row, column + 5));
	int r = read_bytes(rows, row, column + 2, ret->root, sizeof(ret->root), e);
	if (r == 0)
		r = read_bytes(rows, row, column + 3, ret->previous, sizeof(ret->previous), e);
	return r < 0 ? r : read_bytes(rows, row, column + 6, ret->signature, sizeof(ret->signature), e);
}

int ledger_batch_get(struct db *d, uint64_t batch, struct ledger_batch *ret, struct error *e)
{
	char id[DB_INT_BYTES];
	_cleanup_(db_result_freep) struct db_result *rows = NULL;
	int r = db_query(d, &batch_sql, (const char *const[]){db_param_int((int64_t)batch, id)}, &rows, e);
	if (r < 0)
		return r;
	if (db_rows(rows) == 0)
		return error_set(e, ERR_NOTFOUND, "there is no batch %s", id);
	ret->is_published = db_bool(rows, 0, 7);
	return ledger_head_of_row(rows, 0, 0, &ret->head, e);
}

int ledger_last_batch(struct db *d, uint64_t *ret, struct error *e)
{
	_cleanup_(db_result_freep) struct db_result *rows = NULL;
	int r = db_query(d, &last_batch_sql, NULL, &rows, e);
	if (r == 0)
		*ret = (uint64_t)db_int(rows, 0, 0);
	return r;
}

int ledger_batch_entries(struct db *d, uint64_t batch, json_t **ret, struct error *e)
{
	char id[DB_INT_BYTES];
	return db_query_json(d, &batch_entries_sql, (const char *const[]){db_param_int((int64_t)batch, id)}, ret, e);
}

int ledger_unsealed_entries(struct db *d, int64_t after, unsigned limit, json_t **ret, struct error *e)
{
	char id[DB_INT_BYTES], n[DB_INT_BYTES];
	return db_query_json(d, &unsealed_sql, (const char *const[]){db_param_int(after, id), db_param_int(limit, n)},
			     ret, e);
}

int ledger_recording_entries(struct db *d, const struct uuid *recording, json_t **ret, struct error *e)
{
	char id[UUID_TEXT_BYTES];
	uuid_format(recording, id);
	return db_query_json(d, &recording_entries_sql, (const char *const[]){id}, ret, e);
}

int ledger_unproven(struct db *d, unsigned limit, json_t **ret, struct error *e)
{
	char n[DB_INT_BYTES];
	return db_query_json(d, &unproven_sql, (const char *const[]){db_param_int(limit, n)}, ret, e);
}
