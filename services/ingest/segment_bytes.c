/* The bytes of a segment, and how they become durable: part of segment.h.
 *
 * Bytes of a slow stream go to the journal as they come, and its full slots to its file without a flush of its own. A
 * fast stream's slots are flushed, and only what is behind them goes to the journal, once in a commit period. Either
 * way `covered` follows what was taken, and a mark tells with which batch it becomes durable. */
#include "base/clock.h"
#include "segment_internal.h"

#include <assert.h>
#include <string.h>

static uint64_t max_of(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}

static void settle(struct segment *s)
{
	uint64_t durable = journal_durable(s->host->journal);
	unsigned kept = 0;
	for (unsigned m = 0; m < s->n_marks; m++) {
		if (s->marks[m].batch <= durable)
			s->settled = max_of(s->settled, s->marks[m].offset - s->start);
		else
			s->marks[kept++] = s->marks[m];
	}
	s->n_marks = kept;
}

/* At most two batches are not durable at any time: the one that is written and the one that fills. */
static void add_mark(struct segment *s, uint64_t batch, uint64_t to)
{
	settle(s);
	struct segment_mark *last = s->n_marks > 0 ? &s->marks[s->n_marks - 1] : NULL;
	if (!last || last->batch != batch) {
		assert(s->n_marks < SEGMENT_MARKS_MAX);
		last = &s->marks[s->n_marks++];
		last->batch = batch;
	}
	last->offset = s->start + to;
	s->covered = to;
}

static void become_fast(struct segment *s)
{
	if (!s->is_fast)
		s->flushed_at = sealed_appender_taken(s->appender);
	s->is_fast = true;
}

void segment_expect(struct segment *s, uint64_t n)
{
	if (s->is_open && !s->is_ended && n >= SEGMENT_FAST_BYTES)
		become_fast(s);
}

static void note_pace(struct segment *s, size_t n)
{
	int64_t now = clock_monotonic_us();
	if (now - s->pace_since_us > (int64_t)SEGMENT_COMMIT_MS * 1000) {
		s->pace_since_us = now;
		s->pace_bytes = 0;
	}
	s->pace_bytes += n;
	if (s->pace_bytes >= SEGMENT_FAST_BYTES)
		become_fast(s);
}

/* The journal's failure is the disk's; that it has no room now is not. */
static int journal_bytes(struct segment *s, uint64_t from, const void *data, size_t n, struct error *e)
{
	uint64_t batch = 0;
	int r = journal_append(s->stream, from, data, n, &batch, e);
	if (r == 0)
		add_mark(s, batch, from + n);
	return r == 0 || r == ERR_RETRY ? r : segment_disk_failed(s, r);
}

int segment_write(struct segment *s, const void *data, size_t n, struct error *e)
{
	assert(!s->is_broken);
	/* an end that waits for its row comes first */
	bool is_other = s->is_open && s->is_provisional != s->wants_provisional;
	int r = s->is_ended || is_other ? segment_end(s, e) : 0;
	if (r == 0 && !s->is_open)
		r = segment_begin(s, e);
	if (r < 0)
		return r;
	note_pace(s, n);
	/* first the journal, which may ask for patience: the file's writer keeps what it takes */
	if (s->stream && !s->is_fast)
		r = journal_bytes(s, sealed_appender_taken(s->appender), data, n, e);
	if (r < 0)
		return r;
	r = sealed_appender_append(s->appender, data, n, e);
	return r < 0 ? segment_disk_failed(s, r) : 0;
}

int segment_push(struct segment *s, struct error *e)
{
	if (!s->is_open || s->is_ended || s->is_broken)
		return 0;
	/* of a fast stream the next turn brings more, and a flush is due soon */
	int r = s->is_fast ? sealed_appender_yield(s->appender, e) : sealed_appender_push(s->appender, e);
	if (r < 0)
		return segment_disk_failed(s, r);
	if (s->stream)
		journal_stream_written(s->stream, sealed_appender_written(s->appender));
	if (!s->unflushed_since_us && segment_unflushed_bytes(s) > 0)
		s->unflushed_since_us = clock_monotonic_us();
	return 0;
}

static int push_file(struct segment *s, struct error *e)
{
	int r = sealed_appender_push(s->appender, e);
	if (r < 0)
		return segment_disk_failed(s, r);
	if (s->stream)
		journal_stream_written(s->stream, sealed_appender_written(s->appender));
	return 0;
}

static int flush_file(struct segment *s, struct error *e)
{
	int r = sealed_appender_flush(s->appender, e);
	if (r < 0)
		return segment_disk_failed(s, r);
	uint64_t durable = sealed_appender_durable(s->appender);
	s->settled = max_of(s->settled, durable);
	s->covered = max_of(s->covered, durable);
	if (s->stream)
		journal_stream_durable(s->stream, durable);
	return 0;
}

int segment_flush(struct segment *s, struct error *e)
{
	assert(!s->is_broken);
	if (!s->is_open || s->is_ended)
		return 0;
	s->unflushed_since_us = 0;
	/* what was kept back for a larger write reaches the file even where the journal has it */
	int r = sealed_appender_sealed(s->appender) > s->covered ? flush_file(s, e) : push_file(s, e);
	if (r < 0)
		return r;
	uint64_t taken = sealed_appender_taken(s->appender);
	if (!s->stream || s->covered == taken)
		return 0;
	size_t n = 0;
	const uint8_t *tail = sealed_appender_tail(s->appender, &n);
	size_t skip = (size_t)(s->covered - (taken - n));
	r = journal_bytes(s, s->covered, tail + skip, n - skip, e);
	if (r == ERR_RETRY) {
		/* the next period tries again */
		s->unflushed_since_us = clock_monotonic_us();
		return 0;
	}
	s->is_fast = s->is_fast && taken - s->flushed_at >= SEGMENT_FAST_BYTES;
	s->flushed_at = taken;
	return r;
}

uint64_t segment_durable(const struct segment *s)
{
	/* only the row makes the bytes of a provisional segment count */
	if (s->is_open && s->is_provisional)
		return s->start;
	if (!s->is_open)
		return s->next;
	uint64_t durable = max_of(s->settled, sealed_appender_durable(s->appender)), batch = 0;
	if (s->n_marks > 0)
		batch = journal_durable(s->host->journal);
	for (unsigned m = 0; m < s->n_marks; m++)
		if (s->marks[m].batch <= batch)
			durable = max_of(durable, s->marks[m].offset - s->start);
	return s->start + durable;
}

unsigned segment_marks(const struct segment *s, struct segment_mark ret[SEGMENT_MARKS_MAX])
{
	memcpy(ret, s->marks, s->n_marks * sizeof(*ret));
	return s->n_marks;
}

int64_t segment_unflushed_since_us(const struct segment *s)
{
	return s->unflushed_since_us;
}

uint64_t segment_unflushed_bytes(const struct segment *s)
{
	if (!s->is_open)
		return 0;
	uint64_t end = s->stream ? sealed_appender_taken(s->appender) : sealed_appender_sealed(s->appender);
	uint64_t done = max_of(s->covered, sealed_appender_durable(s->appender));
	return end > done ? end - done : 0;
}
