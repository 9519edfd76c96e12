#include "copy_job.h"

#include "output_copy.h"
#include "pull.h"

#include "domain/key.h"
#include "spool/writer.h"

#include <sodium.h>

/* Conversions that may wait for a slot: more would only keep other transcoders from taking them. */
#define AHEAD_PER_SLOT 2
/* Room without which nothing new is claimed; the true size is known after the claim. */
#define ROOM_BYTES (256 * MIB)

struct copying {
	struct transcoder *transcoder;
	struct job *job;
	struct raw_plan plan;
	struct output_copy output;
	struct sealed_writer *writer;
	struct sha256 *sha256; /* of the whole */
	uint64_t written;
	uint64_t skip; /* bytes of the present segment that are there already */
	uint8_t key[SEALED_KEY_BYTES];
	bool told; /* the outcome was sent to the database: the file is no longer ours to remove */
};

bool copy_job_may_take(void *state)
{
	struct transcoder *t = state;
	struct error e = {0};
	uint64_t waiting;
	if (!spool_admits(t->spool, ROOM_BYTES))
		return false;
	if (file_converts_waiting(platform_db(t->platform), spool_node(t->spool), &waiting, &e) < 0)
		return false;
	return waiting < (uint64_t)t->slots * AHEAD_PER_SLOT;
}

static int on_bytes(void *arg, const uint8_t *data, size_t n, struct error *e)
{
	struct copying *c = arg;
	size_t skip = (size_t)MIN(c->skip, (uint64_t)n);
	c->skip -= skip;
	data += skip;
	n -= skip;
	if (n == 0)
		return 0;
	sha256_update(c->sha256, data, n);
	int r = sealed_writer_write(c->writer, c->written, data, n, e);
	c->written += n;
	return r;
}

static int pull_all(struct copying *c, struct error *e)
{
	struct transcoder *t = c->transcoder;
	for (size_t i = 0; i < c->plan.n; i++) {
		const struct raw_segment *s = &c->plan.segments[i];
		if (s->skip == s->bytes)
			continue;
		c->skip = s->skip;
		int r = pull_segment(t->http, c->job, s, c->key, on_bytes, c, e);
		if (r < 0)
			return r;
		metric_add(t->copied_bytes, (double)s->bytes);
	}
	return sealed_writer_finish(c->writer, e);
}

static int prepare(struct copying *c, struct error *e)
{
	struct transcoder *t = c->transcoder;
	json_t *context = NULL;
	int r = job_context(platform_db(t->platform), c->job, &context, e);
	if (r < 0)
		return r;
	r = raw_plan_read(context, &c->plan, e);
	if (r == 0)
		r = recording_key_from_context(t->root, &c->job->account, &c->job->recording,
					       json_object_get(context, "key"), c->key, e);
	json_decref(context);
	if (r == 0)
		r = output_copy_begin(t, c->job, c->plan.kind, c->plan.bytes, &c->output, e);
	if (r == 0)
		r = sealed_writer_new(c->output.fd, &c->output.header, c->key, &c->writer, e);
	return r == 0 ? sha256_new(&c->sha256, e) : r;
}

static int commit(struct copying *c, struct error *e)
{
	struct transcoder *t = c->transcoder;
	_cleanup_(db_result_freep) struct db_result *jobs = NULL;
	uint8_t digest[SHA256_BYTES];
	char sha256[SHA256_TEXT_BYTES];
	sha256_finish(c->sha256, digest);
	sha256_format(digest, sha256);
	json_t *facts = json_pack("{s:I}", "segments", (json_int_t)c->plan.n);
	const struct file_made made = {
	    .kind = c->plan.kind, .copy = c->output.header.copy, .bytes = c->written, .sha256 = sha256, .facts = facts};
	/* from here on an answer may be lost while the database knows the file as present */
	c->told = true;
	int r = file_copied(platform_db(t->platform), c->job, &made, &jobs, e);
	json_decref(facts);
	if (r == 0)
		worker_hint_rows(platform_bus(t->platform), t->config->platform.region, jobs, &c->job->trace);
	return r;
}

int copy_job_run(struct job *j, void *state, struct error *e)
{
	struct transcoder *t = state;
	struct copying c = {.transcoder = t, .job = j, .output = {.fd = -1}};
	int r = prepare(&c, e);
	if (r == 0)
		r = pull_all(&c, e);
	if (r == 0)
		r = output_copy_settle(t, &c.output, c.key, c.plan.bytes, e);
	if (r == 0)
		r = commit(&c, e);
	if (r < 0 && !c.told)
		output_copy_abandon(t, &c.output);
	output_copy_close(&c.output);
	sodium_memzero(c.key, sizeof(c.key));
	sealed_writer_free(c.writer);
	sha256_free(c.sha256);
	raw_plan_done(&c.plan);
	return r;
}
