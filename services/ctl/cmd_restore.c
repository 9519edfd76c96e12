#include "commands.h"
#include "ctl.h"
#include "restore_reconcile.h"

#include "domain/restore.h"

#include <limits.h>
#include <string.h>

#define WAIT_MS_DEFAULT ((int64_t)60000)
#define FINDINGS_SHOWN	1000

struct restore_arguments {
	bool dry_run, override, without_silent;
	const char *reason;
	int64_t wait_ms;
};

#define AT(FIELD) .offset = offsetof(struct restore_arguments, FIELD)

static const struct option reconcile_options[] = {
    {.name = "--dry-run", .type = OPTION_FLAG, AT(dry_run), .help = "show what it would do; change nothing"},
    {.name = "--reason",
     .value = "TEXT",
     .type = OPTION_STRING,
     .max = 500,
     AT(reason),
     .help = "what happened; it stays in the audit. Required but for --dry-run"},
    {.name = "--wait",
     .value = "TIME",
     .type = OPTION_DURATION,
     AT(wait_ms),
     .help = "longest wait for the spools' reports; default 60s"},
    {.name = "--without-silent",
     .type = OPTION_FLAG,
     AT(without_silent),
     .help = "open without the spools that have not reported; nothing is decided about their files"},
    {.name = "--override",
     .type = OPTION_FLAG,
     AT(override),
     .help = "go on although the ledger target is damaged, shorter than it was, or another one"},
    {0},
};

static const struct option begin_options[] = {
    {.name = "--reason",
     .value = "TEXT",
     .type = OPTION_STRING,
     .required = true,
     .max = 500,
     AT(reason),
     .help = "what was restored; it stays in the audit"},
    {0},
};

static const struct column status_columns[] = {
    {"state", "gate", COLUMN_TEXT},
    {"since", "closed since", COLUMN_TIME},
    {"why", "why", COLUMN_TEXT},
    {"last_batch", "ledger ends with batch", COLUMN_NUMBER},
    {"restore.base_batch", "restored with batch", COLUMN_NUMBER},
    {"restore.target_batch", "ledger target's last", COLUMN_NUMBER},
    {"restore.imported", "batches taken over", COLUMN_NUMBER},
    {"restore.left", "recordings to bring into agreement", COLUMN_NUMBER},
    {"restore.opened_at", "opened", COLUMN_TIME},
    {"restore.opened_by", "opened by", COLUMN_TEXT},
    {"restore.findings", "found", COLUMN_TEXT},
    {0},
};

static const struct column node_columns[] = {
    {"id", "SPOOL", COLUMN_TEXT},
    {"service", "SERVICE", COLUMN_TEXT},
    {"state", "STATE", COLUMN_TEXT},
    {"beat_at", "LAST BEAT", COLUMN_TIME},
    {"reported_at", "REPORTED", COLUMN_TIME},
    {"files", "FILES", COLUMN_NUMBER},
    {"copies", "ROWS", COLUMN_NUMBER},
    {0},
};

static const struct column finding_columns[] = {
    {"what", "FOUND", COLUMN_TEXT},  {"recording", "RECORDING", COLUMN_TEXT}, {"copy", "COPY", COLUMN_TEXT},
    {"place", "PLACE", COLUMN_TEXT}, {"detail", "DETAIL", COLUMN_TEXT},	      {0},
};

static void print_status(struct ctl *c, const json_t *status)
{
	output_record(status_columns, status, c->out);
	if (strcmp(json_string_value(json_object_get(status, "state")), "open") == 0)
		return;
	(void)fputc('\n', c->out);
	output_table(node_columns, json_object_get(status, "nodes"), "No spool is known.", c->out);
	(void)fputs("\nNothing works before `rushesctl restore reconcile`; --dry-run shows what it would do.\n",
		    c->out);
}

static int status(struct ctl *c, const void *arguments _unused_, struct error *e)
{
	json_t *o = NULL;
	int r = restore_status(c->db, &o, e);
	if (r < 0)
		return r;
	if (c->json)
		output_json(o, c->out);
	else
		print_status(c, o);
	json_decref(o);
	return 0;
}

static int findings(struct ctl *c, const void *arguments _unused_, struct error *e)
{
	json_t *list = NULL;
	int r = restore_findings(c->db, FINDINGS_SHOWN, &list, e);
	return r < 0 ? r
		     : ctl_print_list(c, finding_columns, list, "The last restore found nothing, or there was none.");
}

static int begin(struct ctl *c, const void *arguments, struct error *e)
{
	const struct restore_arguments *a = arguments;
	int r = ctl_confirm(c, e, "stops every service until `rushesctl restore reconcile` opens the gate again");
	if (r == 0)
		r = restore_begin(c->db, c->actor, a->reason, e);
	return r < 0 ? r : ctl_done(c, "closed", "the gate");
}

/* The target and its keys; without a target only by --override. */
static int open_target(struct ctl *c, bool override, struct ledger_target **ret, struct keyring **ret_keys,
		       struct error *e)
{
	if (!*c->config.ledger_target && override)
		return 0;
	int r = ctl_require(c, c->config.ledger_target, "RUSHES_LEDGER_TARGET", e);
	if (r == 0)
		r = ctl_require(c, c->config.ledger_public_key_file, "RUSHES_LEDGER_PUBLIC_KEY_FILE", e);
	if (r == 0)
		r = keyring_load_public(c->config.ledger_public_key_file, KEY_LEDGER_SIGN, ret_keys, e);
	return r == 0 ? ctl_ledger_target(c, NULL, ret, e) : r;
}

static bool is_open(const json_t *status)
{
	const char *state = json_string_value(json_object_get(status, "state"));
	return state && strcmp(state, "open") == 0;
}

static void print_reconciled(struct ctl *c, const json_t *answer)
{
	if (c->json) {
		output_json(answer, c->out);
		return;
	}
	output_table(finding_columns, json_object_get(answer, "findings"),
		     "The ledger target says nothing that the database did not know.", c->out);
	(void)fputc('\n', c->out);
	print_status(c, json_object_get(answer, "status"));
}

static int reconcile(struct ctl *c, const void *arguments, struct error *e)
{
	const struct restore_arguments *a = arguments;
	_cleanup_(ledger_target_freep) struct ledger_target *target = NULL;
	_cleanup_(keyring_freep) struct keyring *keys = NULL;
	json_t *before = NULL, *answer = NULL;
	if (!a->dry_run && !a->reason)
		return ctl_wrong_use(c, e, "--reason is required: what happened; it stays in the audit");
	int r = restore_status(c->db, &before, e);
	if (r < 0)
		return r;
	bool open = is_open(before);
	json_decref(before);
	if (open)
		return error_set(e, ERR_CONFLICT, "the gate is open: there is nothing to reconcile");
	r = open_target(c, a->override, &target, &keys, e);
	if (r == 0 && !a->dry_run)
		r = ctl_confirm(c, e, "deletes again what the ledger target says was deleted, and opens the gate");
	const struct restore_reconcile o = {.ctl = c,
					    .target = target,
					    .public_keys = keys,
					    .reason = a->reason ? a->reason : "dry run",
					    .is_dry = a->dry_run,
					    .override = a->override,
					    .without_silent = a->without_silent,
					    .wait_ms = a->wait_ms ? a->wait_ms : WAIT_MS_DEFAULT};
	if (r == 0)
		r = restore_reconcile(&o, &answer, e);
	if (r < 0)
		return r;
	print_reconciled(c, answer);
	json_decref(answer);
	return 0;
}

const struct command restore_commands[] = {
    {.verb = "status",
     .summary = "Show whether the gate is open, and which spools have reported",
     .flags = COMMAND_DATABASE,
     .run = status},
    {.verb = "reconcile",
     .summary = "Bring a restored database into agreement with the ledger target, and open the gate",
     .description = "Reads what was decided after the restored moment from the ledger target, checks its signatures\n"
		    "and links, deletes again what was deleted, sets and lifts holds, waits for the reports of the\n"
		    "spools, and opens the gate. May be repeated; killed it goes on where it stopped.\n"
		    "docs/operations/restore.md goes through it step by step.",
     .examples = "  rushesctl restore reconcile --dry-run\n"
		 "  rushesctl restore reconcile --reason \"disk of db1 failed, recovered to 14:05\"",
     .options = reconcile_options,
     .arguments_size = sizeof(struct restore_arguments),
     .flags = COMMAND_DATABASE | COMMAND_DESTRUCTIVE,
     .run = reconcile},
    {.verb = "findings",
     .summary = "List what the last restore found and did",
     .description = "deleted-again, copy-gone, hold-set, hold-lifted, account-closed, account-key-destroyed: applied\n"
		    "from the ledger. segment-kept: bytes of a take that was being received. lost-row: a file whose\n"
		    "row is lost, kept. missing: a row whose file is not there. copy-known-again: delivered since, by\n"
		    "the ledger. made-again: from its raw. only-copy, unfinished, fork, target-shorter,\n"
		    "batch-skipped: a person has to look.",
     .flags = COMMAND_DATABASE,
     .run = findings},
    {.verb = "begin",
     .summary = "Close the gate by hand, for a restore that nothing tells by itself",
     .options = begin_options,
     .arguments_size = sizeof(struct restore_arguments),
     .flags = COMMAND_DATABASE | COMMAND_DESTRUCTIVE,
     .run = begin},
    {0},
};
