#include "domain/audit.h"

#include "store/db_json.h"

static const struct db_statement list_sql = {
    "audit_list",
    "SELECT coalesce(json_agg(t ORDER BY t.id DESC), '[]')::text FROM ("
    " SELECT x.id, x.at, x.actor, x.action, x.account, x.subject, x.detail FROM rushes.audit x"
    " WHERE ($1::uuid IS NULL OR x.account = $1::uuid) AND ($2::text IS NULL OR x.subject = $2)"
    " ORDER BY x.id DESC LIMIT $3::integer) t",
    3};

int audit_list(struct db *d, const struct audit_filter *f, json_t **ret, struct error *e)
{
	char account[UUID_TEXT_BYTES], limit[DB_INT_BYTES];
	if (f->account)
		uuid_format(f->account, account);
	const char *params[] = {f->account ? account : NULL, f->subject, db_param_int(f->limit, limit)};
	return db_query_json(d, &list_sql, params, ret, e);
}
