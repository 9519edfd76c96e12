#include "commands.h"
#include "ctl.h"

#include "domain/report.h"

static const struct column columns[] = {
    {"name", "RULE", COLUMN_TEXT},
    {"slice", "DECIDED BY", COLUMN_TEXT},
    {"takes", "WHAT GOES", COLUMN_TEXT},
    {"due", "WHEN", COLUMN_TEXT},
    {"due_now", "DUE NOW", COLUMN_NUMBER},
    {"paused_on", "PAUSED ON", COLUMN_TEXT},
    {0},
};

static int rules(struct ctl *c, const void *arguments _unused_, struct error *e)
{
	json_t *list = NULL;
	int r = report_rules(c->db, &list, e);
	return r < 0 ? r : ctl_print_list(c, columns, list, "There is no rule.");
}

const struct command retention_commands[] = {
    {.verb = "rules",
     .summary = "List the rules, and how many copies each makes due now",
     .description = "`rushesctl recording explain` says which of them holds for one recording, and when.",
     .flags = COMMAND_DATABASE,
     .run = rules},
    {0},
};
