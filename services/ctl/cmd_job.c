#include "commands.h"
#include "ctl.h"

#include "domain/redrive.h"
#include "domain/report.h"

struct list_arguments {
	struct uuid recording;
	bool has_recording;
	const char *kind, *state;
	uint64_t limit;
};

struct job_arguments {
	struct uuid id;
};

static const char *const kinds[] = {"copy", "convert", "push", "delete", "webhook", NULL};
static const char *const states[] = {"queued", "running", "waiting-for-node", "done", "failed", "cancelled", NULL};

#define AT(FIELD) .offset = offsetof(struct list_arguments, FIELD)

static const struct option list_options[] = {
    {.name = "--recording",
     .value = "ID",
     .type = OPTION_UUID,
     AT(recording),
     .seen_offset = offsetof(struct list_arguments, has_recording),
     .help = "only of this recording, finished ones too"},
    {.name = "--kind", .value = "KIND", .type = OPTION_CHOICE, .choices = kinds, AT(kind), .help = "only of this kind"},
    {.name = "--state",
     .value = "STATE",
     .type = OPTION_CHOICE,
     .choices = states,
     AT(state),
     .help = "only in this state; default: the unfinished"},
    {.name = "--limit", .value = "N", .type = OPTION_UINT, .min = 1, .max = 10000, AT(limit), .help = "default 100"},
    {0},
};

static const struct option job_options[] = {
    {.name = "JOB",
     .type = OPTION_UUID,
     .required = true,
     .offset = offsetof(struct job_arguments, id),
     .help = "the job's id"},
    {0},
};

static const struct column list_columns[] = {
    {"id", "JOB", COLUMN_TEXT},
    {"kind", "KIND", COLUMN_TEXT},
    {"recording", "RECORDING", COLUMN_TEXT},
    {"file_kind", "FILE", COLUMN_TEXT},
    {"target", "TARGET", COLUMN_TEXT},
    {"state", "STATE", COLUMN_TEXT},
    {"failures", "FAILED", COLUMN_NUMBER},
    {"next_attempt_at", "NEXT", COLUMN_TIME},
    {"last_error", "LAST ERROR", COLUMN_TEXT},
    {0},
};

static const struct column show_columns[] = {
    {"id", "job", COLUMN_TEXT},
    {"kind", "kind", COLUMN_TEXT},
    {"recording", "recording", COLUMN_TEXT},
    {"file_kind", "file", COLUMN_TEXT},
    {"target", "target", COLUMN_TEXT},
    {"node", "bound to node", COLUMN_TEXT},
    {"state", "state", COLUMN_TEXT},
    {"attempt", "attempts begun", COLUMN_NUMBER},
    {"failures", "failed of 13", COLUMN_NUMBER},
    {"next_attempt_at", "next attempt", COLUMN_TIME},
    {"worker", "worker", COLUMN_TEXT},
    {"last_error", "last error", COLUMN_TEXT},
    {"created_at", "created", COLUMN_TIME},
    {"finished_at", "finished", COLUMN_TIME},
    {0},
};

static const struct column attempt_columns[] = {
    {"number", "ATTEMPT", COLUMN_NUMBER},
    {"outcome", "OUTCOME", COLUMN_TEXT},
    {"started_at", "STARTED", COLUMN_TIME},
    {"ended_at", "ENDED", COLUMN_TIME},
    {"worker", "WORKER", COLUMN_TEXT},
    {"error", "ERROR", COLUMN_TEXT},
    {0},
};

static int list(struct ctl *c, const void *arguments, struct error *e)
{
	const struct list_arguments *a = arguments;
	const struct report_jobs f = {a->has_recording ? &a->recording : NULL, a->kind, a->state,
				      a->limit ? (unsigned)a->limit : 100};
	json_t *jobs = NULL;
	int r = report_jobs(c->db, &f, &jobs, e);
	return r < 0 ? r : ctl_print_list(c, list_columns, jobs, "There is no such job: nothing is waiting.");
}

static int show(struct ctl *c, const void *arguments, struct error *e)
{
	const struct job_arguments *a = arguments;
	json_t *job = NULL;
	int r = report_job(c->db, &a->id, &job, e);
	if (r < 0)
		return r;
	if (c->json) {
		output_json(job, c->out);
	} else {
		output_record(show_columns, job, c->out);
		(void)fputc('\n', c->out);
		output_table(attempt_columns, json_object_get(job, "attempts"), "No attempt has ended yet.", c->out);
	}
	json_decref(job);
	return 0;
}

static int retry(struct ctl *c, const void *arguments, struct error *e)
{
	const struct job_arguments *a = arguments;
	struct uuid id;
	char text[UUID_TEXT_BYTES];
	int r = redrive_job(c->db, c->actor, &a->id, &id, e);
	if (r < 0)
		return r;
	uuid_format(&id, text);
	return ctl_done(c, "queued", text);
}

const struct command job_commands[] = {
    {.verb = "list",
     .summary = "List jobs",
     .description = "Without options: the unfinished ones, the next due first. Finished jobs are kept for some\n"
		    "days.",
     .examples = "  rushesctl job list --state failed --kind push\n"
		 "  rushesctl job list --recording 0193b2c4-6f1e-7a3b-9c52-3f0d8f6f1a77",
     .options = list_options,
     .arguments_size = sizeof(struct list_arguments),
     .flags = COMMAND_DATABASE,
     .run = list},
    {.verb = "show",
     .summary = "Show one job and its attempts",
     .options = job_options,
     .arguments_size = sizeof(struct job_arguments),
     .flags = COMMAND_DATABASE,
     .run = show},
    {.verb = "retry",
     .summary = "Give a job a fresh schedule of attempts",
     .description = "For a job that failed for good, or that waits for its next attempt: it is due at once and\n"
		    "has 13 attempts again. Prints the id of the job that goes on.",
     .options = job_options,
     .arguments_size = sizeof(struct job_arguments),
     .flags = COMMAND_DATABASE,
     .run = retry},
    {0},
};
