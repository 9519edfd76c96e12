#include "domain/job.h"

#include "base/buffer.h"
#include "base/json.h"

#include <assert.h>
#include <string.h>

#define ARRAY_BYTES_MAX ((size_t)64 * 1024)

static const char *const kind_names[JOB_KIND_MAX] = {"copy", "convert", "push", "delete", "webhook"};

const char *job_kind_to_string(enum job_kind k)
{
	return k < JOB_KIND_MAX ? kind_names[k] : "unknown";
}

enum job_kind job_kind_from_string(const char *text)
{
	for (unsigned k = 0; text && k < JOB_KIND_MAX; k++)
		if (strcmp(text, kind_names[k]) == 0)
			return k;
	return JOB_KIND_MAX;
}

void job_params(const struct job *j, struct job_params *ret)
{
	uuid_format(&j->id, ret->id);
	(void)db_param_int(j->attempt, ret->attempt);
}

/* The text of a UUID, or NULL for none. */
static const char *optional_uuid(const struct uuid *u, char room[UUID_TEXT_BYTES])
{
	if (!u || uuid_is_zero(u))
		return NULL;
	uuid_format(u, room);
	return room;
}

int job_claim(struct db_pool *p, const struct job_claim *c, struct job *ret, struct error *e)
{
	static const struct db_statement st = {
	    "job_claim",
	    "SELECT id, account, recording, node, attempt, trace, next_attempt_at = 'infinity' FROM"
	    " rushes.job_claim($1::uuid, $2, $3, $4, $5::uuid, $6::bigint * interval '1 ms', $7::boolean, $8::boolean)",
	    8};
	char hint[UUID_TEXT_BYTES], node[UUID_TEXT_BYTES], lease[DB_INT_BYTES];
	const char *params[] = {optional_uuid(c->hint, hint),
				job_kind_to_string(c->kind),
				c->region,
				c->worker,
				optional_uuid(c->node, node),
				db_param_int(c->lease_ms, lease),
				db_param_bool(c->due),
				db_param_bool(c->early)};
	_cleanup_(db_result_freep) struct db_result *rows = NULL;
	int r = db_run(p, &st, params, &rows, e);
	if (r < 0)
		return r;
	if (db_rows(rows) == 0)
		return error_set(e, ERR_NOTFOUND, "no job is due");
	*ret = (struct job){.kind = c->kind, .attempt = (unsigned)db_int(rows, 0, 4), .is_early = db_bool(rows, 0, 6)};
	bool complete =
	    db_uuid(rows, 0, 0, &ret->id) && db_uuid(rows, 0, 1, &ret->account) && db_uuid(rows, 0, 2, &ret->recording);
	assert(complete);
	(void)!db_uuid(rows, 0, 3, &ret->node);
	if (!trace_parse(db_text(rows, 0, 5), &ret->trace))
		ret->trace = trace_new();
	return 0;
}

int job_context(struct db_pool *p, const struct job *j, json_t **ret, struct error *e)
{
	static const struct db_statement st = {"job_context", "SELECT rushes.job_context($1::uuid, $2::integer)", 2};
	struct job_params params;
	job_params(j, &params);
	_cleanup_(db_result_freep) struct db_result *rows = NULL;
	int r = db_run(p, &st, (const char *[]){params.id, params.attempt}, &rows, e);
	if (r < 0)
		return r;
	const char *text = db_text(rows, 0, 0);
	if (!text)
		return error_set(e, ERR_CONFLICT, "the job's facts are gone");
	return json_parse(text, strlen(text), ret, e);
}

/* PostgreSQL array literals of ids and attempts. */
static int held_arrays(const struct job_held *held, size_t n, struct buffer *ids, struct buffer *attempts)
{
	int r = 0;
	for (size_t i = 0; r == 0 && i < n; i++) {
		char id[UUID_TEXT_BYTES];
		uuid_format(&held[i].id, id);
		r = buffer_printf(ids, "%c%s", i ? ',' : '{', id);
		if (r == 0)
			r = buffer_printf(attempts, "%c%u", i ? ',' : '{', held[i].attempt);
	}
	if (r == 0)
		r = buffer_append_string(ids, "}");
	return r == 0 ? buffer_append_string(attempts, "}") : r;
}

int job_beat(struct db_pool *p, const char *worker, struct job_held *held, size_t n, int64_t lease_ms, struct error *e)
{
	static const struct db_statement st = {
	    "job_beat", "SELECT job FROM rushes.job_beat($1, $2::uuid[], $3::integer[], $4::bigint * interval '1 ms')",
	    4};
	assert(n > 0 && n <= JOB_BEAT_MAX);
	_cleanup_(buffer_done) struct buffer ids = {0}, attempts = {0};
	buffer_init(&ids, ARRAY_BYTES_MAX);
	buffer_init(&attempts, ARRAY_BYTES_MAX);
	if (held_arrays(held, n, &ids, &attempts) < 0)
		return error_nomem(e);
	char lease[DB_INT_BYTES];
	_cleanup_(db_result_freep) struct db_result *rows = NULL;
	const char *params[] = {worker, ids.data, attempts.data, db_param_int(lease_ms, lease)};
	int r = db_run(p, &st, params, &rows, e);
	if (r < 0)
		return r;
	for (size_t i = 0; i < n; i++) {
		held[i].is_ours = false;
		for (size_t k = 0; k < db_rows(rows) && !held[i].is_ours; k++) {
			struct uuid id;
			held[i].is_ours = db_uuid(rows, k, 0, &id) && uuid_equal(&id, &held[i].id);
		}
	}
	return 0;
}

int job_failed(struct db_pool *p, const struct job *j, const struct error *reason, bool never, bool *ret_is_final,
	       struct error *e)
{
	static const struct db_statement st = {
	    "job_failed", "SELECT state FROM rushes.job_failed($1::uuid, $2::integer, $3, $4, $5::boolean)", 5};
	struct job_params params;
	job_params(j, &params);
	const char *values[] = {params.id, params.attempt, error_code_to_string(reason->code),
				*reason->text ? reason->text : "no reason was given", db_param_bool(never)};
	_cleanup_(db_result_freep) struct db_result *rows = NULL;
	int r = db_run(p, &st, values, &rows, e);
	if (r == 0)
		*ret_is_final = db_rows(rows) > 0 && strcmp(db_text(rows, 0, 0), "failed") == 0;
	return r;
}

int job_hand_back(struct db_pool *p, const struct job *j, const char *reason, struct error *e)
{
	static const struct db_statement st = {"job_hand_back",
					       "SELECT rushes.job_hand_back($1::uuid, $2::integer, $3)", 3};
	struct job_params params;
	job_params(j, &params);
	return db_run(p, &st, (const char *[]){params.id, params.attempt, reason}, NULL, e);
}

int job_expire_leases(struct db_pool *p, enum job_kind k, unsigned limit, unsigned *ret_expired, struct error *e)
{
	static const struct db_statement st = {"job_expire_leases", "SELECT rushes.job_expire_leases($1, $2::integer)",
					       2};
	char n[DB_INT_BYTES];
	_cleanup_(db_result_freep) struct db_result *rows = NULL;
	int r = db_run(p, &st, (const char *[]){job_kind_to_string(k), db_param_int(limit, n)}, &rows, e);
	if (r == 0)
		*ret_expired = (unsigned)db_int(rows, 0, 0);
	return r;
}

int job_release_dead(struct db_pool *p, enum job_kind k, const char *worker, unsigned *ret_released, struct error *e)
{
	static const struct db_statement st = {"job_release_dead", "SELECT rushes.job_release_dead($1, $2)", 2};
	_cleanup_(db_result_freep) struct db_result *rows = NULL;
	int r = db_run(p, &st, (const char *[]){job_kind_to_string(k), worker}, &rows, e);
	if (r == 0)
		*ret_released = (unsigned)db_int(rows, 0, 0);
	return r;
}

int job_watch_nodes(struct db_pool *p, enum job_kind k, struct error *e)
{
	static const struct db_statement st = {"job_watch_nodes", "SELECT FROM rushes.job_watch_nodes($1)", 1};
	return db_run(p, &st, (const char *[]){job_kind_to_string(k)}, NULL, e);
}

int job_publish_due(struct db_pool *p, enum job_kind k, int64_t again_ms, struct job_due *ret, unsigned limit,
		    unsigned *ret_n, struct error *e)
{
	static const struct db_statement st = {"job_publish_due",
					       "SELECT job, region, node, attempt, publication, trace FROM"
					       " rushes.job_publish_due($1, $2::bigint * interval '1 ms', $3::integer)",
					       3};
	char again[DB_INT_BYTES], n[DB_INT_BYTES];
	const char *params[] = {job_kind_to_string(k), db_param_int(again_ms, again), db_param_int(limit, n)};
	_cleanup_(db_result_freep) struct db_result *rows = NULL;
	int r = db_run(p, &st, params, &rows, e);
	if (r < 0)
		return r;
	*ret_n = (unsigned)MIN(db_rows(rows), (size_t)limit);
	for (unsigned i = 0; i < *ret_n; i++) {
		struct job_due *due = &ret[i];
		*due = (struct job_due){.attempt = (unsigned)db_int(rows, i, 3),
					.publication = (unsigned)db_int(rows, i, 4)};
		bool has_id = db_uuid(rows, i, 0, &due->job);
		assert(has_id);
		(void)!db_uuid(rows, i, 2, &due->node);
		(void)snprintf(due->region, sizeof(due->region), "%s", db_text(rows, i, 1));
		(void)!trace_parse(db_text(rows, i, 5), &due->trace);
	}
	return 0;
}

/* Kinds whose bytes lie on one spool are dispatched to it. */
static bool is_bound(enum job_kind k, const struct uuid *node)
{
	return k == JOB_CONVERT && node && !uuid_is_zero(node);
}

static void name_with(char separator, const char *prefix, enum job_kind k, const char *region, const struct uuid *node,
		      char *ret, size_t room)
{
	int n = 0;
	if (is_bound(k, node)) {
		char text[UUID_TEXT_BYTES];
		uuid_format(node, text);
		n = snprintf(ret, room, "%s%s%c%s%c%s", prefix, job_kind_to_string(k), separator, region, separator,
			     text);
	} else {
		n = snprintf(ret, room, "%s%s%c%s", prefix, job_kind_to_string(k), separator, region);
	}
	assert(n > 0 && (size_t)n < room);
}

void job_subject(enum job_kind k, const char *region, const struct uuid *node, char *ret, size_t room)
{
	name_with('.', "jobs.", k, region, node, ret, room);
}

void job_durable(enum job_kind k, const char *region, const struct uuid *node, char *ret, size_t room)
{
	name_with('-', "", k, region, node, ret, room);
}

size_t job_message(enum job_kind k, const struct job_due *due, char ret[JOB_MESSAGE_BYTES])
{
	char id[UUID_TEXT_BYTES];
	uuid_format(&due->job, id);
	int n = snprintf(ret, JOB_MESSAGE_BYTES, "{\"job\":\"%s\",\"kind\":\"%s\",\"attempt\":%u,\"publication\":%u}",
			 id, job_kind_to_string(k), due->attempt, due->publication);
	assert(n > 0 && n < JOB_MESSAGE_BYTES);
	return (size_t)n;
}

void job_early_message_id(const struct uuid *job, unsigned segment, char ret[JOB_MESSAGE_ID_BYTES])
{
	char id[UUID_TEXT_BYTES];
	uuid_format(job, id);
	(void)snprintf(ret, JOB_MESSAGE_ID_BYTES, "%s.early.%u", id, segment);
}

void job_message_id(const struct job_due *due, char ret[JOB_MESSAGE_ID_BYTES])
{
	char id[UUID_TEXT_BYTES];
	uuid_format(&due->job, id);
	(void)snprintf(ret, JOB_MESSAGE_ID_BYTES, "%s.%u.%u", id, due->attempt, due->publication);
}

int job_message_parse(const char *text, size_t n, enum job_kind k, struct uuid *ret, struct error *e)
{
	struct message {
		struct uuid job;
		const char *kind;
		uint64_t attempt, publication;
	} m = {0};
	static const char *const kinds[] = {"copy", "convert", "push", "delete", "webhook", NULL};
	static const struct json_field fields[] = {
	    {.name = "job", .type = JSON_FIELD_UUID, .required = true, .offset = offsetof(struct message, job)},
	    {.name = "kind",
	     .type = JSON_FIELD_CHOICE,
	     .required = true,
	     .choices_list = kinds,
	     .offset = offsetof(struct message, kind)},
	    {.name = "attempt",
	     .type = JSON_FIELD_UINT,
	     .required = true,
	     .max = UINT32_MAX,
	     .offset = offsetof(struct message, attempt)},
	    {.name = "publication",
	     .type = JSON_FIELD_UINT,
	     .required = true,
	     .max = UINT32_MAX,
	     .offset = offsetof(struct message, publication)},
	    {0},
	};
	json_t *object = NULL;
	int r = json_parse(text, n, &object, e);
	if (r == 0)
		r = json_read(object, fields, true, &m, e);
	json_decref(object);
	if (r == 0 && strcmp(m.kind, job_kind_to_string(k)) != 0)
		r = error_set(e, ERR_REJECT, "the message is about a job of kind %s, not %s", m.kind,
			      job_kind_to_string(k));
	if (r == 0)
		*ret = m.job;
	return r;
}
