#include "convert.h"

#include "media_log.h"
#include "parts.h"
#include "pass.h"

#include <string.h>

#define DIGEST_BYTES (64 * 1024)

/* One pass over all parts; *ret_again: a copy was not sound, and `plan` says what to decode this time. */
static int run_pass(struct convert_job *job, const struct media_parts *parts, struct pass_plan *plan,
		    struct facts *facts, bool *ret_again, struct error *e)
{
	_cleanup_(pass_freep) struct pass *p = NULL;
	int r = pass_new(job, parts, plan, &p, e);
	for (unsigned i = 0; r == 0 && i < parts->n; i++) {
		r = pass_part(p, &parts->part[i], e);
		if (r == PASS_AGAIN) {
			*ret_again = true;
			return 0;
		}
	}
	return r < 0 ? r : pass_finish(p, facts, e);
}

/* Reads an output back, once, after everything in it stands. */
static int finish_output(struct media_io *io, struct output_facts *ret, struct error *e)
{
	_cleanup_(freep) uint8_t *buf = malloc(DIGEST_BYTES);
	_cleanup_(sha256_freep) struct sha256 *sha256 = NULL;
	uint8_t digest[SHA256_BYTES];
	if (!buf)
		return error_nomem(e);
	int r = sha256_new(&sha256, e);
	if (r < 0)
		return r;
	r = media_io_finish(io);
	ret->bytes = 0;
	for (size_t n = 1; r == 0 && n > 0; ret->bytes += n) {
		r = media_io_read(io, ret->bytes, buf, DIGEST_BYTES, &n);
		if (r == 0)
			sha256_update(sha256, buf, n);
	}
	if (r < 0)
		return error_set(e, io->error.code, "%s", io->error.text);
	sha256_finish(sha256, digest);
	sha256_format(digest, ret->sha256);
	ret->made = true;
	return 0;
}

int convert_run(struct convert_job *job, struct facts *ret, struct error *e)
{
	struct media_parts parts;
	int r = parts_find(job->input, &parts, e);
	if (r < 0)
		return r;
	job->input_bytes = parts.bytes;
	struct pass_plan plan = {.copy_video = parts.n == 1, .copy_audio = parts.n == 1};
	/* each repetition gives up one copy at least */
	for (int i = 0; i < 3; i++) {
		struct facts facts = {.parts = parts.n, .frozen_from_s = -1};
		bool again = false;
		(void)snprintf(facts.container, sizeof(facts.container), "%s", parts.demuxer);
		r = run_pass(job, &parts, &plan, &facts, &again, e);
		if (r < 0)
			return r;
		if (!again) {
			for (enum output o = 0; r == 0 && o < OUTPUT_MAX; o++)
				if (job->outputs[o] && (o == OUTPUT_MAIN || facts.has_video))
					r = finish_output(job->outputs[o], &facts.outputs[o], e);
			*ret = facts;
			return r;
		}
		for (enum output o = 0; o < OUTPUT_MAX; o++)
			if (job->outputs[o] && media_io_clear(job->outputs[o]) < 0)
				return error_set(e, job->outputs[o]->error.code, "%s", job->outputs[o]->error.text);
	}
	return error_set(e, ERR_FATAL, "a conversion without copies asked for another pass");
}
