#include "commands.h"
#include "ctl.h"
#include "env_lifecycle.h"

#include "domain/account.h"
#include "domain/target.h"

#include <string.h>

/* What an environment may be told: options of the same names as the columns, with dashes. */
struct settings {
	const char *conversion, *backup, *success, *broken_off, *consent_text;
	bool store_ours, do_not_store, push_raw, push_snapshot, push_filmstrip, send_on_stop;
	bool has_store_ours, has_do_not_store, has_push_raw, has_push_snapshot, has_push_filmstrip, has_send_on_stop;
	int64_t reconnect_window, playback_window, max_duration, max_idle;
	bool has_reconnect_window, has_playback_window;
	uint64_t max_bytes;
};

struct env_arguments {
	const char *account;
	const char *name;
	struct settings settings;
	const char *add_target, *remove_target;
};

struct list_arguments {
	const char *account;
};

static const char *const conversions[] = {"always", "never", NULL};
static const char *const backups[] = {"keep", "until-delivered", NULL};
static const char *const successes[] = {"main", "all", NULL};
static const char *const broken_offs[] = {"recovered", "discarded", NULL};

#define AT(FIELD) .offset = offsetof(struct env_arguments, FIELD)
#define CHOICE(NAME, VALUE, LIST, FIELD, HELP)                                                                         \
	{                                                                                                              \
		.name = NAME, .value = VALUE, .type = OPTION_CHOICE, .choices = LIST, AT(settings.FIELD), .help = HELP \
	}
#define SWITCH(NAME, FIELD, HELP)                                                                 \
	{                                                                                         \
		.name = NAME, .value = "on|off", .type = OPTION_BOOL, AT(settings.FIELD),         \
		.seen_offset = offsetof(struct env_arguments, settings.has_##FIELD), .help = HELP \
	}
#define WINDOW(NAME, FIELD, HELP)                                                                                   \
	{                                                                                                           \
		.name = NAME, .value = "TIME", .type = OPTION_DURATION, AT(settings.FIELD),                         \
		.max = (uint64_t)7 * 86400000, .seen_offset = offsetof(struct env_arguments, settings.has_##FIELD), \
		.help = HELP                                                                                        \
	}
#define NAMES                                                                                            \
	{.name = "ACCOUNT", .type = OPTION_STRING, .required = true, AT(account), .help = "id or name"}, \
	{                                                                                                \
		.name = "ENV", .type = OPTION_STRING, .required = true, .max = 100, AT(name),            \
		.help = "the environment's name"                                                         \
	}

static const struct option set_options[] = {
    NAMES,
    CHOICE("--conversion", "WHEN", conversions, conversion, "whether an .mp4 is made of the take"),
    SWITCH("--store-ours", store_ours, "deliver to our storage"),
    SWITCH("--do-not-store", do_not_store, "never keep a file with us; needs --store-ours off and a target"),
    CHOICE("--backup", "HOW", backups, backup, "our copy once every target of the client confirmed"),
    CHOICE("--success", "WHAT", successes, success, "what must arrive for a delivery to count"),
    SWITCH("--push-raw", push_raw, "deliver the raw take too"),
    SWITCH("--push-snapshot", push_snapshot, "deliver the snapshot too"),
    SWITCH("--push-filmstrip", push_filmstrip, "deliver the filmstrip too"),
    SWITCH("--send-on-stop", send_on_stop, "a stop releases the take, without asking"),
    CHOICE("--broken-off", "HOW", broken_offs, broken_off, "what becomes of a take that broke off for good"),
    WINDOW("--reconnect-window", reconnect_window, "how long a broken-off take may go on; 90m at first"),
    WINDOW("--playback-window", playback_window, "how long the page can play the raw take; 60m at first"),
    {.name = "--max-bytes",
     .value = "BYTES",
     .type = OPTION_BYTES,
     .min = 1,
     .max = 1024 * GIB,
     AT(settings.max_bytes),
     .help = "largest take; 10GiB at first"},
    {.name = "--max-duration",
     .value = "TIME",
     .type = OPTION_DURATION,
     .min = 1000,
     .max = (uint64_t)12 * 3600000,
     AT(settings.max_duration),
     .help = "longest take; 2h at first"},
    {.name = "--max-idle",
     .value = "TIME",
     .type = OPTION_DURATION,
     .min = 1000,
     .max = (uint64_t)12 * 3600000,
     AT(settings.max_idle),
     .help = "longest a connection may bring nothing; 30m at first"},
    {.name = "--consent-text",
     .value = "TEXT",
     .type = OPTION_STRING,
     AT(settings.consent_text),
     .help = "what the recorder page asks the customer to agree to"},
    {.name = "--add-target",
     .value = "TARGET",
     .type = OPTION_STRING,
     AT(add_target),
     .help = "deliver to this target of the account, too"},
    {.name = "--remove-target",
     .value = "TARGET",
     .type = OPTION_STRING,
     AT(remove_target),
     .help = "deliver there no longer"},
    {0},
};

static const struct option show_options[] = {NAMES, {0}};

static const struct option list_options[] = {
    {.name = "ACCOUNT",
     .type = OPTION_STRING,
     .offset = offsetof(struct list_arguments, account),
     .help = "only of this one"},
    {0},
};

static const struct column list_columns[] = {
    {"id", "ENVIRONMENT", COLUMN_TEXT},
    {"account_name", "ACCOUNT", COLUMN_TEXT},
    {"name", "NAME", COLUMN_TEXT},
    {"conversion", "CONVERSION", COLUMN_TEXT},
    {"store_ours", "STORE OURS", COLUMN_TEXT},
    {"targets", "OWN TARGETS", COLUMN_TEXT},
    {0},
};

static const struct column show_columns[] = {
    {"id", "environment", COLUMN_TEXT},
    {"account", "account", COLUMN_TEXT},
    {"account_name", "account's name", COLUMN_TEXT},
    {"name", "name", COLUMN_TEXT},
    {"conversion", "conversion", COLUMN_TEXT},
    {"store_ours", "store ours", COLUMN_TEXT},
    {"do_not_store", "do not store", COLUMN_TEXT},
    {"backup", "backup", COLUMN_TEXT},
    {"success", "success", COLUMN_TEXT},
    {"push_raw", "push raw", COLUMN_TEXT},
    {"push_snapshot", "push snapshot", COLUMN_TEXT},
    {"push_filmstrip", "push filmstrip", COLUMN_TEXT},
    {"send_on_stop", "send on stop", COLUMN_TEXT},
    {"broken_off", "broken off", COLUMN_TEXT},
    {"reconnect_window_s", "reconnect window", COLUMN_DURATION},
    {"playback_window_s", "playback window", COLUMN_DURATION},
    {"max_bytes", "largest take", COLUMN_SIZE},
    {"max_duration_s", "longest take", COLUMN_DURATION},
    {"max_idle_s", "longest silence", COLUMN_DURATION},
    {"consent_text", "consent text", COLUMN_TEXT},
    {"targets", "own targets", COLUMN_TEXT},
    {"created_at", "created", COLUMN_TIME},
    {0},
};

static void set_text(json_t *o, const char *name, const char *value)
{
	if (value)
		(void)json_object_set_new(o, name, json_string(value));
}

static void set_switch(json_t *o, const char *name, bool given, bool value)
{
	if (given)
		(void)json_object_set_new(o, name, json_boolean(value));
}

/* An SQL interval. */
static void set_interval(json_t *o, const char *name, bool given, int64_t ms)
{
	if (given)
		(void)json_object_set_new(o, name, json_sprintf("%lld milliseconds", (long long)ms));
}

/* The given ones, by the columns' names. */
static json_t *settings_json(const struct settings *s)
{
	json_t *o = json_object();
	set_text(o, "conversion", s->conversion);
	set_text(o, "backup", s->backup);
	set_text(o, "success", s->success);
	set_text(o, "broken_off", s->broken_off);
	set_text(o, "consent_text", s->consent_text);
	set_switch(o, "store_ours", s->has_store_ours, s->store_ours);
	set_switch(o, "do_not_store", s->has_do_not_store, s->do_not_store);
	set_switch(o, "push_raw", s->has_push_raw, s->push_raw);
	set_switch(o, "push_snapshot", s->has_push_snapshot, s->push_snapshot);
	set_switch(o, "push_filmstrip", s->has_push_filmstrip, s->push_filmstrip);
	set_switch(o, "send_on_stop", s->has_send_on_stop, s->send_on_stop);
	set_interval(o, "reconnect_window", s->has_reconnect_window, s->reconnect_window);
	set_interval(o, "playback_window", s->has_playback_window, s->playback_window);
	set_interval(o, "max_duration", s->max_duration > 0, s->max_duration);
	set_interval(o, "max_idle", s->max_idle > 0, s->max_idle);
	if (s->max_bytes)
		(void)json_object_set_new(o, "max_bytes", json_integer((json_int_t)s->max_bytes));
	return o;
}

static int show_env(struct ctl *c, const struct uuid *account, const struct uuid *id, struct error *e)
{
	json_t *env = NULL;
	int r = environment_get(c->db, account, id, &env, e);
	return r < 0 ? r : ctl_print_record(c, show_columns, env);
}

static int link_target(struct ctl *c, const struct uuid *account, const struct uuid *env, const char *name, bool on,
		       struct error *e)
{
	struct uuid target;
	if (!name)
		return 0;
	int r = target_find(c->db, account, name, &target, e);
	return r < 0 ? r : environment_target_set(c->db, c->actor, account, env, &target, on, e);
}

/* The environment that is to change: its id, and its name even when it was called by its id. */
static int find_env(struct ctl *c, const struct uuid *account, const char *text, struct uuid *ret, char **ret_name,
		    struct error *e)
{
	json_t *env = NULL;
	int r = environment_find(c->db, account, text, ret, e);
	if (r == 0)
		r = environment_get(c->db, account, ret, &env, e);
	if (r < 0)
		return r;
	*ret_name = strdup(json_string_value(json_object_get(env, "name")));
	json_decref(env);
	return *ret_name ? 0 : error_nomem(e);
}

static int apply_settings(struct ctl *c, const struct env_arguments *a, const struct uuid *account, bool create,
			  struct uuid *ret, struct error *e)
{
	_cleanup_(freep) char *name = NULL;
	int r = find_env(c, account, a->name, ret, &name, e);
	if (create && r == 0)
		return error_set(e, ERR_CONFLICT,
				 "there is an environment %.64s already; `rushesctl env set` changes it", a->name);
	if (r < 0 && !(create && r == ERR_NOTFOUND))
		return r;
	json_t *settings = settings_json(&a->settings);
	r = 0;
	if (create || json_object_size(settings) > 0)
		r = environment_set(c->db, c->actor, account, name ? name : a->name, settings, ret, e);
	json_decref(settings);
	return r;
}

/* Settings and targets change in one transaction, or not at all. */
static int apply(struct ctl *c, const struct env_arguments *a, bool create, struct error *e)
{
	struct uuid account, id;
	_cleanup_(db_tx_end) struct db_tx tx = {0};
	int r = account_find(c->db, a->account, &account, e);
	if (r == 0)
		r = db_tx_begin(c->db, &tx, e);
	if (r == 0)
		r = apply_settings(c, a, &account, create, &id, e);
	if (r == 0)
		r = link_target(c, &account, &id, a->add_target, true, e);
	if (r == 0)
		r = link_target(c, &account, &id, a->remove_target, false, e);
	if (r == 0)
		r = db_tx_commit(&tx, e);
	return r < 0 ? r : show_env(c, &account, &id, e);
}

static int create(struct ctl *c, const void *arguments, struct error *e)
{
	return apply(c, arguments, true, e);
}

static int set(struct ctl *c, const void *arguments, struct error *e)
{
	const struct env_arguments *a = arguments;
	json_t *settings = settings_json(&a->settings);
	bool nothing = json_object_size(settings) == 0 && !a->add_target && !a->remove_target;
	json_decref(settings);
	return nothing ? ctl_wrong_use(c, e, "say what to set") : apply(c, a, false, e);
}

static int show(struct ctl *c, const void *arguments, struct error *e)
{
	const struct env_arguments *a = arguments;
	struct uuid account, id;
	int r = account_find(c->db, a->account, &account, e);
	if (r == 0)
		r = environment_find(c->db, &account, a->name, &id, e);
	return r < 0 ? r : show_env(c, &account, &id, e);
}

static int list(struct ctl *c, const void *arguments, struct error *e)
{
	const struct list_arguments *a = arguments;
	struct uuid account;
	json_t *envs = NULL;
	int r = a->account ? account_find(c->db, a->account, &account, e) : 0;
	if (r == 0)
		r = environment_list(c->db, a->account ? &account : NULL, &envs, e);
	return r < 0 ? r
		     : ctl_print_list(c, list_columns, envs,
				      "There is no environment yet: rushesctl env create makes one.");
}

#define LIFECYCLE .arguments_size = sizeof(struct lifecycle_arguments)

#define ENV_COMMAND(VERB, SUMMARY, OPTIONS, RUN)                                                              \
	.verb = VERB, .summary = SUMMARY, .options = OPTIONS, .arguments_size = sizeof(struct env_arguments), \
	.flags = COMMAND_DATABASE, .run = RUN

const struct command env_commands[] = {
    {ENV_COMMAND("create", "Make an environment in an account", set_options, create),
     .description = "An environment says how its recordings are converted, where they are delivered and how\n"
		    "long they stay. Without options it converts, delivers to our storage and keeps a backup.",
     .examples = "  rushesctl env create Northwind support\n"
		 "  rushesctl env create Northwind raw-only --conversion never --push-raw off"},
    {ENV_COMMAND("set", "Change settings of an environment", set_options, set),
     .description = "Recordings that are already there follow the changed rules: their due dates are\n"
		    "computed again.",
     .examples = "  rushesctl env set Northwind support --playback-window 10m --push-filmstrip off\n"
		 "  rushesctl env set Northwind support --add-target archive"},
    {ENV_COMMAND("show", "Show one environment", show_options, show)},
    {.verb = "list",
     .summary = "List the environments",
     .options = list_options,
     .arguments_size = sizeof(struct list_arguments),
     .flags = COMMAND_DATABASE,
     .run = list},
    {.verb = "lifecycle list",
     .summary = "List the lifecycle rules of an environment",
     .options = env_lifecycle_list_options,
     LIFECYCLE,
     .flags = COMMAND_DATABASE,
     .run = env_lifecycle_list},
    {.verb = "lifecycle set",
     .summary = "Make or change a rule by which recordings or files go by age",
     .description = "What is not given stays as it was. A new rule is off: `rushesctl retention preview` lists what\n"
		    "it would take. A rule that is on, or is switched on, asks first. Recordings that are there\n"
		    "follow; the earliest rule of several wins, a hold keeps what it holds.",
     .examples = "  rushesctl env lifecycle set Northwind support one-year --age-days 365\n"
		 "  rushesctl retention preview Northwind support --rule one-year\n"
		 "  rushesctl env lifecycle set Northwind support one-year --enabled on\n"
		 "  rushesctl env lifecycle set Northwind support raw --age-days 30 --file-kind raw --enabled on",
     .options = env_lifecycle_set_options,
     LIFECYCLE,
     .flags = COMMAND_DATABASE | COMMAND_DESTRUCTIVE,
     .run = env_lifecycle_set},
    {.verb = "lifecycle remove",
     .summary = "Remove a lifecycle rule; what it would have taken stays",
     .options = env_lifecycle_remove_options,
     LIFECYCLE,
     .flags = COMMAND_DATABASE,
     .run = env_lifecycle_remove},
    {0},
};
