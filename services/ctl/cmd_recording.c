#include "certificate.h"
#include "commands.h"
#include "ctl.h"
#include "recording_delete.h"
#include "verify.h"

#include "domain/account.h"
#include "domain/hold.h"
#include "domain/report.h"
#include "domain/retention.h"
#include "domain/target.h"

#include <errno.h>
#include <limits.h>
#include <string.h>

struct list_arguments {
	const char *account, *state;
	uint64_t limit;
};

struct recording_arguments {
	struct uuid id;
};

struct hold_arguments {
	struct uuid id;
	const char *reason;
};

struct certificate_arguments {
	struct uuid id;
	const char *out;
};

static const char *const states[] = {"open",	 "saved",   "processed", "closed", "failed-copy", "failed-conversion",
				     "deleting", "deleted", NULL};

#define AT(FIELD) .offset = offsetof(struct list_arguments, FIELD)

static const struct option list_options[] = {
    {.name = "--account",
     .value = "ACCOUNT",
     .type = OPTION_STRING,
     AT(account),
     .help = "only of this one, id or name"},
    {.name = "--state",
     .value = "STATE",
     .type = OPTION_CHOICE,
     .choices = states,
     AT(state),
     .help = "only in this state"},
    {.name = "--limit",
     .value = "N",
     .type = OPTION_UINT,
     .min = 1,
     .max = 10000,
     AT(limit),
     .help = "the newest ones; default 50"},
    {0},
};

static const struct option recording_options[] = {
    {.name = "RECORDING",
     .type = OPTION_UUID,
     .required = true,
     .offset = offsetof(struct recording_arguments, id),
     .help = "the recording's id"},
    {0},
};

static const struct option hold_options[] = {
    {.name = "RECORDING",
     .type = OPTION_UUID,
     .required = true,
     .offset = offsetof(struct hold_arguments, id),
     .help = "the recording's id"},
    {.name = "--reason",
     .value = "TEXT",
     .type = OPTION_STRING,
     .required = true,
     .max = 500,
     .offset = offsetof(struct hold_arguments, reason),
     .help = "why; it stays in the audit"},
    {0},
};

static const struct option certificate_options[] = {
    {.name = "RECORDING",
     .type = OPTION_UUID,
     .required = true,
     .offset = offsetof(struct certificate_arguments, id),
     .help = "the recording's id"},
    {.name = "--out",
     .value = "FILE",
     .type = OPTION_STRING,
     .max = PATH_MAX - 1,
     .offset = offsetof(struct certificate_arguments, out),
     .help = "file to make for the certificate as JSON; it must not exist"},
    {0},
};

static const struct column list_columns[] = {
    {"id", "RECORDING", COLUMN_TEXT},
    {"account_name", "ACCOUNT", COLUMN_TEXT},
    {"environment_name", "ENV", COLUMN_TEXT},
    {"state", "STATE", COLUMN_TEXT},
    {"opened_at", "OPENED", COLUMN_TIME},
    {"bytes", "RAW", COLUMN_SIZE},
    {"duration_s", "DURATION", COLUMN_DURATION},
    {"copies", "COPIES", COLUMN_NUMBER},
    {0},
};

static const struct column head_columns[] = {
    {"id", "recording", COLUMN_TEXT},
    {"account", "account", COLUMN_TEXT},
    {"environment_name", "environment", COLUMN_TEXT},
    {"link", "link", COLUMN_TEXT},
    {"state", "state", COLUMN_TEXT},
    {"delivered", "main delivered", COLUMN_TEXT},
    {"stop", "ended by", COLUMN_TEXT},
    {"recovered", "recovered", COLUMN_TEXT},
    {"truncated", "truncated", COLUMN_TEXT},
    {"held", "held", COLUMN_TEXT},
    {"mime", "type", COLUMN_TEXT},
    {"bytes", "raw bytes", COLUMN_SIZE},
    {"sha256", "raw SHA-256", COLUMN_TEXT},
    {"delete_rule", "deleted by rule", COLUMN_TEXT},
    {0},
};

static const struct column time_columns[] = {
    {"opened", "opened", COLUMN_TIME},	   {"sent", "sent", COLUMN_TIME},	    {"saved", "saved", COLUMN_TIME},
    {"copied", "copied", COLUMN_TIME},	   {"processed", "processed", COLUMN_TIME}, {"closed", "closed", COLUMN_TIME},
    {"deleting", "deleting", COLUMN_TIME}, {"deleted", "deleted", COLUMN_TIME},	    {0},
};

static const struct column file_columns[] = {
    {"kind", "FILE", COLUMN_TEXT},
    {"bytes", "BYTES", COLUMN_NUMBER},
    {"facts.codec", "CODEC", COLUMN_TEXT},
    {"facts.audio_codec", "AUDIO", COLUMN_TEXT},
    {"facts.duration_s", "DURATION", COLUMN_DURATION},
    {"sha256", "SHA-256", COLUMN_TEXT},
    {0},
};

static const struct column copy_columns[] = {
    {"what", "COPY OF", COLUMN_TEXT},
    {"where", "PLACE", COLUMN_TEXT},
    {"state", "STATE", COLUMN_TEXT},
    {"due_at", "GOES", COLUMN_TIME},
    {"rule", "BY RULE", COLUMN_TEXT},
    {"location", "LOCATION", COLUMN_TEXT},
    {0},
};

static const struct column job_columns[] = {
    {"id", "JOB", COLUMN_TEXT},
    {"kind", "KIND", COLUMN_TEXT},
    {"file_kind", "FILE", COLUMN_TEXT},
    {"state", "STATE", COLUMN_TEXT},
    {"failures", "FAILED", COLUMN_NUMBER},
    {"last_error", "LAST ERROR", COLUMN_TEXT},
    {0},
};

static const struct column explain_columns[] = {
    {"of", "COPY OF", COLUMN_TEXT},  {"name", "AT", COLUMN_TEXT},     {"state", "STATE", COLUMN_TEXT},
    {"due_at", "GOES", COLUMN_TIME}, {"by", "BY RULE", COLUMN_TEXT},  {"paused", "PAUSED", COLUMN_TEXT},
    {"because", "WHY", COLUMN_TEXT}, {"place", "PLACE", COLUMN_TEXT}, {0},
};

static const struct column look_columns[] = {
    {"of", "COPY OF", COLUMN_TEXT},
    {"name", "AT", COLUMN_TEXT},
    {"due_at", "LOOKED FOR AT", COLUMN_TIME},
    {"because", "WHY", COLUMN_TEXT},
    {0},
};

static const struct column check_columns[] = {{"check", "CHECK", COLUMN_TEXT},
					      {"result", "RESULT", COLUMN_TEXT},
					      {"detail", "DETAIL", COLUMN_TEXT},
					      {0}};

static const char *text_of(json_t *o, const char *name)
{
	const char *text = json_string_value(json_object_get(o, name));
	return text ? text : "";
}

/* Words for people: which file or segment, and a place's name instead of its id. */
static void name_copies(json_t *copies)
{
	size_t i = 0;
	json_t *copy = NULL;
	json_array_foreach (copies, i, copy) {
		json_t *segment = json_object_get(copy, "segment");
		const char *service = text_of(copy, "node_service");
		const char *target = text_of(copy, "target");
		const char *id = strchr(text_of(copy, "place"), '/');
		if (json_is_integer(segment))
			(void)json_object_set_new(copy, "what",
						  json_sprintf("segment %lld", (long long)json_integer_value(segment)));
		else
			(void)json_object_set_new(copy, "what", json_string(text_of(copy, "kind")));
		(void)json_object_set_new(copy, "where",
					  *target ? json_sprintf("target %s (%s)", target, text_of(copy, "owner"))
						  : json_sprintf("%s %.8s", service, id ? id + 1 : ""));
	}
}

static int list(struct ctl *c, const void *arguments, struct error *e)
{
	const struct list_arguments *a = arguments;
	struct uuid account;
	struct report_recordings f = {.state = a->state, .limit = a->limit ? (unsigned)a->limit : 50};
	json_t *recordings = NULL;
	int r = a->account ? account_find(c->db, a->account, &account, e) : 0;
	f.account = a->account ? &account : NULL;
	if (r == 0)
		r = report_recordings(c->db, &f, &recordings, e);
	return r < 0 ? r
		     : ctl_print_list(c, list_columns, recordings,
				      "There is no such recording. A link asks for one: rushesctl link create.");
}

static int show(struct ctl *c, const void *arguments, struct error *e)
{
	const struct recording_arguments *a = arguments;
	json_t *recording = NULL;
	int r = report_recording(c->db, &a->id, &recording, e);
	if (r < 0)
		return r;
	if (c->json) {
		output_json(recording, c->out);
		json_decref(recording);
		return 0;
	}
	name_copies(json_object_get(recording, "copies"));
	output_record(head_columns, recording, c->out);
	(void)fputs("\nTimes (UTC)\n", c->out);
	output_record(time_columns, json_object_get(recording, "times"), c->out);
	(void)fputs("\nFiles\n", c->out);
	output_table(file_columns, json_object_get(recording, "files"), "There is no file yet.", c->out);
	(void)fputs("\nCopies\n", c->out);
	output_table(copy_columns, json_object_get(recording, "copies"), "There is no copy.", c->out);
	(void)fputs("\nJobs\n", c->out);
	output_table(job_columns, json_object_get(recording, "jobs"), "There is no job.", c->out);
	json_decref(recording);
	return 0;
}

static int explain(struct ctl *c, const void *arguments, struct error *e)
{
	const struct recording_arguments *a = arguments;
	json_t *recording = NULL;
	int r = retention_explain(c->db, &a->id, &recording, e);
	if (r < 0)
		return r;
	if (c->json) {
		output_json(recording, c->out);
	} else {
		json_t *whole = json_object_get(recording, "whole");
		const char *state = text_of(recording, "state");
		const char *rule = text_of(whole, "rule"), *due = text_of(whole, "due_at");
		const char *personal = text_of(recording, "personal_due_at");
		bool is_decided = strncmp(state, "delet", strlen("delet")) == 0;
		(void)fprintf(c->out, "The recording is %s%s%s%s.\n", state, is_decided ? " by " : "",
			      is_decided ? rule : "", json_is_true(json_object_get(recording, "held")) ? ", held" : "");
		if (*rule && !is_decided)
			(void)fprintf(c->out, "It goes whole at %.10s %.8s UTC by %s.\n", due,
				      strlen(due) >= 19 ? due + 11 : "", rule);
		if (*personal)
			(void)fprintf(c->out, "Its personal metadata goes at %.10s %.8s UTC.\n", personal,
				      strlen(personal) >= 19 ? personal + 11 : "");
		(void)fputc('\n', c->out);
		output_table(explain_columns, json_object_get(recording, "copies"), "There is no copy that we know of.",
			     c->out);
		if (json_array_size(json_object_get(recording, "second_looks")) > 0) {
			(void)fputs("\nRemoved copies that are looked for again\n", c->out);
			output_table(look_columns, json_object_get(recording, "second_looks"), "", c->out);
		}
	}
	json_decref(recording);
	return 0;
}

static int set_hold(struct ctl *c, const struct hold_arguments *a, bool on, struct error *e)
{
	char id[UUID_TEXT_BYTES];
	uuid_format(&a->id, id);
	int r = hold_set(c->db, c->actor, &a->id, on, a->reason, e);
	return r < 0 ? r : ctl_done(c, on ? "held" : "released", id);
}

static int hold(struct ctl *c, const void *arguments, struct error *e)
{
	return set_hold(c, arguments, true, e);
}

static int release(struct ctl *c, const void *arguments, struct error *e)
{
	return set_hold(c, arguments, false, e);
}

/* Delivered files of `file` targets whose folder is on this machine are read. */
static int verify_targets(struct ctl *c, json_t *recording, json_t *checks, struct error *e)
{
	size_t i = 0, k = 0;
	json_t *copy = NULL, *file = NULL;
	json_array_foreach (json_object_get(recording, "copies"), i, copy) {
		struct uuid id;
		json_t *target = NULL;
		char check[128];
		const char *place = text_of(copy, "place");
		if (strcmp(text_of(copy, "target_kind"), "file") != 0 || strncmp(place, "target/", 7) != 0 ||
		    !uuid_parse(place + 7, &id))
			continue;
		int r = target_get(c->db, &id, &target, e);
		if (r < 0)
			return r;
		(void)snprintf(check, sizeof(check), "%s file at %s", text_of(copy, "kind"), text_of(copy, "target"));
		json_array_foreach (json_object_get(recording, "files"), k, file)
			if (strcmp(text_of(file, "kind"), text_of(copy, "kind")) == 0)
				verify_local_copy(checks, check, text_of(json_object_get(target, "endpoint"), "path"),
						  text_of(copy, "location"), file);
		json_decref(target);
	}
	return 0;
}

static int verify(struct ctl *c, const void *arguments, struct error *e)
{
	const struct recording_arguments *a = arguments;
	json_t *recording = NULL;
	int r = report_recording(c->db, &a->id, &recording, e);
	if (r < 0)
		return r;
	json_t *checks = json_array();
	verify_chain(recording, checks);
	r = verify_targets(c, recording, checks, e);
	json_decref(recording);
	size_t failed = verify_count(checks, VERIFY_FAILED);
	if (r < 0) {
		json_decref(checks);
		return r;
	}
	(void)ctl_print_list(c, check_columns, checks, "There is nothing to check.");
	return failed ? error_set(e, ERR_CORRUPT, "%zu checks failed", failed) : 0;
}

static int write_new(const char *path, json_t *value, struct error *e)
{
	FILE *f = fopen(path, "wxe");
	if (!f)
		return error_set_errno(e, errno == EEXIST ? ERR_CONFLICT : ERR_REJECT, errno, "cannot make %s", path);
	output_json(value, f);
	bool written = fflush(f) == 0;
	int error = errno;
	if (fclose(f) == 0 && written)
		return 0;
	(void)unlink(path);
	return error_set_errno(e, ERR_RETRY, error, "cannot write %s", path);
}

static int certificate(struct ctl *c, const void *arguments, struct error *e)
{
	const struct certificate_arguments *a = arguments;
	json_t *value = NULL;
	int r = certificate_make(c->db, &a->id, (int64_t)c->config.backup_reach_ms, &value, e);
	if (r == 0 && a->out)
		r = write_new(a->out, value, e);
	if (r == 0 && c->json)
		output_json(value, c->out);
	else if (r == 0)
		certificate_print(value, c->out);
	json_decref(value);
	return r;
}

#define OF_ONE \
	.options = recording_options, .arguments_size = sizeof(struct recording_arguments), .flags = COMMAND_DATABASE

const struct command recording_commands[] = {
    {.verb = "list",
     .summary = "List recordings, the newest first",
     .examples = "  rushesctl recording list --account Northwind --state failed-conversion",
     .options = list_options,
     .arguments_size = sizeof(struct list_arguments),
     .flags = COMMAND_DATABASE,
     .run = list},
    {.verb = "show", .summary = "Show one recording: times, files, copies, jobs", OF_ONE, .run = show},
    {.verb = "explain", .summary = "Say why each copy is still here, and when it goes", OF_ONE, .run = explain},
    {.verb = "hold",
     .summary = "Hold a recording: no rule takes it, only a person's deletion",
     .description = "For disputes and legal duties. It counts from now on, also for what was due already and not\n"
		    "decided. Due dates are computed again when it is released.",
     .examples = "  rushesctl recording hold 0193b2c4-6f1e-7a3b-9c52-3f0d8f6f1a77 --reason \"case 4711\"",
     .options = hold_options,
     .arguments_size = sizeof(struct hold_arguments),
     .flags = COMMAND_DATABASE,
     .run = hold},
    {.verb = "release",
     .summary = "Lift a hold: the rules apply again, also those that were due meanwhile",
     .options = hold_options,
     .arguments_size = sizeof(struct hold_arguments),
     .flags = COMMAND_DATABASE,
     .run = release},
    {.verb = "verify",
     .summary = "Check a recording's sizes and hashes along its way",
     .description = "Compares what every hop recorded: segments, raw, files, and what the targets confirmed.\n"
		    "Delivered files of a target `file` are read whole if their folder is on this machine. Sealed\n"
		    "copies on spools are not opened: rushesctl holds no key. Exit status 1 when a check fails.",
     OF_ONE,
     .run = verify},
    {.verb = "certificate",
     .summary = "Prove that a recording was deleted, for checking offline",
     .description = "Writes every ledger entry of the recording with its audit path and the signed heads: what\n"
		    "evidence stands for each copy, and until when backups of the database may hold what. With\n"
		    "the published key it is checked by tools/verify-certificate.mjs, or by hand\n"
		    "(docs/certificates.md).",
     .examples = "  rushesctl recording certificate 0193b2c4-6f1e-7a3b-9c52-3f0d8f6f1a77 --out proof.json",
     .options = certificate_options,
     .arguments_size = sizeof(struct certificate_arguments),
     .flags = COMMAND_DATABASE,
     .run = certificate},
    {.verb = "delete",
     .summary = "Delete a recording everywhere, for good",
     .description = "Decides the deletion in one transaction: the recording's key is destroyed, its jobs are\n"
		    "cancelled, and every copy that we hold goes. Copies on a client's own target stay theirs,\n"
		    "unless the target says otherwise. --wait follows the deletion to its end and prints the hash\n"
		    "of the ledger's closing entry as certificate.",
     .examples = "  rushesctl recording delete 0193b2c4-6f1e-7a3b-9c52-3f0d8f6f1a77 \\\n"
		 "      --reason \"the customer asked for it\" --wait --yes",
     .options = recording_delete_options,
     .arguments_size = sizeof(struct recording_delete_arguments),
     .flags = COMMAND_DATABASE | COMMAND_DESTRUCTIVE,
     .run = recording_delete_run},
    {.verb = "deletion",
     .summary = "Say how far a deletion is: what is left and why, what is proven, until when",
     OF_ONE,
     .run = recording_deletion_run},
    {.verb = "overdue",
     .summary = "List what is left of deletions that are not complete in time, and why",
     .description = "What the janitor's alarm rushes_deletion_overdue counts, a row for each copy that is left.",
     .options = recording_overdue_options,
     .arguments_size = sizeof(struct recording_overdue_arguments),
     .flags = COMMAND_DATABASE,
     .run = recording_overdue_run},
    {0},
};
