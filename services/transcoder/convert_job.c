#include "convert_job.h"

#include "output_copy.h"
#include "supervisor.h"

#include "base/clock.h"
#include "domain/key.h"

#include <fcntl.h>
#include <sodium.h>

/* Room without which nothing is claimed. */
#define ROOM_BYTES (256 * MIB)

static const enum file_kind KINDS[OUTPUT_MAX] = {
    [OUTPUT_MAIN] = FILE_MAIN, [OUTPUT_SNAPSHOT] = FILE_SNAPSHOT, [OUTPUT_FILMSTRIP] = FILE_FILMSTRIP};

struct converting {
	struct transcoder *transcoder;
	struct job *job;
	struct uuid raw; /* the copy that is converted */
	uint64_t raw_bytes;
	int input_fd;
	struct output_copy outputs[OUTPUT_MAX];
	struct conversion_state state;
	struct facts facts;
	uint8_t key[SEALED_KEY_BYTES];
	bool told; /* the outcome was sent to the database: the files are no longer ours to remove */
};

bool convert_job_may_take(void *state)
{
	struct transcoder *t = state;
	return spool_admits(t->spool, ROOM_BYTES);
}

static int read_context(struct converting *c, json_t *context, struct error *e)
{
	json_t *input = json_object_get(context, "input");
	const char *copy = json_string_value(json_object_get(input, "copy"));
	json_int_t bytes = json_integer_value(json_object_get(input, "bytes"));
	if (!copy || !uuid_parse(copy, &c->raw) || bytes < 0)
		return error_set(e, ERR_RETRY, "the raw recording is not on this spool");
	c->raw_bytes = (uint64_t)bytes;
	return recording_key_from_context(c->transcoder->root, &c->job->account, &c->job->recording,
					  json_object_get(context, "key"), c->key, e);
}

static int prepare(struct converting *c, struct error *e)
{
	struct transcoder *t = c->transcoder;
	json_t *context = NULL;
	int r = job_context(platform_db(t->platform), c->job, &context, e);
	if (r < 0)
		return r;
	r = read_context(c, context, e);
	json_decref(context);
	if (r == 0)
		r = spool_open_copy(t->spool, &c->raw, O_RDONLY, &c->input_fd, e);
	/* a row says that it is here; that it is not is the keeper's finding, not the job's end */
	if (r == ERR_NOTFOUND)
		r = e->code = ERR_RETRY;
	for (int i = 0; i < OUTPUT_MAX && r == 0; i++)
		r = output_copy_begin(t, c->job, KINDS[i], i == OUTPUT_MAIN ? c->raw_bytes : 0, &c->outputs[i], e);
	return r;
}

static bool on_ask(void *arg)
{
	struct converting *c = arg;
	return job_stop(c->job) != JOB_GO_ON;
}

static void on_progress(void *arg, double seconds, double fraction)
{
	struct converting *c = arg;
	conversions_update(&c->transcoder->conversions, &c->state, seconds, fraction);
}

static int convert(struct converting *c, struct error *e)
{
	struct transcoder *t = c->transcoder;
	struct supervisor_job job = {
	    .input_fd = c->input_fd,
	    .input = {.kind = SEALED_RAW, .account = c->job->account, .recording = c->job->recording},
	    .key = c->key,
	    .input_bytes = c->raw_bytes,
	    .encoder_threads = t->encoder_threads,
	    .cancelled = on_ask,
	    .progress = on_progress,
	    .arg = c,
	};
	for (int i = 0; i < OUTPUT_MAX; i++) {
		job.output_fds[i] = c->outputs[i].fd;
		job.outputs[i] = c->outputs[i].header;
	}
	bool alarm_raised;
	int r = supervisor_run(&job, &c->facts, &alarm_raised, e);
	if (alarm_raised) {
		char recording[UUID_TEXT_BYTES], id[UUID_TEXT_BYTES];
		uuid_format(&c->job->recording, recording);
		uuid_format(&c->job->id, id);
		const struct log_context ctx = {.recording = recording, .job = id, .trace = &c->job->trace};
		metric_add(t->alarms, 1);
		log_error(&ctx, "alarm: the conversion of this recording made a forbidden system call");
	}
	for (int i = 0; i < OUTPUT_MAX && r == 0; i++)
		if (c->facts.outputs[i].made)
			r = output_copy_settle(t, &c->outputs[i], c->key, c->facts.outputs[i].bytes, e);
	return r;
}

static int commit(struct converting *c, struct error *e)
{
	struct transcoder *t = c->transcoder;
	_cleanup_(db_result_freep) struct db_result *jobs = NULL;
	struct file_made made[OUTPUT_MAX];
	size_t n = 0;
	for (int i = 0; i < OUTPUT_MAX; i++)
		if (c->facts.outputs[i].made)
			made[n++] = (struct file_made){.kind = KINDS[i],
						       .copy = c->outputs[i].header.copy,
						       .bytes = c->facts.outputs[i].bytes,
						       .sha256 = c->facts.outputs[i].sha256,
						       .facts = facts_of_output(&c->facts, (enum output)i)};
	/* from here on an answer may be lost while the database knows the files as present */
	c->told = true;
	int r = file_converted(platform_db(t->platform), c->job, made, n, &jobs, e);
	for (size_t i = 0; i < n; i++)
		json_decref(made[i].facts);
	if (r == 0)
		worker_hint_rows(platform_bus(t->platform), t->config->platform.region, jobs, &c->job->trace);
	return r;
}

static void count(struct transcoder *t, const struct converting *c, int r)
{
	const char *result = r == 0 ? (c->facts.video_copied ? "copied" : "encoded") : error_code_to_string(r);
	metric_count(t->conversions_total, result);
	if (r == 0)
		metric_add(t->converted_seconds, c->facts.duration_s);
}

int convert_job_run(struct job *j, void *state, struct error *e)
{
	struct transcoder *t = state;
	struct converting c = {.transcoder = t, .job = j, .input_fd = -1};
	for (int i = 0; i < OUTPUT_MAX; i++)
		c.outputs[i].fd = -1;
	conversions_add(&t->conversions, &c.state, j);
	int r = prepare(&c, e);
	if (r == 0)
		r = convert(&c, e);
	if (r == 0)
		r = commit(&c, e);
	count(t, &c, r);
	conversions_remove(&t->conversions, &c.state);
	for (int i = 0; i < OUTPUT_MAX; i++) {
		if (r < 0 && !c.told)
			output_copy_abandon(t, &c.outputs[i]);
		output_copy_close(&c.outputs[i]);
	}
	/* what this recording does not give (pictures of sound alone) is `going` now */
	if (r == 0 && !c.facts.has_video)
		keeper_wake(t->keeper);
	closep(&c.input_fd);
	sodium_memzero(c.key, sizeof(c.key));
	return r;
}
