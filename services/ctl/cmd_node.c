#include "commands.h"
#include "ctl.h"

#include "domain/node.h"
#include "domain/report.h"

#include <inttypes.h>

/* Recordings whose copies one statement works off. */
#define RETIRE_BATCH 100

struct node_arguments {
	struct uuid node, copy;
	const char *attested_by, *reason;
};

#define AT(FIELD) .offset = offsetof(struct node_arguments, FIELD)
#define NODE                                                                                              \
	{                                                                                                 \
		.name = "NODE", .type = OPTION_UUID, .required = true, AT(node), .help = "the spool's id" \
	}
#define REASON                                                                                                        \
	{                                                                                                             \
		.name = "--reason", .value = "TEXT", .type = OPTION_STRING, .required = true, .max = 500, AT(reason), \
		.help = "why; it stays in the audit"                                                                  \
	}

static const struct option show_options[] = {NODE, {0}};

static const struct option retire_options[] = {
    NODE,
    {.name = "--attested-by",
     .value = "NAME",
     .type = OPTION_STRING,
     .required = true,
     .max = 100,
     AT(attested_by),
     .help = "who vouches that the disk is destroyed; certificates name them"},
    REASON,
    {0},
};

static const struct option discard_options[] = {
    NODE,
    {.name = "COPY",
     .type = OPTION_UUID,
     .required = true,
     AT(copy),
     .help = "the copy, as `rushesctl node show` lists it under lost rows"},
    REASON,
    {0},
};

static const struct column columns[] = {
    {"id", "NODE", COLUMN_TEXT},
    {"service", "SERVICE", COLUMN_TEXT},
    {"region", "REGION", COLUMN_TEXT},
    {"state", "STATE", COLUMN_TEXT},
    {"is_silent", "SILENT", COLUMN_TEXT},
    {"silent_s", "LAST BEAT", COLUMN_DURATION},
    {"free_bytes", "FREE", COLUMN_SIZE},
    {"capacity_bytes", "OF", COLUMN_SIZE},
    {"copies", "COPIES", COLUMN_NUMBER},
    {"peer_url", "PEER ADDRESS", COLUMN_TEXT},
    {0},
};

static const struct column node_columns[] = {
    {"id", "node", COLUMN_TEXT},
    {"service", "service", COLUMN_TEXT},
    {"region", "region", COLUMN_TEXT},
    {"state", "state", COLUMN_TEXT},
    {"is_silent", "silent", COLUMN_TEXT},
    {"registered_at", "registered", COLUMN_TIME},
    {"beat_at", "last beat", COLUMN_TIME},
    {"beats", "beats", COLUMN_NUMBER},
    {"free_bytes", "free", COLUMN_SIZE},
    {"capacity_bytes", "of", COLUMN_SIZE},
    {"copies", "copies", COLUMN_TEXT},
    {"jobs", "jobs bound to it", COLUMN_TEXT},
    {"retired_at", "retired", COLUMN_TIME},
    {"attested_by", "attested by", COLUMN_TEXT},
    {"peer_url", "peer address", COLUMN_TEXT},
    {0},
};

static const struct column lost_columns[] = {
    {"copy", "COPY", COLUMN_TEXT},
    {"recording", "RECORDING", COLUMN_TEXT},
    {"bytes", "BYTES", COLUMN_SIZE},
    {"first_seen_at", "SEEN SINCE", COLUMN_TIME},
    {"key", "KEY", COLUMN_TEXT},
    {"discarded_at", "DISCARDED", COLUMN_TIME},
    {0},
};

static int list(struct ctl *c, const void *arguments _unused_, struct error *e)
{
	json_t *nodes = NULL;
	int r = report_nodes(c->db, &nodes, e);
	return r < 0 ? r : ctl_print_list(c, columns, nodes, "No spool has registered yet.");
}

static int show(struct ctl *c, const void *arguments, struct error *e)
{
	const struct node_arguments *a = arguments;
	json_t *node = NULL;
	int r = report_node(c->db, &a->node, &node, e);
	if (r < 0)
		return r;
	if (c->json) {
		output_json(node, c->out);
	} else {
		output_record(node_columns, node, c->out);
		(void)fputs("\nFiles whose row is lost\n", c->out);
		output_table(lost_columns, json_object_get(node, "lost_rows"), "There is none.", c->out);
	}
	json_decref(node);
	return 0;
}

static int retire(struct ctl *c, const void *arguments, struct error *e)
{
	const struct node_arguments *a = arguments;
	char id[UUID_TEXT_BYTES];
	uint64_t left = 1;
	uuid_format(&a->node, id);
	int r = ctl_confirm(c, e, "gives up the spool %s for good, and every copy that lay on it", id);
	if (r == 0)
		r = node_retire(c->db, c->actor, &a->node, a->attested_by, a->reason, e);
	while (r == 0 && left > 0)
		r = node_retire_work(c->db, c->actor, &a->node, RETIRE_BATCH, &left, e);
	return r < 0 ? r : ctl_done(c, "retired", id);
}

static int discard(struct ctl *c, const void *arguments, struct error *e)
{
	const struct node_arguments *a = arguments;
	char copy[UUID_TEXT_BYTES];
	uuid_format(&a->copy, copy);
	int r = ctl_confirm(c, e, "removes the file of copy %s; nobody can bring it back", copy);
	if (r == 0)
		r = node_discard(c->db, c->actor, &a->node, &a->copy, a->reason, e);
	return r < 0 ? r : ctl_done(c, "discarded", copy);
}

const struct command node_commands[] = {
    {.verb = "list",
     .summary = "List the spools, their room and their beats",
     .description = "A node is a spool: the UUID in its superblock, not a host. One that is silent for 30 s keeps\n"
		    "its jobs waiting, without costing them attempts.",
     .flags = COMMAND_DATABASE,
     .run = list},
    {.verb = "show",
     .summary = "Show a spool: its copies, its jobs, and files whose row is lost",
     .options = show_options,
     .arguments_size = sizeof(struct node_arguments),
     .flags = COMMAND_DATABASE,
     .run = show},
    {.verb = "retire",
     .summary = "Give up a spool whose disk is destroyed",
     .description = "Refused while it beats. Its copies count as gone, with the name of who vouches for it in the\n"
		    "ledger and in certificates. What can be made again is; a recording that lay nowhere else\n"
		    "becomes a tombstone. The disk is never used again: should it come back, its service removes\n"
		    "what the ledger calls gone and ends. Killed in the middle, say it again.",
     .examples = "  rushesctl node retire 0193b2c4-6f1e-7a3b-9c52-3f0d8f6f1a77 --attested-by \"Ann Lee\" "
		 "--reason \"shredded\"",
     .options = retire_options,
     .arguments_size = sizeof(struct node_arguments),
     .flags = COMMAND_DATABASE | COMMAND_DESTRUCTIVE,
     .run = retire},
    {.verb = "discard",
     .summary = "Give up a file whose row is lost; its spool removes it within a quarter of an hour",
     .options = discard_options,
     .arguments_size = sizeof(struct node_arguments),
     .flags = COMMAND_DATABASE | COMMAND_DESTRUCTIVE,
     .run = discard},
    {0},
};
