#include "commands.h"
#include "ctl.h"
#include "env_lifecycle.h"

#include "domain/retention.h"

#include <string.h>

struct pause_arguments {
	const char *rule, *place, *reason;
};

#define AT(FIELD) .offset = offsetof(struct pause_arguments, FIELD)

static const struct option pause_options[] = {
    {.name = "RULE",
     .type = OPTION_STRING,
     .required = true,
     .max = 60,
     AT(rule),
     .help = "a name of `rushesctl retention rules`, or * for every rule"},
    {.name = "--place",
     .value = "PLACE",
     .type = OPTION_STRING,
     .max = 60,
     AT(place),
     .help = "node/ID, target/ID, or recordings (whole ones); default: everywhere"},
    {.name = "--reason",
     .value = "TEXT",
     .type = OPTION_STRING,
     .required = true,
     .max = 250,
     AT(reason),
     .help = "why; it stays in the audit"},
    {0},
};

static const struct column rule_columns[] = {
    {"name", "RULE", COLUMN_TEXT},
    {"slice", "DECIDED BY", COLUMN_TEXT},
    {"precedence", "PRECEDENCE", COLUMN_NUMBER},
    {"takes", "WHAT GOES", COLUMN_TEXT},
    {"due", "WHEN", COLUMN_TEXT},
    {"delay", "DELAY", COLUMN_TEXT},
    {"calendar", "CALENDAR", COLUMN_TEXT},
    {"due_now", "DUE NOW", COLUMN_NUMBER},
    {"paused_on", "PAUSED ON", COLUMN_TEXT},
    {0},
};

static const struct column paused_columns[] = {
    {"rule", "RULE", COLUMN_TEXT}, {"place", "PLACE", COLUMN_TEXT},   {"since", "SINCE", COLUMN_TIME},
    {"by", "BY", COLUMN_TEXT},	   {"reason", "REASON", COLUMN_TEXT}, {0},
};

static int rules(struct ctl *c, const void *arguments _unused_, struct error *e)
{
	json_t *list = NULL;
	int r = retention_rules(c->db, &list, e);
	return r < 0 ? r : ctl_print_list(c, rule_columns, list, "There is no rule.");
}

static int paused(struct ctl *c, const void *arguments _unused_, struct error *e)
{
	json_t *list = NULL;
	int r = retention_paused_list(c->db, &list, e);
	return r < 0 ? r : ctl_print_list(c, paused_columns, list, "No rule is paused.");
}

/* The place; a wrong one would pause nothing, and nobody would see it. */
static int read_place(struct ctl *c, const struct pause_arguments *a, const char **ret, struct error *e)
{
	*ret = a->place ? a->place : "*";
	if (retention_place_valid(*ret) && (strcmp(*ret, "clock") != 0 || strcmp(a->rule, "*") == 0))
		return 0;
	return ctl_wrong_use(c, e, "--place %s: want node/ID, target/ID, recordings, or clock with the rule '*'", *ret);
}

static int pause_rule(struct ctl *c, const void *arguments, struct error *e)
{
	const struct pause_arguments *a = arguments;
	const char *place = NULL;
	int r = read_place(c, a, &place, e);
	if (r == 0)
		r = retention_pause_set(c->db, c->actor, a->rule, place, a->reason, e);
	return r < 0 ? r : ctl_done(c, "paused", a->rule);
}

static int confirm_rule(struct ctl *c, const void *arguments, struct error *e)
{
	const struct pause_arguments *a = arguments;
	const char *place = NULL;
	int r = read_place(c, a, &place, e);
	if (r == 0)
		r = retention_pause_confirm(c->db, c->actor, a->rule, place, a->reason, e);
	return r < 0 ? r : ctl_done(c, "confirmed", a->rule);
}

#define OF_RULE .options = pause_options, .arguments_size = sizeof(struct pause_arguments), .flags = COMMAND_DATABASE

const struct command retention_commands[] = {
    {.verb = "rules",
     .summary = "List the rules in their order, and how much each makes due now",
     .description = "PRECEDENCE: 1 a person's deletion, 2 a hold, 3 takes the whole recording, 4 takes single\n"
		    "copies, 0 takes nothing by a date. DUE NOW counts copies, and recordings that go whole.\n"
		    "`rushesctl recording explain` says which of them holds for one recording, and when.",
     .flags = COMMAND_DATABASE,
     .run = rules},
    {.verb = "preview",
     .summary = "List what a lifecycle rule would take, before it is switched on",
     .description = "Changes nothing. Times are UTC. `rushesctl env lifecycle set` makes the rule; held recordings\n"
		    "are listed, but no lifecycle rule takes them.",
     .examples = "  rushesctl retention preview Northwind support --age-days 365\n"
		 "  rushesctl retention preview Northwind support --age-days 30 --file-kind raw --until 2027-03-31\n"
		 "  rushesctl retention preview Northwind support --rule one-year",
     .options = retention_preview_options,
     .arguments_size = sizeof(struct lifecycle_arguments),
     .flags = COMMAND_DATABASE,
     .run = retention_preview},
    {.verb = "pause",
     .summary = "Pause a rule, everywhere or on one place, until it is confirmed",
     .description = "A paused rule decides nothing there; what was decided before goes on. A person's deletion\n"
		    "of a recording is a rule too: deleted-by-user.",
     .examples = "  rushesctl retention pause lifecycle --reason \"a wrong rule was switched on\"\n"
		 "  rushesctl retention pause '*' --place node/0193b2c4-6f1e-7a3b-9c52-3f0d8f6f1a77 --reason audit",
     OF_RULE,
     .run = pause_rule},
    {.verb = "confirm",
     .summary = "Let a paused rule go on; no brake pauses it there for a day",
     .description = "Ends the pause of a person or of a brake, for the rule and place that\n"
		    "`rushesctl retention paused` shows. Look first at what it will take.",
     .examples = "  rushesctl retention confirm lifecycle --place recordings --reason \"that is what we want\"",
     OF_RULE,
     .run = confirm_rule},
    {.verb = "paused",
     .summary = "List the pauses in force: since when, by whom, why",
     .flags = COMMAND_DATABASE,
     .run = paused},
    {0},
};
