#include "copy_job.h"

#include "pull.h"
#include "raw_copy.h"

#include "domain/key.h"

#include <sodium.h>
#include <unistd.h>

/* Conversions that may wait for a slot: more would only keep other transcoders from taking them. */
#define AHEAD_PER_SLOT 2

/* A follower that has all there is looks again after this, and after longer while nothing comes. */
#define LOOK_MIN_MS  50
#define LOOK_MAX_MS  2000
#define LOOK_STEP_MS 50

struct copying {
	struct transcoder *transcoder;
	struct job *job;
	struct raw_plan plan; /* the newest */
	uint8_t key[SEALED_KEY_BYTES];
	struct raw_copy *raw;
	bool has_followed;
};

bool copy_job_may_take(void *state)
{
	struct transcoder *t = state;
	struct error e = {0};
	uint64_t waiting;
	if (t->copying >= t->slots || !spool_admits(t->spool, RAW_COPY_ROOM_BYTES))
		return false;
	if (file_converts_waiting(platform_db(t->platform), spool_node(t->spool), &waiting, &e) < 0)
		return false;
	return waiting < (uint64_t)t->slots * AHEAD_PER_SLOT;
}

bool copy_job_may_follow(void *state)
{
	struct transcoder *t = state;
	return t->following < t->config->follow &&
	       spool_admits(t->spool, (t->following + (uint64_t)1) * RAW_COPY_ROOM_BYTES);
}

/* What there is to be copied now; the plan stays where nobody can say. */
static int look(struct copying *c, struct error *e)
{
	json_t *context = NULL;
	struct raw_plan plan = {0};
	int r = job_context(platform_db(c->transcoder->platform), c->job, &context, e);
	if (r == 0)
		r = raw_plan_read(context, &plan, e);
	if (r == 0) {
		raw_plan_done(&c->plan);
		c->plan = plan;
	}
	if (r == 0 && !c->raw)
		r = recording_key_from_context(c->transcoder->root, &c->job->account, &c->job->recording,
					       json_object_get(context, "key"), c->key, e);
	json_decref(context);
	return r;
}

static const struct raw_plan *look_again(void *arg)
{
	struct copying *c = arg;
	struct error ignored = {0};
	return look(c, &ignored) == 0 ? &c->plan : NULL;
}

static int begin(struct copying *c, struct error *e)
{
	uint64_t bytes = c->plan.is_open ? RAW_COPY_ROOM_BYTES : c->plan.bytes;
	return raw_copy_new(c->transcoder, c->job, c->plan.kind, bytes, c->key, look_again, c, &c->raw, e);
}

static void rest(const struct copying *c, int64_t ms)
{
	for (; ms > 0 && job_stop(c->job) == JOB_GO_ON; ms -= LOOK_STEP_MS)
		(void)usleep(LOOK_STEP_MS * 1000);
}

/* Takes segments as they come, until the recording is saved and nothing is missing. What breaks off while it is open
 * goes on with the next look. */
static int follow(struct copying *c, struct error *e)
{
	int64_t pause = LOOK_MIN_MS;
	while (c->plan.is_open) {
		bool taken = false;
		c->has_followed = true;
		int r = raw_copy_take(c->raw, &c->plan, &taken, e);
		if (r < 0 && r != ERR_RETRY)
			return r;
		pause = taken ? LOOK_MIN_MS : MIN(2 * pause, (int64_t)LOOK_MAX_MS);
		rest(c, pause);
		if (job_stop(c->job) != JOB_GO_ON)
			return error_set(e, ERR_CANCELLED, "the recording is no longer followed");
		r = look(c, e);
		/* a database that is away does not end what the ingest node still sends */
		if (r < 0 && r != ERR_RETRY)
			return r;
	}
	return 0;
}

static int take_all(struct copying *c, struct error *e)
{
	bool taken = true;
	int r = 0;
	while (r == 0 && taken)
		r = raw_copy_take(c->raw, &c->plan, &taken, e);
	return r;
}

/* What was followed is the recording, unless the order in which it came was not the segments' own. */
static int take_rest(struct copying *c, struct error *e)
{
	int r = take_all(c, e);
	bool is_whole = r == 0 && raw_copy_bytes(c->raw) == c->plan.bytes && raw_copy_differences(c->raw) == 0;
	if (!c->has_followed || is_whole || (r < 0 && r != ERR_CORRUPT))
		return r;
	char recording[UUID_TEXT_BYTES];
	uuid_format(&c->job->recording, recording);
	const struct log_context ctx = {.recording = recording, .trace = &c->job->trace};
	log_warning(&ctx, "what was followed is not what was saved: copied again%s%s", r < 0 ? ": " : "",
		    r < 0 ? e->text : "");
	raw_copy_free(TAKE_PTR(c->raw));
	r = begin(c, e);
	return r < 0 ? r : take_all(c, e);
}

static int commit(struct copying *c, struct error *e)
{
	struct transcoder *t = c->transcoder;
	_cleanup_(db_result_freep) struct db_result *jobs = NULL;
	if (raw_copy_bytes(c->raw) != c->plan.bytes)
		return error_set(e, ERR_CORRUPT, "%llu bytes were copied, %llu were saved",
				 (unsigned long long)raw_copy_bytes(c->raw), (unsigned long long)c->plan.bytes);
	int r = raw_copy_finish(c->raw, e);
	if (r == 0)
		r = raw_copy_tell(c->raw, c->plan.n, &jobs, e);
	if (r == 0)
		worker_hint_rows(platform_bus(t->platform), t->config->platform.region, jobs, &c->job->trace);
	return r;
}

static int run(struct copying *c, struct error *e)
{
	int r = look(c, e);
	if (r == 0)
		r = begin(c, e);
	if (r == 0)
		r = follow(c, e);
	if (r == 0)
		r = take_rest(c, e);
	return r == 0 ? commit(c, e) : r;
}

int copy_job_run(struct job *j, void *state, struct error *e)
{
	struct transcoder *t = state;
	struct copying c = {.transcoder = t, .job = j};
	_Atomic unsigned *counter = j->is_early ? &t->following : &t->copying;
	(*counter)++;
	int r = run(&c, e);
	(*counter)--;
	if (j->is_early)
		metric_count(t->follows, r == 0 ? "copied" : "left");
	raw_copy_free(c.raw);
	raw_plan_done(&c.plan);
	sodium_memzero(c.key, sizeof(c.key));
	return r;
}
