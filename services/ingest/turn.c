#include "turn.h"

#include "base/clock.h"
#include "recording_rows.h"

#include <string.h>

void turn_facts_done(struct turn_facts *f)
{
	free(f->mime);
	free(f->ip);
	free(f->user_agent);
	free(f->devices);
	free(f->referrer);
	free(f->file_name);
	free(f->metadata);
	*f = (struct turn_facts){0};
}

static int stopped(struct turn *t, enum turn_step step, int r)
{
	t->step = step;
	t->result = r;
	return r;
}

/* Raises the epoch; where another node has the recording open it is asked before this one looks where it ends. */
static int find_place(struct turn *t)
{
	if (t->is_fenced)
		return segment_resume(t->segment, &t->opening.offset, &t->error);
	/* a connection that is gone must not take the recording from one that came after it */
	t->was_abandoned = t->is_abandoned;
	if (t->was_abandoned)
		return error_set(&t->error, ERR_CANCELLED, "the connection went before the recording was open");
	int r = segment_prepare(t->segment, t->acked, &t->opening.offset, &t->error);
	const struct segment_owner *owner = r == 0 ? segment_owner(t->segment) : NULL;
	t->wants_fence = owner && !owner->is_silent;
	return r;
}

static int open_recording(struct turn *t)
{
	if (!t->todo.open)
		return 0;
	int r = 0;
	if (!t->is_fenced)
		r = t->facts->tus == INTAKE_NO_TUS ? recording_row_open(t->host->db, t, &t->opening, &t->error)
						   : recording_row_upload(t->host->db, t, &t->opening, &t->error);
	if (r == ERR_REJECT)
		t->code = "too-large";
	if (r == 0 && !t->opening.refused[0] && !t->opening.is_finished)
		r = find_place(t);
	if (r == 0 && t->wants_fence)
		return 0;
	if (r == ERR_CONFLICT)
		t->code = "elsewhere";
	if (r < 0)
		return stopped(t, TURN_OPEN, r);
	t->todo.open = false;
	t->opened = true;
	t->durable = t->opening.offset;
	return 0;
}

/* A connection that comes back to a recording that is open here finds out whether it has been elsewhere in between:
 * then it is opened anew. A database that is away says nothing: the open segment goes on without it. */
static int verify_place(struct turn *t)
{
	if (!t->todo.verify)
		return 0;
	t->todo.verify = false;
	if (!recording_row_is_overtaken(t->host->db, &t->recording, segment_epoch(t->segment)))
		return 0;
	t->code = "elsewhere";
	return stopped(t, TURN_OPEN, error_set(&t->error, ERR_CONFLICT, "the recording was taken by another node"));
}

static int set_length(struct turn *t)
{
	if (!t->todo.set_length)
		return 0;
	int r = recording_row_set_length(t->host->db, &t->recording, t->todo.length, &t->error);
	if (r == ERR_REJECT)
		t->code = "length-changed";
	if (r < 0)
		return stopped(t, TURN_LENGTH, r);
	t->todo.set_length = false;
	return 0;
}

/* What can still be said of a segment whose disk failed: its durable bytes are kept and its row is closed there. Where
 * even that fails, the next prepare or the start-up scan does it. */
static int broken(struct turn *t, enum turn_step step, int r)
{
	struct error ignored = {0};
	chunks_clear(&t->bytes, t->chunk_pool);
	t->is_disk = true;
	t->code = r == ERR_FULL ? "full" : "storage-failed";
	if (segment_salvage_broken(t->segment, &ignored) < 0)
		segment_leave(t->segment);
	return stopped(t, step, r);
}

static int seal_bytes(struct turn *t)
{
	struct chunk *k;
	while ((k = t->bytes.head)) {
		int r = segment_write(t->segment, k->data + k->begin, k->size, &t->error);
		if (r < 0)
			return r;
		t->written_bytes += k->size;
		chunk_release(chunks_take(&t->bytes), t->chunk_pool);
	}
	return 0;
}

static int write_bytes(struct turn *t)
{
	if (!t->bytes.head)
		return 0;
	bool is_finishing = t->todo.end || t->todo.save;
	if (!room_may_write(t->host->room, t->room, is_finishing, t->bytes.bytes))
		return stopped(t, TURN_WRITE, error_set(&t->error, ERR_FULL, "the spool takes nothing more"));
	segment_expect(t->segment, t->bytes.bytes);
	int r = seal_bytes(t);
	struct error ignored = {0};
	int pushed = segment_push(t->segment, r < 0 ? &ignored : &t->error);
	if (r == 0)
		r = pushed;
	if (segment_is_broken(t->segment))
		return broken(t, TURN_WRITE, r);
	return r < 0 ? stopped(t, TURN_WRITE, r) : 0;
}

/* Group commit: a flush when SEGMENT_COMMIT_MS or SEGMENT_COMMIT_BYTES are full, or somebody waits for it. */
static int flush(struct turn *t)
{
	int64_t since = segment_unflushed_since_us(t->segment);
	bool is_due = since && (clock_monotonic_us() - since >= (int64_t)SEGMENT_COMMIT_MS * 1000 ||
				segment_unflushed_bytes(t->segment) >= SEGMENT_COMMIT_BYTES);
	if (!segment_is_open(t->segment))
		t->todo.flush = false;
	if (!segment_is_open(t->segment) || t->todo.end || !(t->todo.flush || is_due))
		return 0;
	int64_t begun = clock_monotonic_us();
	int r = segment_flush(t->segment, &t->error);
	t->flush_us = clock_monotonic_us() - begun;
	if (r < 0)
		return broken(t, TURN_WRITE, r);
	t->todo.flush = false;
	return 0;
}

static int close_segment(struct turn *t)
{
	int r = segment_end(t->segment, &t->error);
	if (segment_is_broken(t->segment))
		return broken(t, TURN_END, r);
	/* durable now, even where the row must wait for the database */
	t->durable = segment_durable(t->segment);
	return r < 0 ? stopped(t, TURN_END, r) : 0;
}

static int drop_provisional(struct turn *t)
{
	int r = t->todo.drop ? close_segment(t) : 0;
	if (r == 0)
		t->todo.drop = false;
	return r;
}

static int end_segment(struct turn *t)
{
	if (!t->todo.end)
		return 0;
	if (t->todo.accept)
		segment_accept(t->segment);
	int r = close_segment(t);
	if (r == 0)
		t->todo.end = t->todo.accept = t->todo.flush = false;
	return r;
}

/* The client's own numbers of the whole take against what was stored. */
static int check_total(struct turn *t)
{
	uint32_t crc;
	uint8_t sha256[32];
	const struct intake_total *total = &t->todo.total;
	if (!t->todo.check)
		return 0;
	t->todo.check = false;
	if (total->has_bytes && total->bytes != t->durable) {
		t->code = "bytes-mismatch";
		return stopped(t, TURN_CHECK,
			       error_set(&t->error, ERR_REJECT, "%llu bytes were announced, %llu came",
					 (unsigned long long)total->bytes, (unsigned long long)t->durable));
	}
	if (total->has_crc && segment_whole_crc(t->segment, &crc) && crc != total->crc32) {
		t->code = "total-mismatch";
		return stopped(t, TURN_CHECK, error_set(&t->error, ERR_REJECT, "the CRC-32 of the whole differs"));
	}
	if (total->has_sha256 && segment_whole_sha256(t->segment, sha256) &&
	    memcmp(sha256, total->sha256, sizeof(sha256)) != 0) {
		t->code = "total-mismatch";
		return stopped(t, TURN_CHECK, error_set(&t->error, ERR_REJECT, "the SHA-256 of the whole differs"));
	}
	return 0;
}

static int save(struct turn *t)
{
	if (!t->todo.save)
		return 0;
	int r = recording_row_saved(t->host->db, &t->recording, &t->todo.how, &t->todo.total, &t->error);
	if (r == ERR_REJECT)
		t->code = "bytes-mismatch";
	/* acknowledged bytes lie on a node that is silent, or a newer connection came to another one */
	if (r == ERR_CONFLICT)
		t->code = "elsewhere";
	if (r < 0)
		return stopped(t, TURN_SAVE, r);
	t->todo.save = false;
	t->saved = true;
	return 0;
}

static void discard(struct turn *t)
{
	chunks_clear(&t->bytes, t->chunk_pool);
	segment_drop(t->segment);
	int r = recording_row_discard(t->host->db, &t->recording, &t->error);
	/* it was aborted before it had a row */
	if (r < 0 && r != ERR_NOTFOUND)
		(void)stopped(t, TURN_DISCARD, r);
	t->todo.discard = r < 0 && r != ERR_NOTFOUND;
	t->discarded = !t->todo.discard;
}

static void run(struct turn *t)
{
	t->result = 0;
	t->code = NULL;
	t->is_disk = t->was_abandoned = false;
	t->written_bytes = 0;
	t->flush_us = 0;
	t->error = (struct error){0};
	t->opened = t->saved = t->discarded = t->wants_fence = false;
	if (t->todo.discard) {
		discard(t);
		return;
	}
	int r = open_recording(t);
	if (r < 0 || t->wants_fence || t->opening.refused[0] || t->opening.is_finished)
		return;
	r = verify_place(t);
	if (r == 0)
		r = drop_provisional(t);
	segment_set_provisional(t->segment, t->is_provisional);
	if (r == 0)
		r = set_length(t);
	if (r == 0)
		r = write_bytes(t);
	if (r == 0)
		r = flush(t);
	if (!t->is_disk)
		t->durable = segment_durable(t->segment);
	if (r == 0)
		r = end_segment(t);
	if (r == 0)
		r = check_total(t);
	if (r == 0)
		(void)save(t);
}

void turn_run(struct turn *t)
{
	run(t);
	t->n_marks = segment_marks(t->segment, t->marks);
}
