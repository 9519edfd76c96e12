#include "push_job.h"

#include "base/clock.h"
#include "domain/delivery.h"
#include "domain/target.h"
#include "object_name.h"
#include "pusher.h"

#include <string.h>

/* A database that is away when a delivery ends is asked again for as long as the lease would hold: the file need not be
 * sent a second time. */
#define COMMIT_US	((int64_t)20000000)
#define COMMIT_PAUSE_US 500000

/* One running job. */
struct work {
	struct pusher *pusher;
	struct job *job;
	json_t *context;
	json_t *target; /* borrowed from the context */
	const char *account;
	struct delivery_names names;
};

static void work_done(struct work *w)
{
	delivery_names_done(&w->names);
	json_decref(w->context);
}

static const char *text_of(const json_t *object, const char *name)
{
	return json_string_value(json_object_get(object, name));
}

static const char *or_empty(const char *text)
{
	return text ? text : "";
}

static int work_init(struct work *w, struct job *j, struct pusher *p, struct error *e)
{
	w->pusher = p;
	w->job = j;
	int r = job_context(platform_db(p->platform), j, &w->context, e);
	if (r < 0)
		return r;
	w->target = json_object_get(w->context, "target");
	w->account = text_of(w->context, "account");
	if (!json_is_object(w->target) || !w->account || !text_of(w->target, "kind"))
		return error_set(e, ERR_RETRY, "the job's facts name no target");
	return 0;
}

static bool is_stopped(void *arg)
{
	const struct work *w = arg;
	return job_stop(w->job) != JOB_GO_ON;
}

static int on_upload(void *arg, const char *upload, struct error *e)
{
	struct work *w = arg;
	return delivery_set_upload(platform_db(w->pusher->platform), w->job, &w->names.copy, upload, e);
}

static struct object_facts facts_of(const struct work *w)
{
	const char *conversion = or_empty(text_of(w->context, "conversion"));
	return (struct object_facts){.account_hash = or_empty(text_of(w->context, "account_hash")),
				     .recording = or_empty(text_of(w->context, "recording")),
				     .opened_at = or_empty(text_of(w->context, "opened_at")),
				     .file_kind = or_empty(text_of(w->context, "file_kind")),
				     .mime = text_of(w->context, "mime"),
				     .is_converted = strcmp(conversion, "never") != 0};
}

/* The full name at the target: an s3 target's path is a prefix of keys, a file target's is the folder itself. */
static int name_at_target(const struct work *w, enum target_kind kind, char **ret, struct error *e)
{
	char name[OBJECT_NAME_BYTES];
	struct object_facts facts = facts_of(w);
	int r = object_name(&facts, name, e);
	if (r < 0)
		return r;
	const char *prefix =
	    kind == TARGET_FILE ? "" : or_empty(text_of(json_object_get(w->target, "endpoint"), "path"));
	size_t n = strlen(prefix);
	while (n > 0 && prefix[n - 1] == '/')
		n--;
	if (asprintf(ret, "%.*s%s%s", (int)n, prefix, n > 0 ? "/" : "", name) < 0) {
		*ret = NULL;
		return error_nomem(e);
	}
	return 0;
}

/* Commits which names may exist at the target from now on. */
static int begin(struct work *w, struct error *e)
{
	enum target_kind kind = target_kind_from_string(text_of(w->target, "kind"));
	_cleanup_(freep) char *location = NULL;
	char temporary[OBJECT_NAME_BYTES], copy_text[UUID_TEXT_BYTES];
	struct uuid copy;
	if (kind == TARGET_KIND_MAX)
		return error_set(e, ERR_RETRY, "targets of kind %s are not served", text_of(w->target, "kind"));
	const char *earlier = text_of(json_object_get(w->context, "copy"), "id");
	if (!earlier || !uuid_parse(earlier, &copy))
		copy = uuid_v7();
	uuid_format(&copy, copy_text);
	int r = name_at_target(w, kind, &location, e);
	if (r == 0 && kind == TARGET_FILE)
		r = object_temporary(location, copy_text, temporary, e);
	if (r < 0)
		return r;
	return delivery_begin(platform_db(w->pusher->platform), w->job, &copy, location,
			      kind == TARGET_FILE ? temporary : NULL, &w->names, e);
}

/* The message to the child. Its context goes without the target, which the child knows. */
static json_t *push_message(const struct work *w)
{
	char copy[UUID_TEXT_BYTES], type[OBJECT_TYPE_BYTES], traceparent[TRACEPARENT_BYTES];
	struct object_facts facts = facts_of(w);
	bool again = json_is_object(json_object_get(w->context, "copy"));
	json_t *context = json_copy(w->context);
	uuid_format(&w->names.copy, copy);
	object_content_type(&facts, type);
	trace_format(&w->job->trace, traceparent);
	(void)json_object_del(context, "target");
	return json_pack("{s:s,s:o,s:{s:s,s:s,s:s?,s:s?,s:b},s:s,s:s?}", "op", "push", "context", context, "names",
			 "copy", copy, "location", w->names.location, "temporary", w->names.temporary, "upload_id",
			 w->names.upload_id, "again", (int)again, "content_type", type, "traceparent",
			 traceparent[0] ? traceparent : NULL);
}

/* Runs `commit` until the database has answered. */
static int commit(struct work *w, int (*once)(struct work *, json_t *, struct error *), json_t *answer, struct error *e)
{
	int64_t end = clock_monotonic_us() + COMMIT_US;
	for (;;) {
		int r = once(w, answer, e);
		if (r != ERR_RETRY || clock_monotonic_us() > end || is_stopped(w))
			return r;
		(void)usleep(COMMIT_PAUSE_US);
	}
}

static int commit_push(struct work *w, json_t *answer, struct error *e)
{
	json_int_t encryption = json_integer_value(json_object_get(answer, "encryption"));
	if (encryption < DELIVERY_ENCRYPTION_UNKNOWN || encryption > DELIVERY_NOT_ENCRYPTED)
		encryption = DELIVERY_ENCRYPTION_UNKNOWN;
	return delivery_done(platform_db(w->pusher->platform), w->job, &w->names.copy,
			     json_object_get(answer, "evidence"), (enum delivery_encryption)encryption, e);
}

static int commit_removal(struct work *w, json_t *answer, struct error *e)
{
	return delivery_removed(platform_db(w->pusher->platform), w->job, json_object_get(answer, "evidence"), e);
}

/* An upload that the child aborted need not be aborted again. */
static void forget_upload(struct work *w)
{
	struct error ignored = {0};
	(void)!delivery_set_upload(platform_db(w->pusher->platform), w->job, &w->names.copy, NULL, &ignored);
}

/* A job waits for a spool that may come back; an answer of "no" or "gone" is not the input's fault. */
static int job_error(int r, struct error *e)
{
	if (r == ERR_NOTFOUND || r == ERR_DENIED || r == ERR_FATAL)
		r = e->code = ERR_RETRY;
	return r;
}

static int push(struct work *w, struct error *e)
{
	json_t *answer = NULL;
	bool clean = false;
	const struct delivery_watch watch = {on_upload, is_stopped, w};
	if (!json_is_object(json_object_get(w->context, "source")))
		return error_set(e, ERR_RETRY, "no spool holds the file");
	int r = begin(w, e);
	if (r < 0)
		return r;
	r = delivery_run(w->pusher->deliveries, w->account, w->target, push_message(w), &watch, &answer, &clean, e);
	if (r == 0)
		r = commit(w, commit_push, answer, e);
	else if (clean)
		forget_upload(w);
	json_decref(answer);
	return r;
}

int push_job_run(struct job *j, void *state, struct error *e)
{
	struct pusher *p = state;
	_cleanup_(work_done) struct work w = {0};
	int r = work_init(&w, j, p, e);
	if (r < 0)
		return job_error(r, e);
	r = push(&w, e);
	metric_count(p->pushes, text_of(w.target, "kind"), or_empty(text_of(w.context, "file_kind")),
		     r == 0 ? "delivered" : error_code_to_string(r));
	if (r == 0)
		metric_add(p->bytes,
			   (double)json_integer_value(json_object_get(json_object_get(w.context, "file"), "bytes")));
	return r < 0 ? job_error(r, e) : 0;
}

static int removal(struct work *w, struct error *e)
{
	json_t *answer = NULL, *context = json_copy(w->context);
	bool clean = false;
	const struct delivery_watch watch = {on_upload, is_stopped, w};
	(void)json_object_del(context, "target");
	json_t *message = json_pack("{s:s,s:o}", "op", "delete", "context", context);
	int r = delivery_run(w->pusher->deliveries, w->account, w->target, message, &watch, &answer, &clean, e);
	if (r == 0)
		r = commit(w, commit_removal, answer, e);
	json_decref(answer);
	return r;
}

int delete_job_run(struct job *j, void *state, struct error *e)
{
	struct pusher *p = state;
	_cleanup_(work_done) struct work w = {0};
	int r = work_init(&w, j, p, e);
	if (r < 0)
		return job_error(r, e);
	r = removal(&w, e);
	metric_count(p->removals, text_of(w.target, "kind"), r == 0 ? "removed" : error_code_to_string(r));
	/* a deletion is never given up */
	if (r == ERR_REJECT)
		r = e->code = ERR_RETRY;
	return r < 0 ? job_error(r, e) : 0;
}
