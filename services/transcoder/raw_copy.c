#include "raw_copy.h"

#include "pull.h"
#include "spool/writer.h"

#include <errno.h>
#include <sodium.h>
#include <string.h>
#include <unistd.h>

/* Written bytes after which the disk is asked for room, and the file flushed so that its end does not have to. */
#define STEP_BYTES (16 * MIB)
/* Read back at once to be compared. */
#define COMPARE_BYTES 65536

struct raw_copy {
	struct transcoder *transcoder;
	const struct job *job;
	struct output_copy output;
	struct sealed_writer *writer;
	struct sha256 *sha256; /* of the whole */
	uint64_t written;
	uint64_t stepped; /* bytes of it that are flushed */
	uint8_t key[SEALED_KEY_BYTES];
	uint8_t done[(RAW_SEGMENT_NUMBER_MAX + 1) / 8]; /* a bit per segment that is in */
	unsigned differences;
	bool told;
	raw_copy_look *look;
	void *look_arg;

	/* the segment that is being pulled */
	struct pull *pull; /* NULL: none, or it broke off for good */
	uint64_t start;
	uint64_t overlap, skip; /* its bytes that are there already; of these, still to come */
	struct sha256 *skipped; /* of those that came again */
};

static bool is_done(const struct raw_copy *c, uint32_t number)
{
	return c->done[number / 8] & 1U << number % 8;
}

static void set_done(struct raw_copy *c, uint32_t number)
{
	c->done[number / 8] |= (uint8_t)(1U << number % 8);
	pull_free(TAKE_PTR(c->pull));
}

int raw_copy_new(struct transcoder *t, const struct job *j, enum file_kind kind, uint64_t bytes,
		 const uint8_t key[SEALED_KEY_BYTES], raw_copy_look *look, void *arg, struct raw_copy **ret,
		 struct error *e)
{
	_cleanup_(raw_copy_freep) struct raw_copy *c = calloc(1, sizeof(*c));
	if (!c)
		return error_nomem(e);
	c->transcoder = t;
	c->job = j;
	c->look = look;
	c->look_arg = arg;
	c->output.fd = -1;
	memcpy(c->key, key, sizeof(c->key));
	int r = output_copy_begin(t, j, kind, bytes, &c->output, e);
	if (r == 0)
		r = sealed_writer_new(c->output.fd, &c->output.header, key, &c->writer, e);
	if (r == 0)
		r = sha256_new(&c->sha256, e);
	if (r == 0)
		r = sha256_new(&c->skipped, e);
	if (r == 0)
		*ret = TAKE_PTR(c);
	return r;
}

void raw_copy_free(struct raw_copy *c)
{
	if (!c)
		return;
	if (!c->told)
		output_copy_abandon(c->transcoder, &c->output);
	output_copy_close(&c->output);
	sodium_memzero(c->key, sizeof(c->key));
	pull_free(c->pull);
	sealed_writer_free(c->writer);
	sha256_free(c->sha256);
	sha256_free(c->skipped);
	free(c);
}

static int step(struct raw_copy *c, struct error *e)
{
	struct transcoder *t = c->transcoder;
	if (!spool_admits(t->spool, STEP_BYTES))
		return error_set(e, ERR_FULL, "the spool has no room for more");
	if (fdatasync(c->output.fd) < 0) {
		spool_set_read_only(t->spool);
		return error_set_errno(e, ERR_RETRY, errno, "cannot flush the copy");
	}
	c->stepped = c->written;
	return 0;
}

static int on_bytes(void *arg, const uint8_t *data, size_t n, struct error *e)
{
	struct raw_copy *c = arg;
	size_t skip = (size_t)MIN(c->skip, (uint64_t)n);
	sha256_update(c->skipped, data, skip);
	c->skip -= skip;
	data += skip;
	n -= skip;
	if (n == 0)
		return 0;
	sha256_update(c->sha256, data, n);
	int r = sealed_writer_write(c->writer, c->written, data, n, e);
	if (r < 0)
		return r;
	c->written += n;
	metric_add(c->transcoder->copied_bytes, (double)n);
	return c->written - c->stepped >= STEP_BYTES ? step(c, e) : 0;
}

/* The bytes of the file from `start` on against a digest of what came again. */
static int compare(struct raw_copy *c, uint32_t segment, uint64_t start, uint64_t bytes, const uint8_t digest[32],
		   struct error *e)
{
	_cleanup_(sha256_freep) struct sha256 *sha = NULL;
	_cleanup_(freep) uint8_t *piece = malloc(COMPARE_BYTES);
	uint8_t found[SHA256_BYTES];
	int r = piece ? sha256_new(&sha, e) : error_nomem(e);
	for (uint64_t at = 0; r == 0 && at < bytes;) {
		size_t n = 0;
		r = sealed_writer_read(c->writer, start + at, piece, (size_t)MIN(bytes - at, (uint64_t)COMPARE_BYTES),
				       &n, e);
		if (r == 0 && n == 0)
			r = error_set(e, ERR_CORRUPT, "the copy ends before what is compared with it");
		if (r == 0)
			sha256_update(sha, piece, n);
		at += n;
	}
	if (r < 0)
		return r;
	sha256_finish(sha, found);
	if (memcmp(found, digest, sizeof(found)) == 0)
		return 0;
	char recording[UUID_TEXT_BYTES];
	uuid_format(&c->job->recording, recording);
	const struct log_context ctx = {.recording = recording};
	c->differences++;
	log_error(&ctx, "ALARM: %llu bytes of segment %u are not those that came before for the same place",
		  (unsigned long long)bytes, segment);
	return 0;
}

/* Nothing has come of the open segment for a while: its owner may have fallen silent, or lost it to another node. */
static bool is_passed_by(void *arg)
{
	struct raw_copy *c = arg;
	const struct raw_plan *p = c->look(c->look_arg);
	const struct raw_segment *s = NULL;
	for (size_t i = 0; p && i < p->n; i++)
		if (p->segments[i].number >= pull_segment(c->pull))
			s = s ? s : &p->segments[i];
	if (!p)
		return false;
	bool is_last = s && s == &p->segments[p->n - 1];
	return !p->is_open || !s || s->number != pull_segment(c->pull) || !s->is_open || s->is_silent || !is_last;
}

static int begin_pull(struct raw_copy *c, const struct raw_segment *s, struct error *e)
{
	uint8_t none[SHA256_BYTES];
	if (c->pull && pull_segment(c->pull) == s->number)
		return 0;
	pull_free(TAKE_PTR(c->pull));
	sha256_finish(c->skipped, none);
	c->start = s->start;
	c->overlap = c->skip = c->written - s->start;
	return pull_new(c->job, s->number, c->key, on_bytes, is_passed_by, c, &c->pull, e);
}

/* The segment is closed and all of it has come. */
static int settle(struct raw_copy *c, const struct raw_segment *s, struct error *e)
{
	uint8_t digest[SHA256_BYTES];
	uint64_t again = c->overlap - c->skip;
	int r = pull_check(c->pull, s, e);
	sha256_finish(c->skipped, digest);
	if (r == 0 && again > 0)
		r = compare(c, s->number, c->start, again, digest, e);
	if (r == 0)
		set_done(c, s->number);
	return r;
}

static int take(struct raw_copy *c, const struct raw_segment *s, struct error *e)
{
	bool is_begun = c->pull && pull_segment(c->pull) == s->number;
	/* all of it is there: its row knows the hash */
	if (!s->is_open && !is_begun && s->bytes <= c->written - s->start) {
		int r = compare(c, s->number, s->start, s->bytes, s->sha256, e);
		if (r == 0)
			set_done(c, s->number);
		return r;
	}
	int r = begin_pull(c, s, e);
	if (r == 0)
		r = pull_run(c->pull, c->transcoder->http, s, e);
	if (r == 0 && !s->is_open)
		r = settle(c, s, e);
	if (r < 0 && r != ERR_RETRY)
		pull_free(TAKE_PTR(c->pull));
	return r;
}

/* The one to take now. Segments are in the order of their beginnings. */
static bool next_segment(const struct raw_copy *c, const struct raw_plan *p, struct raw_segment *ret)
{
	for (size_t i = 0; i < p->n; i++) {
		const struct raw_segment *s = &p->segments[i];
		/* what is open behind a newer one was sent again to another node, and will be closed when its own is
		 * back */
		bool is_passed = p->is_open && (s->is_silent || (s->is_open && i + 1 < p->n));
		if (is_done(c, s->number) || is_passed)
			continue;
		*ret = *s;
		return s->start <= c->written;
	}
	return false;
}

int raw_copy_take(struct raw_copy *c, const struct raw_plan *p, bool *ret_taken, struct error *e)
{
	struct raw_segment s;
	int r = 0;
	*ret_taken = false;
	while (r == 0 && next_segment(c, p, &s)) {
		uint64_t before = c->written;
		/* `s` is a copy: the plan may be made anew inside */
		r = take(c, &s, e);
		*ret_taken |= is_done(c, s.number) || c->written > before;
		/* an open one has ended, or has nothing yet: its row will say */
		if (s.is_open)
			return r;
	}
	return r;
}

uint64_t raw_copy_bytes(const struct raw_copy *c)
{
	return c->written;
}

unsigned raw_copy_differences(const struct raw_copy *c)
{
	return c->differences;
}

int raw_copy_finish(struct raw_copy *c, struct error *e)
{
	int r = sealed_writer_finish(c->writer, e);
	return r < 0 ? r : output_copy_settle(c->transcoder, &c->output, c->key, c->written, e);
}

int raw_copy_tell(struct raw_copy *c, size_t n_segments, struct db_result **ret_jobs, struct error *e)
{
	uint8_t digest[SHA256_BYTES];
	char sha256[SHA256_TEXT_BYTES];
	sha256_peek(c->sha256, digest);
	sha256_format(digest, sha256);
	json_t *facts =
	    json_pack("{s:I, s:i}", "segments", (json_int_t)n_segments, "overlaps_that_differ", (int)c->differences);
	const struct file_made made = {.kind = c->output.kind,
				       .copy = c->output.header.copy,
				       .bytes = c->written,
				       .sha256 = sha256,
				       .facts = facts};
	/* not before: what was followed is copied again when something in it differs */
	metric_add(c->transcoder->differing_overlaps, c->differences);
	/* from here on an answer may be lost while the database knows the file as present */
	c->told = true;
	int r = file_copied(platform_db(c->transcoder->platform), c->job, &made, ret_jobs, e);
	json_decref(facts);
	return r;
}
