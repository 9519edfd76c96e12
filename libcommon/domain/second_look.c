#include "domain/second_look.h"

#include "base/json.h"

#include <string.h>

struct look_params {
	const char *copy;
	char attempt[DB_INT_BYTES];
};

static void look_params(const json_t *look, struct look_params *ret)
{
	const char *copy = json_string_value(json_object_get(json_object_get(look, "copy"), "id"));
	ret->copy = copy ? copy : "";
	(void)db_param_int(json_integer_value(json_object_get(look, "attempt")), ret->attempt);
}

int second_look_take(struct db_pool *p, const char *region, const char *worker, json_t **ret, struct error *e)
{
	static const struct db_statement st = {
	    "second_look_take", "SELECT rushes.second_look_take($1, $2, $3::bigint * interval '1 millisecond')", 3};
	_cleanup_(db_result_freep) struct db_result *rows = NULL;
	char lease[DB_INT_BYTES];
	int r = db_run(p, &st, (const char *[]){region, worker, db_param_int(SECOND_LOOK_LEASE_MS, lease)}, &rows, e);
	if (r < 0)
		return r;
	const char *text = db_text(rows, 0, 0);
	return text ? json_parse(text, strlen(text), ret, e) : error_set(e, ERR_NOTFOUND, "no second look is due");
}

int second_look_done(struct db_pool *p, const json_t *look, bool found, const json_t *evidence, struct error *e)
{
	static const struct db_statement st = {
	    "second_look_done", "SELECT rushes.second_look_done($1::uuid, $2::integer, $3::boolean, $4::jsonb)", 4};
	_cleanup_(freep) char *text = json_dumps(evidence, JSON_COMPACT);
	struct look_params params;
	if (!text)
		return error_nomem(e);
	look_params(look, &params);
	return db_run(p, &st, (const char *[]){params.copy, params.attempt, db_param_bool(found), text}, NULL, e);
}

int second_look_failed(struct db_pool *p, const json_t *look, const struct error *reason, struct error *e)
{
	static const struct db_statement st = {"second_look_failed",
					       "SELECT rushes.second_look_failed($1::uuid, $2::integer, $3)", 3};
	struct look_params params;
	look_params(look, &params);
	return db_run(p, &st, (const char *[]){params.copy, params.attempt, reason->text}, NULL, e);
}

int second_look_backlog(struct db_pool *p, uint64_t *ret_open, double *ret_overdue_s, struct error *e)
{
	static const struct db_statement st = {"second_look_backlog",
					       "SELECT open, round(overdue_s * 1000)::bigint"
					       " FROM rushes.second_look_backlog()",
					       0};
	_cleanup_(db_result_freep) struct db_result *rows = NULL;
	int r = db_run(p, &st, NULL, &rows, e);
	if (r < 0)
		return r;
	*ret_open = (uint64_t)db_int(rows, 0, 0);
	*ret_overdue_s = (double)db_int(rows, 0, 1) / 1e3;
	return 0;
}
