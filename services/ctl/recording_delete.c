#include "recording_delete.h"

#include "ctl.h"

#include "base/clock.h"
#include "domain/deletion.h"
#include "domain/ledger.h"

#include <string.h>
#include <time.h>

#define POLL_MS		300
#define WAIT_MS_DEFAULT ((int64_t)10 * 60000)
#define LEFT_TEXT_BYTES 256

#define AT(FIELD) .offset = offsetof(struct recording_delete_arguments, FIELD)

const struct option recording_delete_options[] = {
    {.name = "RECORDING", .type = OPTION_UUID, .required = true, AT(id), .help = "the recording's id"},
    {.name = "--reason",
     .value = "TEXT",
     .type = OPTION_STRING,
     .required = true,
     .max = 500,
     AT(reason),
     .help = "why; it stays in the audit"},
    {.name = "--wait", .type = OPTION_FLAG, AT(wait), .help = "go on until nothing that we hold is left"},
    {.name = "--timeout",
     .value = "TIME",
     .type = OPTION_DURATION,
     .min = 1000,
     AT(limit_ms),
     .help = "longest wait; default 10m"},
    {0},
};

/* "main on target/…: connection refused" of the first copy that is left. */
static void describe_left(json_t *copies, char ret[LEFT_TEXT_BYTES])
{
	json_t *first = json_array_get(copies, 0);
	const char *place = json_string_value(json_object_get(first, "place"));
	const char *error = json_string_value(json_object_get(first, "reason"));
	(void)snprintf(ret, LEFT_TEXT_BYTES, "%zu copies are left%s%s%s%.120s", json_array_size(copies),
		       place ? ", the first on " : "", place ? place : "", error ? ": " : "", error ? error : "");
}

/* `*ret` is what is left: an empty array when the deletion is complete. */
static int follow(struct ctl *c, const struct recording_delete_arguments *a, json_t **ret, struct error *e)
{
	const struct timespec pause = {0, (long)POLL_MS * 1000000};
	int64_t end = clock_monotonic_us() + (a->limit_ms ? a->limit_ms : WAIT_MS_DEFAULT) * 1000;
	size_t left_before = SIZE_MAX;
	for (;;) {
		json_t *progress = NULL;
		int r = deletion_progress(c->db, &a->id, &progress, e);
		if (r < 0)
			return r;
		json_t *copies = json_incref(json_object_get(progress, "left"));
		const char *state = json_string_value(json_object_get(progress, "state"));
		bool done = state && strcmp(state, "deleted") == 0;
		json_decref(progress);
		if (done || clock_monotonic_us() >= end) {
			*ret = copies;
			return 0;
		}
		if (json_array_size(copies) != left_before && !c->json)
			(void)fprintf(stderr, "%zu copies to go\n", json_array_size(copies));
		left_before = json_array_size(copies);
		json_decref(copies);
		(void)nanosleep(&pause, NULL);
	}
}

static int finish(struct ctl *c, const char *id, json_t *left, bool waited, const char *certificate, struct error *e)
{
	char what[LEFT_TEXT_BYTES];
	describe_left(left, what);
	if (c->json) {
		json_t *o = json_pack("{s:s, s:s, s:s?, s:O}", "id", id, "state", certificate ? "deleted" : "deleting",
				      "certificate", certificate, "left", left);
		output_json(o, c->out);
		json_decref(o);
	} else if (certificate) {
		(void)fprintf(c->out, "deleted %s\ncertificate %s\n", id, certificate);
	} else {
		(void)fprintf(c->out, "deleting %s\n", id);
	}
	if (waited && !certificate)
		return error_set(e, ERR_RETRY, "the deletion is decided, but not complete yet: %s", what);
	return 0;
}

int recording_delete_run(struct ctl *c, const void *arguments, struct error *e)
{
	const struct recording_delete_arguments *a = arguments;
	char id[UUID_TEXT_BYTES], hash[LEDGER_HASH_BYTES];
	const char *state = NULL;
	json_t *left = NULL;
	uuid_format(&a->id, id);
	int r = ctl_confirm(c, e, "deletes the recording %s everywhere; nobody can bring it back", id);
	if (r == 0)
		r = deletion_by_user(c->db, c->actor, &a->id, a->reason, &state, e);
	if (r < 0)
		return r;
	if (a->wait) {
		r = follow(c, a, &left, e);
	} else {
		json_t *progress = NULL;
		r = deletion_progress(c->db, &a->id, &progress, e);
		left = json_incref(json_object_get(progress, "left"));
		json_decref(progress);
	}
	if (r < 0)
		return r;
	r = ledger_certificate(c->db, &a->id, hash, e);
	if (r == 0 || r == ERR_NOTFOUND)
		r = finish(c, id, left, a->wait, r == 0 ? hash : NULL, e);
	json_decref(left);
	return r;
}

static const struct column deletion_columns[] = {
    {"id", "recording", COLUMN_TEXT},
    {"state", "state", COLUMN_TEXT},
    {"rule", "rule", COLUMN_TEXT},
    {"decided_at", "decided", COLUMN_TIME},
    {"deadline", "deadline", COLUMN_TIME},
    {"completed_at", "completed", COLUMN_TIME},
    {"overdue", "overdue", COLUMN_TEXT},
    {"personal_metadata", "personal metadata", COLUMN_TEXT},
    {"left_with_the_client", "left with the client", COLUMN_NUMBER},
    {0},
};

static const struct column left_columns[] = {
    {"of", "COPY OF", COLUMN_TEXT},
    {"name", "AT", COLUMN_TEXT},
    {"state", "STATE", COLUMN_TEXT},
    {"since", "SINCE", COLUMN_TIME},
    {"failures", "FAILED", COLUMN_NUMBER},
    {"next_attempt_at", "NEXT TRY", COLUMN_TIME},
    {"reason", "WHY", COLUMN_TEXT},
    {"place", "PLACE", COLUMN_TEXT},
    {0},
};

static const struct column evidence_columns[] = {
    {"entry", "ENTRY", COLUMN_NUMBER}, {"at", "TIME", COLUMN_TIME},	      {"kind", "WHAT", COLUMN_TEXT},
    {"place", "PLACE", COLUMN_TEXT},   {"evidence", "EVIDENCE", COLUMN_TEXT}, {0},
};

static const struct column look_columns[] = {
    {"copy", "COPY", COLUMN_TEXT},	   {"place", "PLACE", COLUMN_TEXT}, {"due_at", "LOOKED FOR AT", COLUMN_TIME},
    {"failures", "FAILED", COLUMN_NUMBER}, {"reason", "WHY", COLUMN_TEXT},  {0},
};

int recording_deletion_run(struct ctl *c, const void *arguments, struct error *e)
{
	const struct uuid *id = arguments;
	json_t *progress = NULL;
	int r = deletion_progress(c->db, id, &progress, e);
	if (r < 0)
		return r;
	if (c->json)
		return ctl_print_record(c, deletion_columns, progress);
	output_record(deletion_columns, progress, c->out);
	(void)fputs("\nLeft\n", c->out);
	output_table(left_columns, json_object_get(progress, "left"), "Nothing that we hold.", c->out);
	(void)fputs("\nGone\n", c->out);
	output_table(evidence_columns, json_object_get(progress, "evidence"), "Nothing yet.", c->out);
	(void)fputs("\nLooked for again\n", c->out);
	output_table(look_columns, json_object_get(progress, "second_looks"), "Nothing.", c->out);
	json_decref(progress);
	return 0;
}

#define OVERDUE_AFTER_MS ((int64_t)4 * 86400000)

const struct option recording_overdue_options[] = {
    {.name = "--after",
     .value = "TIME",
     .type = OPTION_DURATION,
     .min = 1000,
     .offset = offsetof(struct recording_overdue_arguments, after_ms),
     .help = "deletions decided longer ago; default 4d, a day before the promise ends"},
    {0},
};

static const struct column overdue_columns[] = {
    {"recording", "RECORDING", COLUMN_TEXT}, {"deleting_at", "DECIDED", COLUMN_TIME}, {"place", "PLACE", COLUMN_TEXT},
    {"reason", "WHY", COLUMN_TEXT},	     {"copy", "COPY", COLUMN_TEXT},	      {0},
};

int recording_overdue_run(struct ctl *c, const void *arguments, struct error *e)
{
	const struct recording_overdue_arguments *a = arguments;
	json_t *rows = NULL;
	int r = deletion_overdue_list(c->db, a->after_ms ? a->after_ms : OVERDUE_AFTER_MS, &rows, e);
	return r < 0 ? r : ctl_print_list(c, overdue_columns, rows, "No deletion is overdue.");
}
