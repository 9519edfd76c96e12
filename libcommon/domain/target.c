#include "domain/target.h"

#include "base/json.h"
#include "domain/find.h"
#include "store/db_json.h"

#include <string.h>

/* Longest path, prefix and address; S3 object names have at most 1024 bytes. */
#define TARGET_TEXT_BYTES 900

static const char *const kind_names[TARGET_KIND_MAX] = {"file", "s3"};

const char *target_kind_to_string(enum target_kind k)
{
	return k < TARGET_KIND_MAX ? kind_names[k] : "unknown";
}

enum target_kind target_kind_from_string(const char *text)
{
	for (int k = 0; k < TARGET_KIND_MAX; k++)
		if (strcmp(kind_names[k], text) == 0)
			return (enum target_kind)k;
	return TARGET_KIND_MAX;
}

#define TEXT(NAME, FIELD, REQUIRED)                                                                                \
	{                                                                                                          \
		.name = NAME, .type = JSON_FIELD_STRING, .required = REQUIRED, .min = 1, .max = TARGET_TEXT_BYTES, \
		.offset = offsetof(struct target_endpoint, FIELD)                                                  \
	}
#define FLAG(NAME, FIELD)                                                                                \
	{                                                                                                \
		.name = NAME, .type = JSON_FIELD_BOOL, .offset = offsetof(struct target_endpoint, FIELD) \
	}

static const struct json_field file_fields[] = {TEXT("path", path, true), {0}};

static const struct json_field s3_fields[] = {
    TEXT("endpoint", endpoint, false),
    TEXT("region", region, false),
    TEXT("bucket", bucket, true),
    TEXT("path", path, false),
    FLAG("path_style", path_style),
    FLAG("allow_private", allow_private),
    TEXT("ca_file", ca_file, false),
    TEXT("resolve", resolve, false),
    TEXT("encryption", encryption, false),
    FLAG("checksums", checksums),
    FLAG("read_back", read_back),
    {.name = "part_bytes",
     .type = JSON_FIELD_UINT,
     .min = 5 * MIB,
     .max = 5 * GIB,
     .offset = offsetof(struct target_endpoint, part_bytes)},
    TEXT("main_class", main_class, false),
    TEXT("raw_class", raw_class, false),
    TEXT("picture_class", picture_class, false),
    {0},
};

static const struct json_field *fields_of(enum target_kind kind)
{
	return kind == TARGET_FILE ? file_fields : s3_fields;
}

/* No step of a path may leave the folder. */
static bool has_dots(const char *path)
{
	for (const char *p = path; p; p = strchr(p, '/') ? strchr(p, '/') + 1 : NULL) {
		size_t n = strcspn(p, "/");
		if ((n == 1 && p[0] == '.') || (n == 2 && p[0] == '.' && p[1] == '.'))
			return true;
	}
	return false;
}

static int check(enum target_kind kind, const struct target_endpoint *t, struct error *e)
{
	if (t->path && has_dots(t->path))
		return error_set(e, ERR_REJECT, "path: holds . or ..");
	if (kind == TARGET_FILE && (!t->path || t->path[0] != '/'))
		return error_set(e, ERR_REJECT, "path: must begin with /");
	if (kind == TARGET_S3 && t->path && t->path[0] == '/')
		return error_set(e, ERR_REJECT, "path: object names do not begin with /");
	if (t->endpoint && strncmp(t->endpoint, "https://", 8) != 0 && strncmp(t->endpoint, "http://", 7) != 0)
		return error_set(e, ERR_REJECT, "endpoint: want https://host or https://host:port");
	return 0;
}

int target_endpoint_read(enum target_kind kind, json_t *endpoint, struct target_endpoint *ret, struct error *e)
{
	struct target_endpoint t = {0};
	if (kind >= TARGET_KIND_MAX)
		return error_set(e, ERR_REJECT, "no such kind of target");
	int r = json_read(endpoint, fields_of(kind), false, &t, e);
	if (r == 0) {
		r = check(kind, &t, e);
		if (r < 0)
			target_endpoint_done(&t);
	}
	if (r == 0)
		*ret = t;
	return r < 0 ? error_wrap(e, "endpoint of a target %s", kind_names[kind]) : 0;
}

void target_endpoint_done(struct target_endpoint *t)
{
	json_read_done(s3_fields, t);
	*t = (struct target_endpoint){0};
}

struct vault_binding target_binding(enum target_kind kind, const struct target_endpoint *endpoint, const char *account,
				    const char *target)
{
	return (struct vault_binding){.account = account,
				      .target = target,
				      .kind = target_kind_to_string(kind),
				      .host = endpoint->endpoint ? endpoint->endpoint : endpoint->region,
				      .bucket = endpoint->bucket,
				      .path = endpoint->path,
				      /* whose certificates are believed decides who gets the credential */
				      .pinned_key = endpoint->ca_file};
}

struct s3_credential {
	char *access_key, *secret_key, *session_token;
};

#define SECRET(NAME, FIELD, REQUIRED)                                                                 \
	{                                                                                             \
		.name = NAME, .type = JSON_FIELD_STRING, .required = REQUIRED, .min = 1, .max = 4096, \
		.offset = offsetof(struct s3_credential, FIELD)                                       \
	}

static const struct json_field s3_credential_fields[] = {
    SECRET("access_key", access_key, true),
    SECRET("secret_key", secret_key, true),
    SECRET("session_token", session_token, false),
    {0},
};

static void wipe(char *text)
{
	if (text)
		explicit_bzero(text, strlen(text));
}

int target_credential_check(enum target_kind kind, const char *text, size_t n, struct error *e)
{
	if (kind == TARGET_FILE)
		return error_set(e, ERR_REJECT, "a target file takes no credential");
	json_t *object = NULL;
	struct s3_credential c = {0};
	int r = json_parse(text, n, &object, e);
	if (r == 0)
		r = json_read(object, s3_credential_fields, false, &c, e);
	wipe(c.access_key);
	wipe(c.secret_key);
	wipe(c.session_token);
	json_read_done(s3_credential_fields, &c);
	json_decref(object);
	return r < 0 ? error_wrap(e, "the credential must be {\"access_key\": ..., \"secret_key\": ...}") : 0;
}

static const struct db_statement create_sql = {
    "target_create",
    "SELECT rushes.target_create($1, $2::uuid, $3, $4::uuid, $5, $6, $7, $8::jsonb, $9::bytea, $10::boolean)", 10};

static const struct db_statement credential_set_sql = {
    "target_credential_set", "SELECT rushes.target_credential_set($1, $2::uuid, $3::jsonb, $4::bytea)", 4};

static const struct db_statement disable_sql = {"target_disable", "SELECT rushes.target_disable($1, $2::uuid)", 2};

#define TARGET_COLUMNS                                                                            \
	"g.id, g.name, g.owner, g.account, a.name AS account_name, g.region, g.kind, g.endpoint," \
	" g.delete_at_target, g.created_at, g.disabled_at"

static const struct db_statement list_sql = {
    "target_list",
    "SELECT coalesce(json_agg(t ORDER BY t.account_name NULLS FIRST, t.name), '[]')::text FROM ("
    " SELECT " TARGET_COLUMNS " FROM rushes.target g LEFT JOIN rushes.account a ON a.id = g.account"
    " WHERE $1::uuid IS NULL OR g.account = $1::uuid) t",
    1};

static const struct db_statement get_sql = {
    "target_get",
    "SELECT row_to_json(t)::text FROM (SELECT " TARGET_COLUMNS ","
    " (SELECT json_object_agg(c.state, c.n) FROM (SELECT x.state, count(*) AS n FROM rushes.copy x"
    "  WHERE x.target = g.id GROUP BY x.state) c) AS copies,"
    " (SELECT coalesce(json_agg(e.name ORDER BY e.name), '[]') FROM rushes.environment_target x"
    "  JOIN rushes.environment e ON e.account = x.account AND e.id = x.environment WHERE x.target = g.id)"
    "  AS environments"
    " FROM rushes.target g LEFT JOIN rushes.account a ON a.id = g.account WHERE g.id = $1::uuid) t",
    1};

static const struct db_statement find_sql = {
    "target_find",
    "SELECT id FROM rushes.target"
    " WHERE ($1::uuid IS NULL OR account = $1::uuid) AND (id::text = lower($2) OR name = $2) LIMIT 5",
    2};

int target_create(struct db *d, const char *actor, const struct target_new *t, struct error *e)
{
	char id[UUID_TEXT_BYTES], account[UUID_TEXT_BYTES];
	_cleanup_(freep) char *endpoint = json_dumps(t->endpoint, JSON_COMPACT);
	_cleanup_(freep) char *credential = t->credential ? malloc(DB_BYTEA_BYTES(t->credential_n)) : NULL;
	if (!endpoint || (t->credential && !credential))
		return error_nomem(e);
	uuid_format(&t->id, id);
	if (t->account)
		uuid_format(t->account, account);
	const char *params[] = {
	    actor,
	    id,
	    t->account ? "client" : "ours",
	    t->account ? account : NULL,
	    t->region,
	    t->name,
	    target_kind_to_string(t->kind),
	    endpoint,
	    t->credential ? db_param_bytea(t->credential, t->credential_n, credential) : NULL,
	    db_param_bool(t->delete_at_target),
	};
	return db_query(d, &create_sql, params, NULL, e);
}

int target_credential_set(struct db *d, const char *actor, const struct uuid *id, json_t *endpoint,
			  const uint8_t *credential, size_t n, struct error *e)
{
	char text[UUID_TEXT_BYTES];
	_cleanup_(freep) char *endpoint_text = json_dumps(endpoint, JSON_COMPACT);
	_cleanup_(freep) char *bytes = malloc(DB_BYTEA_BYTES(n));
	if (!endpoint_text || !bytes)
		return error_nomem(e);
	uuid_format(id, text);
	return db_query(d, &credential_set_sql,
			(const char *const[]){actor, text, endpoint_text, db_param_bytea(credential, n, bytes)}, NULL,
			e);
}

int target_disable(struct db *d, const char *actor, const struct uuid *id, struct error *e)
{
	char text[UUID_TEXT_BYTES];
	uuid_format(id, text);
	return db_query(d, &disable_sql, (const char *const[]){actor, text}, NULL, e);
}

int target_list(struct db *d, const struct uuid *account, json_t **ret, struct error *e)
{
	char id[UUID_TEXT_BYTES];
	if (account)
		uuid_format(account, id);
	return db_query_json(d, &list_sql, (const char *const[]){account ? id : NULL}, ret, e);
}

int target_get(struct db *d, const struct uuid *id, json_t **ret, struct error *e)
{
	char text[UUID_TEXT_BYTES];
	uuid_format(id, text);
	return db_query_json(d, &get_sql, (const char *const[]){text}, ret, e);
}

int target_find(struct db *d, const struct uuid *account, const char *text, struct uuid *ret, struct error *e)
{
	char id[UUID_TEXT_BYTES];
	if (account)
		uuid_format(account, id);
	return find_one(d, &find_sql, (const char *const[]){account ? id : NULL, text}, "target", text, ret, e);
}
