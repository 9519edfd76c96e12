#include "env_lifecycle.h"

#include "ctl.h"

#include "domain/account.h"
#include "domain/lifecycle.h"
#include "domain/moment.h"

#include <string.h>

/* The first of these lists means no restriction: null in the database. */
static const char *const recording_kinds[] = {"any", "received", "sent", "call", NULL};
static const char *const file_kinds[] = {"whole", "raw", "main", "snapshot", "filmstrip", NULL};

#define AT(FIELD) .offset = offsetof(struct lifecycle_arguments, FIELD)
#define OF_ENV                                                                                           \
	{.name = "ACCOUNT", .type = OPTION_STRING, .required = true, AT(account), .help = "id or name"}, \
	{                                                                                                \
		.name = "ENV", .type = OPTION_STRING, .required = true, .max = 100, AT(env),             \
		.help = "the environment, id or name"                                                    \
	}
#define RULE_NAME                                                                              \
	{                                                                                      \
		.name = "RULE", .type = OPTION_STRING, .required = true, .max = 100, AT(name), \
		.help = "the rule's name"                                                      \
	}
#define WHAT_IT_TAKES                                                                                                \
	{.name = "--age-days",                                                                                       \
	 .value = "N",                                                                                               \
	 .type = OPTION_UINT,                                                                                        \
	 .min = 1,                                                                                                   \
	 .max = LIFECYCLE_AGE_DAYS_MAX,                                                                              \
	 AT(age_days),                                                                                               \
	 .help = "days since it was saved; it goes at the next midnight in the account's zone"},                     \
	    {.name = "--recording-kind",                                                                             \
	     .value = "KIND",                                                                                        \
	     .type = OPTION_CHOICE,                                                                                  \
	     .choices = recording_kinds,                                                                             \
	     AT(recording_kind),                                                                                     \
	     .help = "only recordings of this kind; any at first"},                                                  \
	{                                                                                                            \
		.name = "--file-kind", .value = "KIND", .type = OPTION_CHOICE, .choices = file_kinds, AT(file_kind), \
		.help = "only our copies of this kind of file; the whole recording at first"                         \
	}

const struct option env_lifecycle_list_options[] = {OF_ENV, {0}};
const struct option env_lifecycle_remove_options[] = {OF_ENV, RULE_NAME, {0}};

const struct option env_lifecycle_set_options[] = {
    OF_ENV,
    RULE_NAME,
    WHAT_IT_TAKES,
    {.name = "--enabled",
     .value = "on|off",
     .type = OPTION_BOOL,
     AT(enabled),
     .seen_offset = offsetof(struct lifecycle_arguments, has_enabled),
     .help = "whether it takes anything; off at first"},
    {0},
};

const struct option retention_preview_options[] = {
    OF_ENV,
    {.name = "--rule",
     .value = "RULE",
     .type = OPTION_STRING,
     .max = 100,
     AT(name),
     .help = "as this lifecycle rule of the environment says; the others change it"},
    WHAT_IT_TAKES,
    {.name = "--until",
     .value = "DATE",
     .type = OPTION_STRING,
     .max = 40,
     AT(until),
     .help = "only what goes up to then: 2027-03-31, or a time as 2027-03-31T12:00:00Z"},
    {.name = "--limit",
     .value = "N",
     .type = OPTION_UINT,
     .min = 1,
     .max = 100000,
     AT(limit),
     .help = "list the first ones; default 50; the totals count all"},
    {0},
};

static const struct column rule_columns[] = {
    {"name", "RULE", COLUMN_TEXT},
    {"age_days", "AGE IN DAYS", COLUMN_NUMBER},
    {"recording_kind", "ONLY RECORDINGS", COLUMN_TEXT},
    {"file_kind", "ONLY FILES", COLUMN_TEXT},
    {"enabled", "ENABLED", COLUMN_TEXT},
    {"created_at", "CREATED", COLUMN_TIME},
    {0},
};

static const struct column preview_columns[] = {
    {"recording", "RECORDING", COLUMN_TEXT}, {"file_kind", "ONLY FILE", COLUMN_TEXT}, {"due_at", "GOES", COLUMN_TIME},
    {"bytes", "BYTES", COLUMN_SIZE},	     {"held", "HELD", COLUMN_TEXT},	      {0},
};

static const struct column total_columns[] = {
    {"recordings", "recordings", COLUMN_NUMBER},       {"bytes", "bytes", COLUMN_SIZE},
    {"held", "of them held, and kept", COLUMN_NUMBER}, {"due_now", "of them due now", COLUMN_NUMBER},
    {"due_now_bytes", "bytes due now", COLUMN_SIZE},   {0},
};

static int find_env(struct ctl *c, const struct lifecycle_arguments *a, struct uuid *ret_account, struct uuid *ret_env,
		    struct error *e)
{
	int r = account_find(c->db, a->account, ret_account, e);
	return r < 0 ? r : environment_find(c->db, ret_account, a->env, ret_env, e);
}

/* "any" and "whole" are no restriction. */
static const char *restriction(const char *given, const char *none, const json_t *before)
{
	if (!given)
		return json_string_value(before);
	return strcmp(given, none) == 0 ? NULL : given;
}

/* What is there, changed by what was given. `before` NULL: nothing is there. The texts live as long as both. */
static int merge(struct ctl *c, const struct lifecycle_arguments *a, json_t *before, struct lifecycle_rule *ret,
		 struct error *e)
{
	if (!before && !a->age_days)
		return ctl_wrong_use(c, e, "--age-days is required: %s", "the age at which something goes");
	*ret = (struct lifecycle_rule){
	    .age_days =
		a->age_days ? (unsigned)a->age_days : (unsigned)json_integer_value(json_object_get(before, "age_days")),
	    .recording_kind =
		restriction(a->recording_kind, recording_kinds[0], json_object_get(before, "recording_kind")),
	    .file_kind = restriction(a->file_kind, file_kinds[0], json_object_get(before, "file_kind")),
	    .enabled = a->has_enabled ? a->enabled : json_is_true(json_object_get(before, "enabled")),
	};
	return 0;
}

static json_int_t total_of(json_t *preview, const char *what)
{
	return json_integer_value(json_object_get(json_object_get(preview, "total"), what));
}

/* A rule that is on deletes: the number is said before it is switched on or changed. */
static int confirm_rule(struct ctl *c, const struct uuid *account, const struct uuid *env,
			const struct lifecycle_rule *rule, struct error *e)
{
	json_t *preview = NULL;
	if (!rule->enabled)
		return 0;
	int r = lifecycle_preview(c->db, account, env, rule, NULL, 1, &preview, e);
	if (r < 0)
		return r;
	r = ctl_confirm(c, e, "rule takes %lld of %lld recordings now, and the others when they are old enough",
			(long long)total_of(preview, "due_now"), (long long)total_of(preview, "recordings"));
	json_decref(preview);
	return r;
}

int env_lifecycle_list(struct ctl *c, const void *arguments, struct error *e)
{
	const struct lifecycle_arguments *a = arguments;
	struct uuid account, env;
	json_t *rules = NULL;
	int r = find_env(c, a, &account, &env, e);
	if (r == 0)
		r = lifecycle_list(c->db, &account, &env, &rules, e);
	return r < 0 ? r
		     : ctl_print_list(c, rule_columns, rules,
				      "The environment has no lifecycle rule: nothing goes by age.");
}

int env_lifecycle_set(struct ctl *c, const void *arguments, struct error *e)
{
	const struct lifecycle_arguments *a = arguments;
	struct uuid account, env;
	struct lifecycle_rule rule = {0};
	json_t *before = NULL, *after = NULL;
	int r = find_env(c, a, &account, &env, e);
	if (r < 0)
		return r;
	r = lifecycle_get(c->db, &account, &env, a->name, &before, e);
	if (r == 0 || r == ERR_NOTFOUND)
		r = merge(c, a, before, &rule, e);
	if (r == 0)
		r = confirm_rule(c, &account, &env, &rule, e);
	if (r == 0)
		r = lifecycle_set(c->db, c->actor, &account, &env, a->name, &rule, e);
	json_decref(before);
	if (r == 0)
		r = lifecycle_get(c->db, &account, &env, a->name, &after, e);
	return r < 0 ? r : ctl_print_record(c, rule_columns, after);
}

int env_lifecycle_remove(struct ctl *c, const void *arguments, struct error *e)
{
	const struct lifecycle_arguments *a = arguments;
	struct uuid account, env;
	int r = find_env(c, a, &account, &env, e);
	if (r == 0)
		r = lifecycle_remove(c->db, c->actor, &account, &env, a->name, e);
	return r < 0 ? r : ctl_done(c, "removed", a->name);
}

static int print_preview(struct ctl *c, json_t *preview)
{
	if (c->json) {
		output_json(preview, c->out);
	} else {
		json_t *list = json_object_get(preview, "recordings");
		output_table(preview_columns, list, "It takes nothing.", c->out);
		if (json_array_size(list) < (size_t)total_of(preview, "recordings"))
			(void)fprintf(c->out, "... and %lld more; --limit lists them.\n",
				      (long long)total_of(preview, "recordings") - (long long)json_array_size(list));
		(void)fputs("\nTotals; nothing was changed\n", c->out);
		output_record(total_columns, json_object_get(preview, "total"), c->out);
	}
	json_decref(preview);
	return 0;
}

int retention_preview(struct ctl *c, const void *arguments, struct error *e)
{
	const struct lifecycle_arguments *a = arguments;
	struct uuid account, env;
	struct lifecycle_rule rule = {0};
	int64_t until_us;
	json_t *before = NULL, *preview = NULL;
	if (a->until && !moment_parse(a->until, &until_us))
		return ctl_wrong_use(c, e, "--until %s: want a day as 2027-03-31, or a time as 2027-03-31T12:00:00Z",
				     a->until);
	if (!a->name && !a->age_days)
		return ctl_wrong_use(c, e, "say what to try: --rule, or --age-days");
	int r = find_env(c, a, &account, &env, e);
	if (r == 0 && a->name)
		r = lifecycle_get(c->db, &account, &env, a->name, &before, e);
	if (r == 0)
		r = merge(c, a, before, &rule, e);
	if (r == 0)
		r = lifecycle_preview(c->db, &account, &env, &rule, a->until, a->limit ? (unsigned)a->limit : 50,
				      &preview, e);
	json_decref(before);
	return r < 0 ? r : print_preview(c, preview);
}
