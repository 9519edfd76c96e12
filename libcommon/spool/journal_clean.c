/* Generations of a journal: before one is overwritten, what it holds is made durable elsewhere, or moves on. */
#include "base/clock.h"
#include "base/thread.h"
#include "spool/journal_internal.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

/* How often a move that finds no room looks whether it is still needed. */
#define MOVE_WAIT_US 100000

/* Heads and zeros of the batches that take what moves: two blocks each. */
#define BATCH_WASTE_BYTES (2 * JOURNAL_BLOCK_BYTES)

/* Calls for each stream; the lock is held. */
static void each(struct journal *j, void (*fn)(struct journal_stream *s, void *arg), void *arg)
{
	for (unsigned b = 0; b < JOURNAL_STREAM_BUCKETS; b++)
		for (struct journal_stream *s = j->buckets[b]; s; s = s->next)
			fn(s, arg);
}

struct need {
	const struct journal_file *file;
	unsigned number;
	uint64_t bytes;	  /* of records that will still be needed after a flush of the spool */
	bool needs_flush; /* something is needed that a flush would make durable */
	bool needs_move;  /* something is needed now */
};

static void add_need(struct journal_stream *s, void *arg)
{
	struct need *n = arg;
	const struct journal_held *h = &s->held[n->number];
	if (!journal_needs(s, n->file, n->number))
		return;
	n->needs_move = true;
	n->needs_flush |= journal_stream_reach(s) > journal_stream_done(s);
	if (h->to > journal_stream_reach(s))
		n->bytes += h->bytes;
}

static struct need need_of(struct journal *j, unsigned number)
{
	struct need n = {.file = &j->files[number], .number = number};
	if (!j->files[number].is_clean)
		each(j, add_need, &n);
	return n;
}

void journal_set_reserve(struct journal *j)
{
	uint64_t bytes = need_of(j, (j->current + 1) % JOURNAL_FILES).bytes;
	j->reserve = bytes > 0 ? bytes + (bytes / j->batch_bytes + 2) * BATCH_WASTE_BYTES : 0;
}

static void mark(struct journal_stream *s, void *arg)
{
	(void)arg;
	s->marked = s->written;
}

static void mark_durable(struct journal_stream *s, void *arg)
{
	(void)arg;
	s->durable = MAX(s->durable, s->marked);
}

/* All files of the spool at once: what their descriptors had written before is durable then. The kernel reports a
 * failed write-back here (since Linux 5.8). */
static int flush_spool(struct journal *j)
{
	each(j, mark, NULL);
	(void)pthread_mutex_unlock(&j->lock);
	int r = syncfs(j->o.folder_fd);
	metric_add(j->syncs_total, 1);
	(void)pthread_mutex_lock(&j->lock);
	if (r < 0 || j->failed)
		return -1;
	each(j, mark_durable, NULL);
	return 0;
}

struct mover {
	struct journal *journal;
	unsigned file;
	uint64_t last_batch; /* with something that moved */
};

static bool is_needed(const struct mover *m, const struct journal_record *r)
{
	const struct journal *j = m->journal;
	const struct journal_stream *s = r->plain > 0 ? journal_find(m->journal, &r->copy) : NULL;
	if (!s || !journal_needs(s, &j->files[m->file], m->file))
		return false;
	return r->from + r->plain > journal_stream_done(s);
}

/* The lock is held. */
static int move(struct mover *m, const struct journal_record *r, struct error *e)
{
	struct journal *j = m->journal;
	while (is_needed(m, r)) {
		if (j->failed || j->is_ending)
			return error_set(e, ERR_CANCELLED, "the journal ends");
		uint8_t *at = journal_reserve(j, r->bytes, true);
		if (!at) {
			thread_wait(&j->changed, &j->lock, clock_monotonic_us() + MOVE_WAIT_US);
			continue;
		}
		const struct journal_batch *b = j->open;
		memcpy(at, r->data, r->bytes);
		journal_note(journal_find(j, &r->copy), b->file, b->generation, r->from, r->from + r->plain, r->bytes);
		m->last_batch = b->sequence;
		j->reserve -= MIN(j->reserve, r->bytes);
		journal_filled(j);
		metric_add(j->moved_total, r->bytes);
		break;
	}
	return 0;
}

static int move_batch(void *arg, const struct journal_batch_head *h, uint64_t offset, const uint8_t *records,
		      struct error *e)
{
	struct mover *m = arg;
	struct journal *j = m->journal;
	struct journal_record r;
	size_t at = 0;
	int rc = 0;
	(void)offset;
	(void)pthread_mutex_lock(&j->lock);
	while (rc == 0 && journal_record_next(records, h->used, &at, &r, NULL) > 0)
		rc = move(m, &r, e);
	(void)pthread_mutex_unlock(&j->lock);
	return rc;
}

static void clear_held(struct journal_stream *s, void *arg)
{
	s->held[*(unsigned *)arg] = (struct journal_held){0};
}

/* The file may be overwritten from now on: nobody reads it, and what moved is durable in its new place. */
static void set_clean(struct journal *j, unsigned file, uint64_t last_batch)
{
	while (!j->failed && !j->is_ending && (j->durable_sequence < last_batch || j->readers > 0 || j->is_indexing))
		thread_wait(&j->changed, &j->lock, INT64_MAX);
	if (j->failed || j->is_ending)
		return;
	journal_index_free(TAKE_PTR(j->index));
	each(j, clear_held, &file);
	j->files[file].is_clean = true;
	j->reserve = 0;
	(void)pthread_cond_broadcast(&j->changed);
}

/* The lock is held. A negative result: the disk failed. */
static int clean(struct journal *j, unsigned file)
{
	struct mover m = {.journal = j, .file = file};
	struct need n = need_of(j, file);
	if (n.needs_flush && flush_spool(j) < 0)
		return -1;
	journal_set_reserve(j);
	n = need_of(j, file);
	int r = 0;
	if (n.needs_move) {
		uint64_t end = j->files[file].end;
		(void)pthread_mutex_unlock(&j->lock);
		r = journal_scan(j, file, end, move_batch, &m, NULL);
		(void)pthread_mutex_lock(&j->lock);
	}
	if (r == 0)
		set_clean(j, file, m.last_batch);
	return r == ERR_CANCELLED ? 0 : r;
}

void *journal_clean_main(void *journal)
{
	struct journal *j = journal;
	(void)pthread_mutex_lock(&j->lock);
	while (!j->failed && !j->is_ending) {
		unsigned next = (j->current + 1) % JOURNAL_FILES;
		if (j->files[next].is_clean && clock_monotonic_us() < journal_scrub_due(j)) {
			thread_wait(&j->changed, &j->lock, journal_scrub_due(j));
		} else if ((j->files[next].is_clean ? journal_scrub(j) : clean(j, next)) < 0) {
			journal_fail(j);
			(void)pthread_mutex_unlock(&j->lock);
			if (j->o.on_commit)
				j->o.on_commit(j->o.arg);
			(void)pthread_mutex_lock(&j->lock);
		}
	}
	(void)pthread_mutex_unlock(&j->lock);
	return NULL;
}
