#include "domain/report.h"

#include "store/db_json.h"

static const struct db_statement recordings_sql = {
    "report_recordings",
    "SELECT coalesce(json_agg(t ORDER BY t.opened_at DESC, t.id DESC), '[]')::text FROM ("
    " SELECT r.id, r.account, a.name AS account_name, e.name AS environment_name, r.state, r.opened_at, r.saved_at,"
    "  r.bytes, r.stop, r.recovered, r.truncated, r.held,"
    "  (SELECT (f.facts->>'duration_s')::float8 FROM rushes.file f WHERE f.recording = r.id AND f.kind = 'main')"
    "   AS duration_s,"
    "  (SELECT count(*) FROM rushes.copy c WHERE c.recording = r.id) AS copies"
    " FROM rushes.recording r JOIN rushes.account a ON a.id = r.account"
    " JOIN rushes.environment e ON e.account = r.account AND e.id = r.environment"
    " WHERE ($1::uuid IS NULL OR r.account = $1::uuid) AND ($2::text IS NULL OR r.state = $2)"
    " ORDER BY r.opened_at DESC LIMIT $3::integer) t",
    3};

static const struct db_statement recording_sql = {"report_recording",
						  "SELECT rushes.recording_get(NULL::uuid, $1::uuid)::text", 1};

#define JOB_COLUMNS \
	"j.id, j.kind, j.account, j.recording, j.file_kind, g.name AS target, j.node, j.state, j.attempt, j.failures,"

/* The unfinished, and with a recording or a finished state the partitions of the last days. */
static const struct db_statement jobs_sql = {
    "report_jobs",
    "SELECT coalesce(json_agg(t ORDER BY t.finished_at NULLS FIRST, t.next_attempt_at, t.id), '[]')::text FROM ("
    " (SELECT " JOB_COLUMNS " nullif(j.next_attempt_at, 'infinity') AS next_attempt_at, j.worker, j.last_error,"
    "   j.created_at, NULL::timestamptz AS finished_at"
    "  FROM rushes.job j LEFT JOIN rushes.target g ON g.id = j.target"
    "  WHERE ($1::uuid IS NULL OR j.recording = $1::uuid) AND ($2::text IS NULL OR j.kind = $2)"
    "   AND ($3::text IS NULL OR j.state = $3) ORDER BY j.next_attempt_at LIMIT $4::integer)"
    " UNION ALL"
    " (SELECT " JOB_COLUMNS " NULL, NULL, j.last_error, j.created_at, j.finished_at"
    "  FROM rushes.job_done j LEFT JOIN rushes.target g ON g.id = j.target"
    "  WHERE ($1::uuid IS NOT NULL OR $3::text IN ('done', 'failed', 'cancelled'))"
    "   AND ($1::uuid IS NULL OR j.recording = $1::uuid) AND ($2::text IS NULL OR j.kind = $2)"
    "   AND ($3::text IS NULL OR j.state = $3) ORDER BY j.finished_at DESC LIMIT $4::integer)) t",
    4};

static const struct db_statement job_sql = {
    "report_job",
    "SELECT json_build_object('id', t.id, 'kind', t.kind, 'account', t.account, 'recording', t.recording,"
    " 'file_kind', t.file_kind, 'target', t.target, 'node', t.node, 'state', t.state, 'attempt', t.attempt,"
    " 'failures', t.failures, 'next_attempt_at', t.next_attempt_at, 'worker', t.worker,"
    " 'last_error', t.last_error, 'created_at', t.created_at, 'finished_at', t.finished_at,"
    " 'attempts', (SELECT coalesce(json_agg(json_build_object('number', x.number, 'worker', x.worker,"
    "   'started_at', x.started_at, 'ended_at', x.ended_at, 'outcome', x.outcome, 'class', x.class, 'error', x.error)"
    "   ORDER BY x.number, x.ended_at), '[]') FROM rushes.attempt x WHERE x.job = t.id))::text FROM ("
    " SELECT " JOB_COLUMNS " nullif(j.next_attempt_at, 'infinity') AS next_attempt_at, j.worker, j.last_error,"
    "  j.created_at, NULL::timestamptz AS finished_at FROM rushes.job j"
    "  LEFT JOIN rushes.target g ON g.id = j.target WHERE j.id = $1::uuid"
    " UNION ALL SELECT " JOB_COLUMNS " NULL, NULL, j.last_error, j.created_at, j.finished_at FROM rushes.job_done j"
    "  LEFT JOIN rushes.target g ON g.id = j.target WHERE j.id = $1::uuid) t"
    " ORDER BY t.finished_at DESC NULLS FIRST LIMIT 1",
    1};

static const struct db_statement nodes_sql = {
    "report_nodes",
    "SELECT coalesce(json_agg(t ORDER BY t.service, t.id), '[]')::text FROM ("
    " SELECT n.id, n.region, n.service, n.state, n.peer_url, n.capacity_bytes, n.free_bytes, n.registered_at,"
    "  n.beat_at, extract(epoch FROM rushes.rushes_now() - n.beat_at)::float8 AS silent_s,"
    "  n.beat_at < rushes.rushes_now() - rushes.node_silence() AS is_silent,"
    "  (SELECT count(*) FROM rushes.copy c WHERE c.node = n.id) AS copies"
    " FROM rushes.node n) t",
    0};

static const struct db_statement node_sql = {"report_node", "SELECT rushes.node_show($1::uuid)::text", 1};

int report_recordings(struct db *d, const struct report_recordings *f, json_t **ret, struct error *e)
{
	char account[UUID_TEXT_BYTES], limit[DB_INT_BYTES];
	if (f->account)
		uuid_format(f->account, account);
	const char *params[] = {f->account ? account : NULL, f->state, db_param_int(f->limit, limit)};
	return db_query_json(d, &recordings_sql, params, ret, e);
}

static int of_id(struct db *d, const struct db_statement *st, const struct uuid *id, const char *what, json_t **ret,
		 struct error *e)
{
	char text[UUID_TEXT_BYTES];
	uuid_format(id, text);
	int r = db_query_json(d, st, (const char *const[]){text}, ret, e);
	return r == ERR_NOTFOUND ? error_set(e, r, "there is no %s %s", what, text) : r;
}

int report_recording(struct db *d, const struct uuid *id, json_t **ret, struct error *e)
{
	return of_id(d, &recording_sql, id, "recording", ret, e);
}

int report_jobs(struct db *d, const struct report_jobs *f, json_t **ret, struct error *e)
{
	char recording[UUID_TEXT_BYTES], limit[DB_INT_BYTES];
	if (f->recording)
		uuid_format(f->recording, recording);
	const char *params[] = {f->recording ? recording : NULL, f->kind, f->state, db_param_int(f->limit, limit)};
	return db_query_json(d, &jobs_sql, params, ret, e);
}

int report_job(struct db *d, const struct uuid *id, json_t **ret, struct error *e)
{
	return of_id(d, &job_sql, id, "job", ret, e);
}

int report_nodes(struct db *d, json_t **ret, struct error *e)
{
	return db_query_json(d, &nodes_sql, NULL, ret, e);
}

int report_node(struct db *d, const struct uuid *id, json_t **ret, struct error *e)
{
	return of_id(d, &node_sql, id, "spool", ret, e);
}
