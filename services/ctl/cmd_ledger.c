#include "commands.h"
#include "ctl.h"

#include "domain/audit.h"
#include "domain/ledger.h"

struct ledger_arguments {
	struct uuid recording;
};

struct audit_arguments {
	const char *subject;
	uint64_t limit;
};

static const struct option ledger_options[] = {
    {.name = "RECORDING",
     .type = OPTION_UUID,
     .required = true,
     .offset = offsetof(struct ledger_arguments, recording),
     .help = "the recording's id"},
    {0},
};

static const struct option audit_options[] = {
    {.name = "SUBJECT",
     .type = OPTION_STRING,
     .max = 100,
     .offset = offsetof(struct audit_arguments, subject),
     .help = "only about this id"},
    {.name = "--limit",
     .value = "N",
     .type = OPTION_UINT,
     .min = 1,
     .max = 10000,
     .offset = offsetof(struct audit_arguments, limit),
     .help = "the newest ones; default 50"},
    {0},
};

static const struct column ledger_columns[] = {
    {"id", "ENTRY", COLUMN_NUMBER},    {"at", "TIME", COLUMN_TIME},	{"kind", "WHAT", COLUMN_TEXT},
    {"rule", "RULE", COLUMN_TEXT},     {"place", "PLACE", COLUMN_TEXT}, {"evidence", "EVIDENCE", COLUMN_TEXT},
    {"intact", "INTACT", COLUMN_TEXT}, {"hash", "HASH", COLUMN_TEXT},	{0},
};

static const struct column audit_columns[] = {
    {"at", "TIME", COLUMN_TIME},    {"actor", "WHO", COLUMN_TEXT},     {"action", "DID", COLUMN_TEXT},
    {"subject", "TO", COLUMN_TEXT}, {"detail", "DETAIL", COLUMN_TEXT}, {0},
};

static int list(struct ctl *c, const void *arguments, struct error *e)
{
	const struct ledger_arguments *a = arguments;
	json_t *entries = NULL;
	int r = ledger_list(c->db, &a->recording, &entries, e);
	return r < 0 ? r : ctl_print_list(c, ledger_columns, entries, "The ledger has no entry of this recording.");
}

static int audit(struct ctl *c, const void *arguments, struct error *e)
{
	const struct audit_arguments *a = arguments;
	const struct audit_filter f = {.subject = a->subject, .limit = a->limit ? (unsigned)a->limit : 50};
	json_t *entries = NULL;
	int r = audit_list(c->db, &f, &entries, e);
	return r < 0 ? r : ctl_print_list(c, audit_columns, entries, "Nobody did such a thing.");
}

const struct command ledger_commands[] = {
    {.verb = "list",
     .summary = "List what was decided about a recording and what is gone",
     .description = "Each entry carries the SHA-256 leaf hash (RFC 6962) of its text; INTACT says whether the row\n"
		    "still has it. The entry `complete` proves that no copy is left that we hold.",
     .options = ledger_options,
     .arguments_size = sizeof(struct ledger_arguments),
     .flags = COMMAND_DATABASE,
     .run = list},
    {0},
};

const struct command audit_commands[] = {
    {.verb = "list",
     .summary = "List who did what",
     .options = audit_options,
     .arguments_size = sizeof(struct audit_arguments),
     .flags = COMMAND_DATABASE,
     .run = audit},
    {0},
};
