#include "commands.h"
#include "ctl.h"

#include "store/migrate.h"

#include <string.h>

struct migrate_arguments {
	const char *folder;
	bool check;
};

#define AT(FIELD) .offset = offsetof(struct migrate_arguments, FIELD)

static const struct option options[] = {
    {.name = "--dir",
     .value = "FOLDER",
     .type = OPTION_STRING,
     AT(folder),
     .help = "folder of the migrations; default: RUSHES_SCHEMA_PATH"},
    {.name = "--check", .type = OPTION_FLAG, AT(check), .help = "change nothing; exit status 1 when some are missing"},
    {0},
};

static const struct column columns[] = {{"version", "VERSION", COLUMN_NUMBER},
					{"name", "MIGRATION", COLUMN_TEXT},
					{"state", "STATE", COLUMN_TEXT},
					{"took_ms", "MS", COLUMN_NUMBER},
					{0}};

struct progress {
	json_t *steps;
	bool check;
};

static void on_step(void *arg, const struct migrate_step *s)
{
	struct progress *p = arg;
	const char *state = s->applied_before ? "applied before" : p->check ? "missing" : "applied now";
	json_t *step = json_pack("{s:i, s:s, s:s}", "version", s->version, "name", s->name, "state", state);
	if (step && !s->applied_before && !p->check)
		(void)json_object_set_new(step, "took_ms", json_integer(s->took_ms));
	(void)json_array_append_new(p->steps, step);
}

static int run(struct ctl *c, const void *arguments, struct error *e)
{
	const struct migrate_arguments *a = arguments;
	const char *conninfo = c->database_override ? c->database_override : c->config.migrate_database;
	int r = ctl_require(c, conninfo, "RUSHES_MIGRATE_DATABASE", e);
	if (r < 0)
		return r;
	struct progress p = {json_array(), a->check};
	if (!p.steps)
		return error_nomem(e);
	const char *folder = a->folder ? a->folder : c->config.schema_path;
	size_t missing = 0;
	r = a->check ? migrate_check(conninfo, folder, on_step, &p, &missing, e)
		     : migrate_run(conninfo, folder, on_step, &p, e);
	/* what was applied before a failure is applied */
	(void)ctl_print_list(c, columns, p.steps, r < 0 ? "nothing was applied" : "there are no migrations");
	if (r == 0 && missing > 0)
		r = error_set(e, ERR_CONFLICT, "%zu migrations are missing: run rushesctl migrate", missing);
	return r;
}

const struct command migrate_commands[] = {
    {
	.summary = "Bring the database's schema up to date",
	.description = "Applies the numbered SQL files that the database does not have yet, each in its own\n"
		       "transaction, one migration at a time in the whole installation. Files that were applied\n"
		       "are recorded with their SHA-256; one that changed since is refused. Connects as the\n"
		       "schema's owner: RUSHES_MIGRATE_DATABASE or --database.",
	.examples = "  rushesctl migrate --dir deploy/schema\n"
		    "  rushesctl migrate --check",
	.options = options,
	.arguments_size = sizeof(struct migrate_arguments),
	.run = run,
    },
    {0},
};
