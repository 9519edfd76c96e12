#include "domain/retention.h"

#include "store/db_json.h"

#include <string.h>

static const struct db_statement change_sql = {"rules_change_work", "SELECT rushes.rules_change_work($1::integer)", 1};

static const struct db_statement zones_sql = {"zones_watch", "SELECT rushes.zones_watch()", 0};

static const struct db_statement paused_sql = {
    "retention_paused",
    "SELECT rule, place, to_char(since AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"'), by, left(reason, 250)"
    " FROM rushes.retention_paused() ORDER BY since, rule, place LIMIT $1::integer",
    1};

static const struct db_statement paused_list_sql = {
    "retention_paused_list",
    "SELECT coalesce(json_agg(t ORDER BY t.since, t.rule, t.place), '[]')::text FROM rushes.retention_paused() t", 0};

static const struct db_statement rules_sql = {
    "retention_rules",
    "SELECT coalesce(json_agg(t ORDER BY t.precedence = 0, t.precedence, t.slice, t.name), '[]')::text FROM ("
    " SELECT u.name, u.slice, u.precedence, u.takes, u.due, u.delay, u.calendar, u.braked,"
    "  (SELECT coalesce(json_agg(p.place ORDER BY p.place), '[]') FROM rushes.retention_paused() p"
    "    WHERE p.rule IN (u.name, '*')) AS paused_on,"
    "  (SELECT count(*) FROM rushes.copy c WHERE c.rule = u.name AND c.state = 'present'"
    "    AND c.due_at <= rushes.rushes_now())"
    "  + (SELECT count(*) FROM rushes.recording r WHERE r.due_rule = u.name AND r.due_at <= rushes.rushes_now()"
    "    AND r.state NOT IN ('deleting', 'deleted')) AS due_now"
    " FROM rushes.retention_rule u) t",
    0};

static const struct db_statement explain_sql = {
    "retention_explain",
    "SELECT (rushes.recording_explain(NULL, r.id) || jsonb_build_object('personal_due_at', r.personal_due_at))::text"
    " FROM rushes.recording r WHERE r.id = $1::uuid",
    1};

static const struct db_statement pause_sql = {"retention_pause_set",
					      "SELECT rushes.retention_pause_set($1, $2, $3, $4)", 4};

static const struct db_statement confirm_sql = {"retention_pause_confirm",
						"SELECT rushes.retention_pause_confirm($1, $2, $3, $4)", 4};

int retention_rules(struct db *d, json_t **ret, struct error *e)
{
	return db_query_json(d, &rules_sql, NULL, ret, e);
}

int retention_explain(struct db *d, const struct uuid *recording, json_t **ret, struct error *e)
{
	char id[UUID_TEXT_BYTES];
	uuid_format(recording, id);
	int r = db_query_json(d, &explain_sql, (const char *const[]){id}, ret, e);
	return r == ERR_NOTFOUND ? error_set(e, r, "there is no recording %s", id) : r;
}

bool retention_place_valid(const char *place)
{
	static const char *const kinds[] = {"node/", "target/"};
	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
		const char *id = place + strlen(kinds[i]);
		struct uuid u;
		char canonical[UUID_TEXT_BYTES];
		if (strncmp(place, kinds[i], strlen(kinds[i])) != 0)
			continue;
		if (!uuid_parse(id, &u))
			return false;
		/* the database compares texts */
		uuid_format(&u, canonical);
		return strcmp(id, canonical) == 0;
	}
	return strcmp(place, "*") == 0 || strcmp(place, "recordings") == 0 || strcmp(place, "clock") == 0;
}

int retention_pause_set(struct db *d, const char *actor, const char *rule, const char *place, const char *reason,
			struct error *e)
{
	return db_query(d, &pause_sql, (const char *const[]){actor, rule, place, reason}, NULL, e);
}

int retention_pause_confirm(struct db *d, const char *actor, const char *rule, const char *place, const char *reason,
			    struct error *e)
{
	return db_query(d, &confirm_sql, (const char *const[]){actor, rule, place, reason}, NULL, e);
}

int retention_paused_list(struct db *d, json_t **ret, struct error *e)
{
	return db_query_json(d, &paused_list_sql, NULL, ret, e);
}

int retention_change_work(struct db_pool *p, unsigned limit, unsigned *ret_n, struct error *e)
{
	char text[DB_INT_BYTES];
	_cleanup_(db_result_freep) struct db_result *rows = NULL;
	int r = db_run(p, &change_sql, (const char *const[]){db_param_int(limit, text)}, &rows, e);
	if (r == 0)
		*ret_n = (unsigned)db_int(rows, 0, 0);
	return r;
}

int retention_zones_watch(struct db_pool *p, unsigned *ret_n, struct error *e)
{
	_cleanup_(db_result_freep) struct db_result *rows = NULL;
	int r = db_run(p, &zones_sql, NULL, &rows, e);
	if (r == 0)
		*ret_n = (unsigned)db_int(rows, 0, 0);
	return r;
}

int retention_paused(struct db_pool *p, struct retention_pause **ret, size_t *ret_n, struct error *e)
{
	char limit[DB_INT_BYTES];
	_cleanup_(db_result_freep) struct db_result *rows = NULL;
	int r = db_run(p, &paused_sql, (const char *const[]){db_param_int(RETENTION_PAUSES_MAX, limit)}, &rows, e);
	if (r < 0)
		return r;
	size_t n = db_rows(rows);
	struct retention_pause *list = n ? calloc(n, sizeof(*list)) : NULL;
	if (n && !list)
		return error_nomem(e);
	for (size_t i = 0; i < n; i++) {
		struct retention_pause *p_i = &list[i];
		(void)snprintf(p_i->rule, sizeof(p_i->rule), "%s", db_text(rows, i, 0));
		(void)snprintf(p_i->place, sizeof(p_i->place), "%s", db_text(rows, i, 1));
		(void)snprintf(p_i->since, sizeof(p_i->since), "%s", db_text(rows, i, 2));
		(void)snprintf(p_i->by, sizeof(p_i->by), "%s", db_text(rows, i, 3));
		(void)snprintf(p_i->reason, sizeof(p_i->reason), "%s", db_text(rows, i, 4));
	}
	*ret = list;
	*ret_n = n;
	return 0;
}
