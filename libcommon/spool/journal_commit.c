/* Batches of a journal: filled by many threads, written and flushed by one. */
#include "base/clock.h"
#include "base/thread.h"
#include "spool/journal_internal.h"

#include <assert.h>
#include <errno.h>

/* Part of a generation that only moving records may use, so that they always fit into the next one, whose batches are
 * cut otherwise. */
#define MOVE_SHARE 16

bool journal_switch(struct journal *j)
{
	unsigned next = (j->current + 1) % JOURNAL_FILES;
	struct journal_file *f = &j->files[next];
	if (!f->is_clean)
		return false;
	uint64_t highest = 0;
	for (unsigned i = 0; i < JOURNAL_FILES; i++)
		highest = MAX(highest, j->files[i].generation);
	f->generation = highest + 1;
	f->end = JOURNAL_HEADER_BYTES;
	f->is_clean = false;
	j->current = next;
	journal_set_reserve(j);
	/* the cleaner turns to the file behind it */
	(void)pthread_cond_broadcast(&j->changed);
	return true;
}

void journal_begin(struct journal *j)
{
	if (journal_switch(j))
		return;
	/* what is kept fills the next file: the newest one takes more, if it can */
	j->files[j->current].is_clean = false;
	journal_set_reserve(j);
}

static void place(struct journal *j, struct journal_batch *b)
{
	const struct journal_file *f = &j->files[j->current];
	b->file = j->current;
	b->generation = f->generation;
	b->offset = f->end;
}

static bool fits(const struct journal *j, const struct journal_batch *b, size_t whole, bool moves)
{
	const struct journal_file *f = &j->files[b->file];
	uint64_t kept = moves ? 0 : f->bytes / MOVE_SHARE + j->reserve;
	return b->offset + whole + kept <= f->bytes;
}

uint8_t *journal_reserve(struct journal *j, size_t bytes, bool moves)
{
	struct journal_batch *b = j->open;
	if (j->is_closing)
		return NULL;
	size_t whole = journal_batch_bytes(b->used + bytes);
	if (b->records == 0)
		place(j, b);
	if (whole > j->batch_bytes || (b->records > 0 && !fits(j, b, whole, moves))) {
		j->is_wanted = true;
		(void)pthread_cond_broadcast(&j->changed);
		return NULL;
	}
	if (!fits(j, b, whole, moves)) {
		if (!journal_switch(j))
			return NULL;
		place(j, b);
		if (!fits(j, b, whole, moves))
			return NULL;
	}
	if (b->records++ == 0) {
		b->begun_us = clock_monotonic_us();
		(void)pthread_cond_broadcast(&j->changed);
	}
	uint8_t *at = b->data + JOURNAL_BATCH_HEAD_BYTES + b->used;
	b->used += bytes;
	b->writers++;
	return at;
}

void journal_filled(struct journal *j)
{
	assert(j->open->writers > 0);
	if (--j->open->writers == 0 && j->is_closing)
		(void)pthread_cond_broadcast(&j->changed);
}

/* Waits until the open batch is to be written; false at the end. */
static bool wait_for_batch(struct journal *j)
{
	for (;;) {
		const struct journal_batch *b = j->open;
		if (b->records > 0 && (j->is_wanted || j->is_ending))
			return true;
		if (j->is_ending)
			return false;
		int64_t due = b->records > 0 ? b->begun_us + j->o.tick_ms * 1000 : INT64_MAX;
		if (clock_monotonic_us() >= due)
			return true;
		thread_wait(&j->changed, &j->lock, due);
	}
}

/* Takes the open batch; appenders go on with the other one. */
static struct journal_batch *close_batch(struct journal *j)
{
	struct journal_batch *b = j->open;
	j->is_closing = true;
	while (b->writers > 0)
		thread_wait(&j->changed, &j->lock, INT64_MAX);
	j->is_closing = j->is_wanted = false;
	struct journal_file *f = &j->files[b->file];
	f->end = b->offset + journal_batch_bytes(b->used);
	f->used = MAX(f->used, f->end);
	j->open = b == &j->batches[0] ? &j->batches[1] : &j->batches[0];
	j->open->used = 0;
	j->open->records = 0;
	j->open->sequence = b->sequence + 1;
	(void)pthread_cond_broadcast(&j->changed);
	return b;
}

static int write_batch(struct journal *j, struct journal_batch *b)
{
	struct journal_file *f = &j->files[b->file];
	const struct journal_batch_head h = {.node = j->o.node,
					     .generation = b->generation,
					     .sequence = b->sequence,
					     .bytes = (uint32_t)journal_batch_bytes(b->used),
					     .used = (uint32_t)b->used,
					     .records = b->records};
	int64_t begun = clock_monotonic_us();
	journal_batch_encode(&h, b->data);
	int r = journal_pwrite(f, b->data, h.bytes, b->offset, NULL);
	if (r == 0 && fdatasync(f->fd) < 0)
		r = ERR_RETRY;
	if (r == 0) {
		metric_add(j->batches_total, 1);
		metric_add(j->bytes_total, h.bytes);
		metric_observe(j->commit_seconds, (double)(clock_monotonic_us() - begun) / 1e6);
	}
	return r;
}

void *journal_commit_main(void *journal)
{
	struct journal *j = journal;
	(void)pthread_mutex_lock(&j->lock);
	while (!j->failed && wait_for_batch(j)) {
		struct journal_batch *b = close_batch(j);
		(void)pthread_mutex_unlock(&j->lock);
		int r = write_batch(j, b);
		(void)pthread_mutex_lock(&j->lock);
		/* never written again: what the disk made of it is unknown until the files are read anew */
		if (r < 0 || j->failed)
			journal_fail(j);
		else
			j->durable_sequence = b->sequence;
		(void)pthread_cond_broadcast(&j->changed);
		(void)pthread_mutex_unlock(&j->lock);
		if (j->o.on_commit)
			j->o.on_commit(j->o.arg);
		(void)pthread_mutex_lock(&j->lock);
	}
	(void)pthread_mutex_unlock(&j->lock);
	return NULL;
}
