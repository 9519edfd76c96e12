#include "commands.h"
#include "ctl.h"

#include "domain/report.h"

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

static int list(struct ctl *c, const void *arguments _unused_, struct error *e)
{
	json_t *nodes = NULL;
	int r = report_nodes(c->db, &nodes, e);
	return r < 0 ? r : ctl_print_list(c, columns, nodes, "No spool has registered yet.");
}

const struct command node_commands[] = {
    {.verb = "list",
     .summary = "List the spools, their room and their beats",
     .description = "A node is a spool: the UUID in its superblock, not a host. One that is silent for 30 s keeps\n"
		    "its jobs waiting, without costing them attempts.",
     .flags = COMMAND_DATABASE,
     .run = list},
    {0},
};
