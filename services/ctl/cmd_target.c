#include "commands.h"
#include "ctl.h"
#include "secret_input.h"

#include "domain/account.h"
#include "domain/target.h"

#include <string.h>

/* Four bytes for each character of UTF-8. */
#define CREDENTIAL_BYTES_MAX ((size_t)4 * VAULT_CHARACTERS_DEFAULT)

struct create_arguments {
	const char *name, *kind, *account, *region, *credential_file;
	const char *path, *endpoint, *bucket, *bucket_region, *ca_file, *encryption, *resolve;
	const char *main_class, *raw_class, *picture_class;
	bool path_style, allow_private, delete_at_target, checksums, read_back;
	uint64_t part_bytes;
};

struct credential_arguments {
	const char *target;
	const char *credential_file;
};

struct target_arguments {
	const char *target;
};

struct list_arguments {
	const char *account;
};

static const char *const kinds[] = {"file", "s3", NULL};

#define AT(FIELD) .offset = offsetof(struct create_arguments, FIELD)
#define TEXT(NAME, VALUE, FIELD, HELP)                                                                   \
	{                                                                                                \
		.name = NAME, .value = VALUE, .type = OPTION_STRING, .max = 900, AT(FIELD), .help = HELP \
	}
#define FLAG(NAME, FIELD, HELP)                                            \
	{                                                                  \
		.name = NAME, .type = OPTION_FLAG, AT(FIELD), .help = HELP \
	}

static const struct option create_options[] = {
    {.name = "NAME", .type = OPTION_STRING, .required = true, .max = 100, AT(name), .help = "what people call it"},
    {.name = "--kind",
     .value = "KIND",
     .type = OPTION_CHOICE,
     .required = true,
     .choices = kinds,
     AT(kind),
     .help = "how it is reached"},
    TEXT("--account", "ACCOUNT", account, "the client that owns it; without: it is ours"),
    TEXT("--region", "REGION", region, "region of a target of ours; default: RUSHES_REGION"),
    TEXT("--path", "PATH", path, "file: the folder, from /; s3: prefix of the object names"),
    TEXT("--endpoint", "URL", endpoint, "s3: https://host:port; without: Amazon's of the bucket's region"),
    TEXT("--bucket", "BUCKET", bucket, "s3: the bucket"),
    TEXT("--bucket-region", "REGION", bucket_region, "s3: the region that requests are signed for"),
    FLAG("--path-style", path_style, "s3: https://host/bucket/name instead of https://bucket.host/name"),
    FLAG("--allow-private", allow_private, "s3: the endpoint may be a private or loopback address"),
    TEXT("--ca-file", "FILE", ca_file, "s3: CA certificates of the endpoint; without: the system's"),
    TEXT("--resolve", "HOST:PORT:ADDRESS", resolve, "s3: use this address for that host"),
    TEXT("--encryption", "HOW", encryption, "s3: server-side encryption to ask for, such as AES256"),
    TEXT("--main-class", "CLASS", main_class, "s3: storage class of the main file"),
    TEXT("--raw-class", "CLASS", raw_class, "s3: storage class of the raw take"),
    TEXT("--picture-class", "CLASS", picture_class, "s3: storage class of snapshot and filmstrip"),
    FLAG("--checksums", checksums, "s3: send and ask for SHA-256 checksums"),
    FLAG("--read-back", read_back, "s3: read every object back, whatever the server's digests say"),
    {.name = "--part-size",
     .value = "BYTES",
     .type = OPTION_BYTES,
     .min = 5 * MIB,
     .max = 5 * GIB,
     AT(part_bytes),
     .help = "s3: of multipart uploads; default 16MiB"},
    FLAG("--delete-at-target", delete_at_target, "deletions remove the client's files there, too"),
    TEXT("--credential-file", "FILE", credential_file, "s3: file with the credential; without: standard input"),
    {0},
};

static const struct option credential_options[] = {
    {.name = "TARGET",
     .type = OPTION_STRING,
     .required = true,
     .offset = offsetof(struct credential_arguments, target),
     .help = "id or name"},
    {.name = "--credential-file",
     .value = "FILE",
     .type = OPTION_STRING,
     .offset = offsetof(struct credential_arguments, credential_file),
     .help = "file with the credential; without: standard input"},
    {0},
};

static const struct option target_options[] = {
    {.name = "TARGET",
     .type = OPTION_STRING,
     .required = true,
     .offset = offsetof(struct target_arguments, target),
     .help = "id or name"},
    {0},
};

static const struct option list_options[] = {
    {.name = "ACCOUNT",
     .type = OPTION_STRING,
     .offset = offsetof(struct list_arguments, account),
     .help = "only of this one"},
    {0},
};

static const struct column list_columns[] = {
    {"id", "TARGET", COLUMN_TEXT},
    {"name", "NAME", COLUMN_TEXT},
    {"owner", "OWNER", COLUMN_TEXT},
    {"account_name", "ACCOUNT", COLUMN_TEXT},
    {"kind", "KIND", COLUMN_TEXT},
    {"region", "REGION", COLUMN_TEXT},
    {"endpoint", "ENDPOINT", COLUMN_TEXT},
    {"disabled_at", "DISABLED", COLUMN_TIME},
    {0},
};

static const struct column show_columns[] = {
    {"id", "target", COLUMN_TEXT},
    {"name", "name", COLUMN_TEXT},
    {"owner", "owner", COLUMN_TEXT},
    {"account_name", "account", COLUMN_TEXT},
    {"kind", "kind", COLUMN_TEXT},
    {"region", "region", COLUMN_TEXT},
    {"endpoint", "endpoint", COLUMN_TEXT},
    {"delete_at_target", "deletes at target", COLUMN_TEXT},
    {"environments", "environments", COLUMN_TEXT},
    {"copies", "copies", COLUMN_TEXT},
    {"created_at", "created", COLUMN_TIME},
    {"disabled_at", "disabled", COLUMN_TIME},
    {0},
};

static void set_text(json_t *o, const char *name, const char *value)
{
	if (value)
		(void)json_object_set_new(o, name, json_string(value));
}

static void set_flag(json_t *o, const char *name, bool value)
{
	if (value)
		(void)json_object_set_new(o, name, json_true());
}

/* Without an endpoint it is Amazon's: classes and encryption are what DESIGN section 7 names, unless others are given.
 */
static json_t *endpoint_json(const struct create_arguments *a)
{
	bool amazon = strcmp(a->kind, "s3") == 0 && !a->endpoint;
	json_t *o = json_object();
	set_text(o, "path", a->path);
	set_text(o, "endpoint", a->endpoint);
	set_text(o, "region", a->bucket_region);
	set_text(o, "bucket", a->bucket);
	set_text(o, "ca_file", a->ca_file);
	set_text(o, "resolve", a->resolve);
	set_text(o, "encryption", a->encryption || !amazon ? a->encryption : "AES256");
	set_text(o, "main_class", a->main_class || !amazon ? a->main_class : "INTELLIGENT_TIERING");
	set_text(o, "raw_class", a->raw_class || !amazon ? a->raw_class : "STANDARD_IA");
	set_text(o, "picture_class", a->picture_class || !amazon ? a->picture_class : "STANDARD");
	set_flag(o, "path_style", a->path_style);
	set_flag(o, "allow_private", a->allow_private);
	set_flag(o, "checksums", a->checksums);
	set_flag(o, "read_back", a->read_back);
	if (a->part_bytes)
		(void)json_object_set_new(o, "part_bytes", json_integer((json_int_t)a->part_bytes));
	return o;
}

/* Reads, checks and seals the credential of `kind` at `endpoint`; only the delivery child can open it again. */
static int seal_credential(struct ctl *c, enum target_kind kind, json_t *endpoint, const char *account,
			   const struct uuid *id, const char *file, uint8_t **ret, size_t *ret_n, struct error *e)
{
	_cleanup_(keyring_freep) struct keyring *vault = NULL;
	_cleanup_(secret_input_freep) char *text = NULL;
	size_t n = 0;
	char target[UUID_TEXT_BYTES];
	struct target_endpoint where = {0};
	uuid_format(id, target);
	int r = ctl_require(c, c->config.vault_public_key_file, "RUSHES_VAULT_PUBLIC_KEY_FILE", e);
	if (r == 0)
		r = keyring_load_public(c->config.vault_public_key_file, KEY_VAULT, &vault, e);
	if (r == 0 && !file && isatty(STDIN_FILENO))
		(void)fprintf(
		    stderr, "Type the credential, {\"access_key\": \"...\", \"secret_key\": \"...\"}, then Ctrl-D:\n");
	if (r == 0)
		r = secret_input_read(file ? file : "-", CREDENTIAL_BYTES_MAX, &text, &n, e);
	if (r == 0)
		r = target_credential_check(kind, text, n, e);
	if (r == 0)
		r = target_endpoint_read(kind, endpoint, &where, e);
	if (r == 0) {
		const struct vault_binding binding = target_binding(kind, &where, account, target);
		r = vault_seal(vault, &binding, text, n, 0, ret, ret_n, e);
	}
	target_endpoint_done(&where);
	return r;
}

static int show_target(struct ctl *c, const struct uuid *id, struct error *e)
{
	json_t *target = NULL;
	int r = target_get(c->db, id, &target, e);
	return r < 0 ? r : ctl_print_record(c, show_columns, target);
}

/* The account's own region, or the one that was named for a target of ours. */
static int find_owner(struct ctl *c, const struct create_arguments *a, struct uuid *ret_account, char **ret_region,
		      struct error *e)
{
	if (!a->account) {
		*ret_region = strdup(a->region ? a->region : c->config.region);
		return *ret_region ? 0 : error_nomem(e);
	}
	if (a->region)
		return ctl_wrong_use(c, e, "--region: a client's target lies in its account's region");
	json_t *account = NULL;
	int r = account_find(c->db, a->account, ret_account, e);
	if (r == 0)
		r = account_get(c->db, ret_account, &account, e);
	if (r < 0)
		return r;
	const char *region = json_string_value(json_object_get(account, "region"));
	*ret_region = region ? strdup(region) : NULL;
	json_decref(account);
	return *ret_region ? 0 : error_nomem(e);
}

static int create_at(struct ctl *c, const struct create_arguments *a, json_t *endpoint, struct error *e)
{
	struct uuid account, id = uuid_v7();
	char account_text[UUID_TEXT_BYTES] = "";
	_cleanup_(freep) char *region = NULL;
	_cleanup_(freep) uint8_t *credential = NULL;
	struct target_endpoint checked = {0};
	struct target_new t = {.id = id,
			       .account = a->account ? &account : NULL,
			       .name = a->name,
			       .kind = target_kind_from_string(a->kind),
			       .endpoint = endpoint,
			       .delete_at_target = a->delete_at_target};
	if (target_endpoint_read(t.kind, endpoint, &checked, e) < 0)
		return ctl_wrong_use(c, e, "%s", e->text);
	target_endpoint_done(&checked);
	int r = find_owner(c, a, &account, &region, e);
	if (r == 0 && a->account)
		uuid_format(&account, account_text);
	if (r == 0 && t.kind == TARGET_S3)
		r = seal_credential(c, t.kind, endpoint, account_text, &id, a->credential_file, &credential,
				    &t.credential_n, e);
	if (r < 0)
		return r;
	t.region = region;
	t.credential = credential;
	r = target_create(c->db, c->actor, &t, e);
	if (r == ERR_CONFLICT)
		return error_set(e, ERR_CONFLICT, "there is a target %s already", a->name);
	return r < 0 ? r : show_target(c, &id, e);
}

static int create(struct ctl *c, const void *arguments, struct error *e)
{
	json_t *endpoint = endpoint_json(arguments);
	int r = create_at(c, arguments, endpoint, e);
	json_decref(endpoint);
	return r;
}

static int credential(struct ctl *c, const void *arguments, struct error *e)
{
	const struct credential_arguments *a = arguments;
	struct uuid id;
	char text[UUID_TEXT_BYTES];
	json_t *target = NULL;
	_cleanup_(freep) uint8_t *sealed = NULL;
	size_t n = 0;
	int r = target_find(c->db, NULL, a->target, &id, e);
	if (r == 0)
		r = target_get(c->db, &id, &target, e);
	if (r < 0)
		return r;
	const char *account = json_string_value(json_object_get(target, "account"));
	const char *kind = json_string_value(json_object_get(target, "kind"));
	json_t *endpoint = json_object_get(target, "endpoint");
	r = seal_credential(c, target_kind_from_string(kind ? kind : ""), endpoint, account ? account : "", &id,
			    a->credential_file, &sealed, &n, e);
	if (r == 0)
		r = target_credential_set(c->db, c->actor, &id, endpoint, sealed, n, e);
	json_decref(target);
	uuid_format(&id, text);
	return r < 0 ? r : ctl_done(c, "replaced the credential of", text);
}

static int show(struct ctl *c, const void *arguments, struct error *e)
{
	const struct target_arguments *a = arguments;
	struct uuid id;
	int r = target_find(c->db, NULL, a->target, &id, e);
	return r < 0 ? r : show_target(c, &id, e);
}

static int disable(struct ctl *c, const void *arguments, struct error *e)
{
	const struct target_arguments *a = arguments;
	struct uuid id;
	char text[UUID_TEXT_BYTES];
	int r = target_find(c->db, NULL, a->target, &id, e);
	if (r < 0)
		return r;
	uuid_format(&id, text);
	r = ctl_confirm(c, e, "disables the target %s: nothing new is delivered there", text);
	if (r == 0)
		r = target_disable(c->db, c->actor, &id, e);
	return r < 0 ? r : ctl_done(c, "disabled", text);
}

static int list(struct ctl *c, const void *arguments, struct error *e)
{
	const struct list_arguments *a = arguments;
	struct uuid account;
	json_t *targets = NULL;
	int r = a->account ? account_find(c->db, a->account, &account, e) : 0;
	if (r == 0)
		r = target_list(c->db, a->account ? &account : NULL, &targets, e);
	return r < 0 ? r
		     : ctl_print_list(c, list_columns, targets,
				      "There is no target yet: rushesctl target create makes one.");
}

const struct command target_commands[] = {
    {.verb = "create",
     .summary = "Make a storage destination",
     .description = "Without --account the target is ours: recordings of its region are delivered there where\n"
		    "the environment says store-ours. With --account it is the client's; `env set --add-target`\n"
		    "makes an environment deliver there.\n"
		    "\n"
		    "The credential of an s3 target is a JSON object\n"
		    "  {\"access_key\": \"...\", \"secret_key\": \"...\"}\n"
		    "of at most 5000 characters, from --credential-file or standard input. It is sealed at once:\n"
		    "nobody can read it again, and it opens for this endpoint only.",
     .examples = "  rushesctl target create house --kind file --path /srv/recordings\n"
		 "  rushesctl target create archive --kind s3 --account Northwind --bucket nw-footage \\\n"
		 "      --bucket-region eu-central-1 --credential-file northwind.json",
     .options = create_options,
     .arguments_size = sizeof(struct create_arguments),
     .flags = COMMAND_DATABASE,
     .run = create},
    {.verb = "list",
     .summary = "List the targets",
     .options = list_options,
     .arguments_size = sizeof(struct list_arguments),
     .flags = COMMAND_DATABASE,
     .run = list},
    {.verb = "show",
     .summary = "Show one target, never its credential",
     .options = target_options,
     .arguments_size = sizeof(struct target_arguments),
     .flags = COMMAND_DATABASE,
     .run = show},
    {.verb = "credential",
     .summary = "Replace a target's credential",
     .description = "Reads the new credential as `target create` does and seals it for the same endpoint.",
     .examples = "  rushesctl target credential archive --credential-file new.json",
     .options = credential_options,
     .arguments_size = sizeof(struct credential_arguments),
     .flags = COMMAND_DATABASE,
     .run = credential},
    {.verb = "disable",
     .summary = "Deliver nothing new to a target",
     .description = "What is there stays, and is still deleted when its time comes.",
     .options = target_options,
     .arguments_size = sizeof(struct target_arguments),
     .flags = COMMAND_DATABASE | COMMAND_DESTRUCTIVE,
     .run = disable},
    {0},
};
