#include "commands.h"
#include "ctl.h"

#include "base/clock.h"
#include "domain/account.h"
#include "domain/moment.h"

#include <string.h>

/* A trial that names no end. */
#define TRIAL_MS ((int64_t)14 * 86400000)

struct create_arguments {
	const char *name;
	const char *region;
	const char *zone;
	const char *plan;
	int64_t expires_ms;
};

struct show_arguments {
	const char *account;
};

struct plan_arguments {
	const char *account, *plan, *expires;
};

struct close_arguments {
	const char *account, *reason;
};

static const char *const plans[] = {"paid", "trial", NULL};

#define AT(FIELD) .offset = offsetof(struct create_arguments, FIELD)

static const struct option create_options[] = {
    {.name = "NAME", .type = OPTION_STRING, .required = true, .max = 200, AT(name), .help = "the customer's name"},
    {.name = "--region",
     .value = "REGION",
     .type = OPTION_STRING,
     .max = 16,
     AT(region),
     .help = "where its recordings live, for good; default: RUSHES_REGION"},
    {.name = "--zone",
     .value = "ZONE",
     .type = OPTION_STRING,
     .max = 64,
     AT(zone),
     .help = "time zone of its daily rules; default Europe/Bucharest"},
    {.name = "--plan", .value = "PLAN", .type = OPTION_CHOICE, .choices = plans, AT(plan), .help = "default paid"},
    {.name = "--expires",
     .value = "TIME",
     .type = OPTION_DURATION,
     .min = 60000,
     AT(expires_ms),
     .help = "when it runs out, from now: 28d; default: trial 14d, paid never"},
    {0},
};

static const struct option show_options[] = {
    {.name = "ACCOUNT",
     .type = OPTION_STRING,
     .required = true,
     .offset = offsetof(struct show_arguments, account),
     .help = "id or name"},
    {0},
};

static const struct option plan_options[] = {
    {.name = "ACCOUNT",
     .type = OPTION_STRING,
     .required = true,
     .offset = offsetof(struct plan_arguments, account),
     .help = "id or name"},
    {.name = "--plan",
     .value = "PLAN",
     .type = OPTION_CHOICE,
     .required = true,
     .choices = plans,
     .offset = offsetof(struct plan_arguments, plan),
     .help = "what it is from now on"},
    {.name = "--expires",
     .value = "DATE",
     .type = OPTION_STRING,
     .required = true,
     .max = 40,
     .offset = offsetof(struct plan_arguments, expires),
     .help = "2027-03-31 (when that day begins), a time as 2027-03-31T12:00:00Z, or never"},
    {0},
};

static const struct option close_options[] = {
    {.name = "ACCOUNT",
     .type = OPTION_STRING,
     .required = true,
     .offset = offsetof(struct close_arguments, account),
     .help = "id or name"},
    {.name = "--reason",
     .value = "TEXT",
     .type = OPTION_STRING,
     .required = true,
     .max = 500,
     .offset = offsetof(struct close_arguments, reason),
     .help = "why; it stays in the audit"},
    {0},
};

static const struct column list_columns[] = {
    {"id", "ACCOUNT", COLUMN_TEXT},
    {"name", "NAME", COLUMN_TEXT},
    {"region", "REGION", COLUMN_TEXT},
    {"plan", "PLAN", COLUMN_TEXT},
    {"expires_at", "EXPIRES", COLUMN_TIME},
    {"environments", "ENVS", COLUMN_NUMBER},
    {"recordings", "RECORDINGS", COLUMN_NUMBER},
    {0},
};

static const struct column show_columns[] = {
    {"id", "account", COLUMN_TEXT},
    {"name", "name", COLUMN_TEXT},
    {"region", "region", COLUMN_TEXT},
    {"hash", "public hash", COLUMN_TEXT},
    {"zone", "time zone", COLUMN_TEXT},
    {"plan", "plan", COLUMN_TEXT},
    {"trial_ends_at", "trial ends", COLUMN_TIME},
    {"paid_until", "paid until", COLUMN_TIME},
    {"closed_at", "closed", COLUMN_TIME},
    {"recordings_due_at", "recordings go", COLUMN_TIME},
    {"operator_may_read", "operator may read", COLUMN_TEXT},
    {"environments", "environments", COLUMN_TEXT},
    {"targets", "own targets", COLUMN_TEXT},
    {"recordings", "recordings", COLUMN_TEXT},
    {"created_at", "created", COLUMN_TIME},
    {0},
};

static int show_account(struct ctl *c, const struct uuid *id, struct error *e)
{
	json_t *account = NULL;
	int r = account_get(c->db, id, &account, e);
	return r < 0 ? r : ctl_print_record(c, show_columns, account);
}

static int create(struct ctl *c, const void *arguments, struct error *e)
{
	const struct create_arguments *a = arguments;
	const bool trial = a->plan == plans[1];
	const struct account_new n = {
	    .name = a->name,
	    .region = a->region ? a->region : c->config.region,
	    .zone = a->zone ? a->zone : "Europe/Bucharest",
	    .plan = a->plan ? a->plan : plans[0],
	    .expires_ms = a->expires_ms || !trial ? a->expires_ms : TRIAL_MS,
	};
	struct uuid id;
	int r = account_create(c->db, c->actor, &n, &id, e);
	return r < 0 ? r : show_account(c, &id, e);
}

static int list(struct ctl *c, const void *arguments _unused_, struct error *e)
{
	json_t *accounts = NULL;
	int r = account_list(c->db, &accounts, e);
	return r < 0 ? r
		     : ctl_print_list(c, list_columns, accounts,
				      "There is no account yet: rushesctl account create NAME makes one.");
}

static int show(struct ctl *c, const void *arguments, struct error *e)
{
	const struct show_arguments *a = arguments;
	struct uuid id;
	int r = account_find(c->db, a->account, &id, e);
	return r < 0 ? r : show_account(c, &id, e);
}

static int plan(struct ctl *c, const void *arguments, struct error *e)
{
	const struct plan_arguments *a = arguments;
	bool never = strcmp(a->expires, "never") == 0;
	struct uuid id;
	int64_t expires_us = INT64_MAX;
	if (!never && !moment_parse(a->expires, &expires_us))
		return ctl_wrong_use(c, e,
				     "--expires %s: want a day as 2027-03-31, a time as 2027-03-31T12:00:00Z, or never",
				     a->expires);
	int r = account_find(c->db, a->account, &id, e);
	if (r == 0 && expires_us <= clock_wall_us())
		r = ctl_confirm(c, e, "plan has ended already: the account's recordings go 28 days after its last day");
	if (r == 0)
		r = account_plan_set(c->db, c->actor, &id, a->plan, never ? NULL : a->expires, e);
	return r < 0 ? r : show_account(c, &id, e);
}

/* Recordings that are not deleted yet. */
static long long count_recordings(json_t *account)
{
	const char *state = NULL;
	json_t *n = NULL;
	long long sum = 0;
	json_object_foreach (json_object_get(account, "recordings"), state, n)
		sum += strcmp(state, "deleted") == 0 ? 0 : (long long)json_integer_value(n);
	return sum;
}

static int close_account(struct ctl *c, const void *arguments, struct error *e)
{
	const struct close_arguments *a = arguments;
	struct uuid id;
	json_t *account = NULL;
	int r = account_find(c->db, a->account, &id, e);
	if (r == 0)
		r = account_get(c->db, &id, &account, e);
	if (r < 0)
		return r;
	const char *name = json_string_value(json_object_get(account, "name"));
	r = ctl_confirm(c, e, "closes the account %.100s and deletes its %lld recordings everywhere, for good",
			name ? name : "", count_recordings(account));
	json_decref(account);
	if (r == 0)
		r = account_close(c->db, c->actor, &id, a->reason, e);
	return r < 0 ? r : show_account(c, &id, e);
}

const struct command account_commands[] = {
    {
	.verb = "create",
	.summary = "Make an account for a customer",
	.description = "Prints the new account with its id and its public hash. Make an environment next:\n"
		       "links and recordings belong to one.",
	.examples = "  rushesctl account create \"Northwind Support\"\n"
		    "  rushesctl account create Tryout --plan trial --expires 28d",
	.options = create_options,
	.arguments_size = sizeof(struct create_arguments),
	.flags = COMMAND_DATABASE,
	.run = create,
    },
    {
	.verb = "list",
	.summary = "List the accounts",
	.flags = COMMAND_DATABASE,
	.run = list,
    },
    {
	.verb = "show",
	.summary = "Show one account",
	.options = show_options,
	.arguments_size = sizeof(struct show_arguments),
	.flags = COMMAND_DATABASE,
	.run = show,
    },
    {
	.verb = "plan",
	.summary = "Renew an account, or change its plan and end",
	.description = "When a plan ends, the recordings stay for 28 days, of which the day of its end is the first,\n"
		       "and go at the midnight that closes the last. Renewed until then, everything is kept.\n"
		       "An end that has passed already asks first.",
	.examples = "  rushesctl account plan Northwind --plan paid --expires 2027-03-31\n"
		    "  rushesctl account plan Northwind --plan paid --expires never",
	.options = plan_options,
	.arguments_size = sizeof(struct plan_arguments),
	.flags = COMMAND_DATABASE | COMMAND_DESTRUCTIVE,
	.run = plan,
    },
    {
	.verb = "close",
	.summary = "Close an account: its recordings go at once, then its key",
	.description = "Links and sessions open nothing from now on. Copies on the client's own targets stay theirs,\n"
		       "unless a target says otherwise; held recordings stay until the hold is lifted. An account\n"
		       "cannot be opened again.",
	.examples = "  rushesctl account close Northwind --reason \"the contract ended\"",
	.options = close_options,
	.arguments_size = sizeof(struct close_arguments),
	.flags = COMMAND_DATABASE | COMMAND_DESTRUCTIVE,
	.run = close_account,
    },
    {0},
};
