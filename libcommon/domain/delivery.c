#include "domain/delivery.h"

#include <string.h>

void delivery_names_done(struct delivery_names *n)
{
	free(n->location);
	free(n->temporary);
	free(n->upload_id);
	*n = (struct delivery_names){0};
}

static int copy_text(const struct db_result *rows, size_t column, char **ret, struct error *e)
{
	const char *text = db_text(rows, 0, column);
	if (!text)
		return 0;
	*ret = strdup(text);
	return *ret ? 0 : error_nomem(e);
}

int delivery_begin(struct db_pool *p, const struct job *j, const struct uuid *copy, const char *location,
		   const char *temporary, struct delivery_names *ret, struct error *e)
{
	static const struct db_statement st = {"push_begin",
					       "SELECT copy, location, temporary, upload_id FROM"
					       " rushes.push_begin($1::uuid, $2::integer, $3::uuid, $4, $5)",
					       5};
	struct job_params params;
	char id[UUID_TEXT_BYTES];
	_cleanup_(db_result_freep) struct db_result *rows = NULL;
	struct delivery_names names = {0};
	job_params(j, &params);
	uuid_format(copy, id);
	int r = db_run(p, &st, (const char *[]){params.id, params.attempt, id, location, temporary}, &rows, e);
	if (r < 0)
		return r;
	if (db_rows(rows) != 1 || !db_uuid(rows, 0, 0, &names.copy) || db_null(rows, 0, 1))
		return error_set(e, ERR_CORRUPT, "the copy's row is malformed");
	r = copy_text(rows, 1, &names.location, e);
	if (r == 0)
		r = copy_text(rows, 2, &names.temporary, e);
	if (r == 0)
		r = copy_text(rows, 3, &names.upload_id, e);
	if (r < 0)
		delivery_names_done(&names);
	*ret = names;
	return r;
}

int delivery_set_upload(struct db_pool *p, const struct job *j, const struct uuid *copy, const char *upload_id,
			struct error *e)
{
	static const struct db_statement st = {"push_set_upload",
					       "SELECT rushes.push_set_upload($1::uuid, $2::integer, $3::uuid, $4)", 4};
	struct job_params params;
	char id[UUID_TEXT_BYTES];
	job_params(j, &params);
	uuid_format(copy, id);
	return db_run(p, &st, (const char *[]){params.id, params.attempt, id, upload_id}, NULL, e);
}

static int dump(json_t *evidence, char **ret, struct error *e)
{
	*ret = json_dumps(evidence, JSON_COMPACT);
	return *ret ? 0 : error_nomem(e);
}

int delivery_done(struct db_pool *p, const struct job *j, const struct uuid *copy, json_t *evidence,
		  enum delivery_encryption encryption, struct error *e)
{
	static const struct db_statement st = {
	    "push_job_done", "SELECT rushes.push_job_done($1::uuid, $2::integer, $3::uuid, $4::jsonb, $5::boolean)", 5};
	struct job_params params;
	char id[UUID_TEXT_BYTES];
	_cleanup_(freep) char *text = NULL;
	job_params(j, &params);
	uuid_format(copy, id);
	int r = dump(evidence, &text, e);
	if (r < 0)
		return r;
	const char *encrypted =
	    encryption == DELIVERY_ENCRYPTION_UNKNOWN ? NULL : db_param_bool(encryption == DELIVERY_ENCRYPTED);
	return db_run(p, &st, (const char *[]){params.id, params.attempt, id, text, encrypted}, NULL, e);
}

int delivery_removed(struct db_pool *p, const struct job *j, json_t *evidence, struct error *e)
{
	static const struct db_statement st = {"delete_job_done",
					       "SELECT rushes.delete_job_done($1::uuid, $2::integer, $3::jsonb)", 3};
	struct job_params params;
	_cleanup_(freep) char *text = NULL;
	job_params(j, &params);
	int r = dump(evidence, &text, e);
	if (r < 0)
		return r;
	return db_run(p, &st, (const char *[]){params.id, params.attempt, text}, NULL, e);
}
