#include "ctl.h"

#include <limits.h>
#include <pwd.h>
#include <stdarg.h>
#include <string.h>

#define OPTION(NAME, TYPE, INITIAL, FIELD, HELP)                                                              \
	{                                                                                                     \
		.name = NAME, .type = TYPE, .initial = INITIAL, .offset = offsetof(struct ctl_config, FIELD), \
		.help = HELP                                                                                  \
	}

static const struct config_option options[] = {
    OPTION("RUSHES_DATABASE", CONFIG_STRING, "", database,
	   "libpq connection string of the role rushes_ctl: host, certificate, sslmode=verify-full"),
    OPTION("RUSHES_MIGRATE_DATABASE", CONFIG_STRING, "", migrate_database,
	   "Connection string of the role rushes_migrate, which owns the schema; `migrate` alone uses it"),
    OPTION("RUSHES_SCHEMA_PATH", CONFIG_PATH, RUSHES_DATADIR "/schema", schema_path,
	   "Folder of the schema's migrations"),
    OPTION("RUSHES_REGION", CONFIG_STRING, "eu1", region, "Region of accounts and targets that name none"),
    OPTION("RUSHES_LINK_PEPPER_FILE", CONFIG_PATH, "", link_pepper_file,
	   "Key file under which link codes and API keys are hashed"),
    OPTION("RUSHES_VAULT_PUBLIC_KEY_FILE", CONFIG_PATH, "", vault_public_key_file,
	   "Public half of the vault's key; credentials of targets are sealed to it"),
    OPTION("RUSHES_LINKGEN_URL", CONFIG_STRING, "", linkgen_url, "Public base of short links"),
    OPTION("RUSHES_LEDGER_TARGET", CONFIG_STRING, "", ledger_target,
	   "Where the janitor keeps sealed batches of the ledger: file:/folder, or s3:https://host/bucket/prefix"),
    OPTION("RUSHES_LEDGER_TARGET_CREDENTIAL_FILE", CONFIG_PATH, "", ledger_credential_file,
	   "JSON with access_key and secret_key for the ledger target of kind s3, which need only read"),
    OPTION("RUSHES_LEDGER_TARGET_REGION", CONFIG_STRING, "us-east-1", ledger_region,
	   "Region that requests to the ledger target of kind s3 are signed for"),
    OPTION("RUSHES_LEDGER_TARGET_CA_FILE", CONFIG_PATH, "", ledger_ca_file,
	   "Certificates that prove the ledger target of kind s3; without it the system's"),
    OPTION("RUSHES_LEDGER_TARGET_PRIVATE", CONFIG_BOOL, "no", ledger_private,
	   "Whether the ledger target of kind s3 may lie at loopback and private addresses"),
    OPTION("RUSHES_LEDGER_PUBLIC_KEY_FILE", CONFIG_PATH, "", ledger_public_key_file,
	   "Public halves of the keys that signed the ledger, a line each"),
    {.name = "RUSHES_BACKUP_REACH",
     .type = CONFIG_DURATION,
     .initial = "4d",
     .max = (uint64_t)4 * 86400000,
     .offset = offsetof(struct ctl_config, backup_reach_ms),
     .help = "How far back backups and point-in-time recovery of the database reach; certificates say so"},
    {0},
};

const struct config_schema ctl_config_schema = {.tables = {options}, .size = sizeof(struct ctl_config)};

/* The operating system's account; behind sudo also who called it. */
static void name_actor(char ret[CTL_ACTOR_BYTES])
{
	const struct passwd *user = getpwuid(getuid());
	const char *caller = getuid() == 0 ? getenv("SUDO_USER") : NULL;
	char name[40];
	if (user)
		(void)snprintf(name, sizeof(name), "%s", user->pw_name);
	else
		(void)snprintf(name, sizeof(name), "%u", (unsigned)getuid());
	(void)snprintf(ret, CTL_ACTOR_BYTES, "rushesctl:%s%s%.32s%s", name, caller ? " (" : "", caller ? caller : "",
		       caller ? ")" : "");
}

int ctl_open(struct ctl *c, const struct invocation *i, struct error *e)
{
	c->json = i->json;
	c->yes = i->yes;
	c->out = stdout;
	c->database_override = i->database;
	name_actor(c->actor);
	if (config_load(&ctl_config_schema, i->config_file, &c->config, e) < 0) {
		c->wrong_use = true;
		return e->code;
	}
	if (!(i->command->flags & COMMAND_DATABASE))
		return 0;
	const char *conninfo = i->database ? i->database : c->config.database;
	int r = ctl_require(c, conninfo, "RUSHES_DATABASE", e);
	if (r < 0)
		return r;
	const struct db_pool_options o = {.conninfo = conninfo,
					  .application_name = "rushesctl",
					  .connections = 1,
					  .statement_ms = 60000};
	r = db_pool_new(&o, &c->pool, e);
	if (r == 0)
		r = db_acquire(c->pool, &c->db, e);
	return r < 0 ? error_wrap(e, "cannot use the database") : 0;
}

void ctl_close(struct ctl *c)
{
	db_release(c->db);
	db_pool_free(c->pool);
	config_done(&ctl_config_schema, &c->config);
	*c = (struct ctl){0};
}

int ctl_wrong_use(struct ctl *c, struct error *e, const char *fmt, ...)
{
	char text[ERROR_TEXT_BYTES];
	va_list args;
	va_start(args, fmt);
	(void)vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	c->wrong_use = true;
	return error_set(e, ERR_REJECT, "%s", text);
}

int ctl_require(struct ctl *c, const char *value, const char *name, struct error *e)
{
	if (value && *value)
		return 0;
	const char *help = "";
	for (const struct config_option *o = options; o->name; o++)
		if (strcmp(o->name, name) == 0)
			help = o->help;
	return ctl_wrong_use(c, e, "%s is not set; set it in the environment or in a file given by --config. %s", name,
			     help);
}

int ctl_confirm(struct ctl *c, struct error *e, const char *fmt, ...)
{
	char text[256];
	va_list args;
	va_start(args, fmt);
	(void)vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	if (c->yes)
		return 0;
	if (!isatty(STDIN_FILENO) || !isatty(STDERR_FILENO))
		return ctl_wrong_use(c, e, "this %s; say --yes if that is what you want", text);
	char answer[16] = "";
	(void)fprintf(stderr, "This %s. Type yes to go on: ", text);
	if (fgets(answer, sizeof(answer), stdin) && strcmp(answer, "yes\n") == 0)
		return 0;
	return error_set(e, ERR_CANCELLED, "nothing was done");
}

int ctl_print_list(struct ctl *c, const struct column *columns, json_t *value, const char *none)
{
	if (c->json)
		output_json(value, c->out);
	else
		output_table(columns, value, none, c->out);
	json_decref(value);
	return 0;
}

int ctl_print_record(struct ctl *c, const struct column *columns, json_t *value)
{
	if (c->json)
		output_json(value, c->out);
	else
		output_record(columns, value, c->out);
	json_decref(value);
	return 0;
}

int ctl_done(struct ctl *c, const char *what, const char *id)
{
	if (c->json) {
		json_t *answer = json_pack("{s:s, s:s}", "done", what, "id", id);
		output_json(answer, c->out);
		json_decref(answer);
	} else {
		(void)fprintf(c->out, "%s %s\n", what, id);
	}
	return 0;
}

void ctl_say(struct ctl *c, const char *fmt, ...)
{
	if (c->json)
		return;
	va_list args;
	va_start(args, fmt);
	(void)vfprintf(c->out, fmt, args);
	va_end(args);
}

int ctl_ledger_target(struct ctl *c, const char *folder, struct ledger_target **ret, struct error *e)
{
	char where[PATH_MAX + 8];
	struct ledger_target_config config = {.where = c->config.ledger_target,
					      .credential_file = c->config.ledger_credential_file,
					      .region = c->config.ledger_region,
					      .ca_file = c->config.ledger_ca_file,
					      .allow_private = c->config.ledger_private};
	if (folder) {
		char path[PATH_MAX];
		if (!realpath(folder, path))
			return error_set(e, ERR_NOTFOUND, "there is no folder %s", folder);
		(void)snprintf(where, sizeof(where), "file:%s", path);
		config.where = where;
	}
	return *config.where ? ledger_target_open(&config, ret, e) : 0;
}
