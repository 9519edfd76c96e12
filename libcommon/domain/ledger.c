#include "domain/ledger.h"

#include "store/db_json.h"

/* The canonical text is that of rushes.add_ledger(). */
static const struct db_statement list_sql = {
    "ledger_list",
    "SELECT coalesce(json_agg(t ORDER BY t.id), '[]')::text FROM ("
    " SELECT l.id, l.at, l.kind, l.account, l.recording, l.copy, l.rule, l.place, l.evidence,"
    "  encode(l.hash, 'hex') AS hash,"
    "  l.hash = sha256('\\x00'::bytea || convert_to(jsonb_build_object("
    "   'id', l.id, 'at', to_char(l.at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"'), 'kind', l.kind,"
    "   'account', l.account, 'recording', l.recording, 'copy', l.copy, 'rule', l.rule, 'place', l.place,"
    "   'evidence', l.evidence)::text, 'UTF8')) AS intact"
    " FROM rushes.ledger l WHERE l.recording = $1::uuid) t",
    1};

static const struct db_statement certificate_sql = {
    "ledger_certificate",
    "SELECT encode(hash, 'hex') FROM rushes.ledger WHERE recording = $1::uuid AND kind = 'complete'"
    " ORDER BY id DESC LIMIT 1",
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
