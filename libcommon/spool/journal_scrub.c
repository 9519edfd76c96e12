/* A journal that nobody uses keeps nothing: a copy whose recording lives on elsewhere, and with it its key, leaves no
 * records behind when it goes. A busy journal overwrites itself. */
#include "base/clock.h"
#include "base/thread.h"
#include "crypto/random.h"
#include "spool/journal_internal.h"

#include <unistd.h>

#define SCRUB_BYTES MIB
/* Between two writes: whoever begins to record meanwhile has the disk for himself, almost. */
#define SCRUB_WAIT_US 5000

static bool is_idle(const struct journal *j)
{
	return j->n_streams == 0 && j->n_kept == 0 && j->open->records == 0 && j->readers == 0 && !j->is_indexing &&
	       !j->failed && !j->is_ending;
}

static bool is_dirty(const struct journal *j)
{
	for (unsigned f = 0; f < JOURNAL_FILES; f++)
		if (j->files[f].used > JOURNAL_HEADER_BYTES)
			return true;
	return false;
}

int64_t journal_scrub_due(const struct journal *j)
{
	return is_idle(j) && is_dirty(j) ? j->used_us + j->o.idle_ms * 1000 : INT64_MAX;
}

/* The lock is not held: the file is taken out of use meanwhile. Ends early when somebody comes. */
static int overwrite(struct journal *j, struct journal_file *f, bool *ret_is_whole)
{
	uint8_t *noise = aligned_alloc(JOURNAL_BLOCK_BYTES, SCRUB_BYTES);
	if (!noise)
		return 0;
	random_bytes(noise, SCRUB_BYTES);
	int r = 0;
	uint64_t at = JOURNAL_HEADER_BYTES;
	for (; r == 0 && at < f->used && j->n_streams == 0; at += SCRUB_BYTES) {
		r = journal_pwrite(f, noise, (size_t)MIN(SCRUB_BYTES, f->used - at), at, NULL);
		(void)usleep(SCRUB_WAIT_US);
	}
	free(noise);
	if (r == 0 && fdatasync(f->fd) < 0)
		r = ERR_RETRY;
	*ret_is_whole = r == 0 && at >= f->used;
	return r;
}

static int scrub_file(struct journal *j, struct journal_file *f)
{
	bool is_whole = false;
	f->is_clean = false;
	(void)pthread_mutex_unlock(&j->lock);
	int r = overwrite(j, f, &is_whole);
	(void)pthread_mutex_lock(&j->lock);
	f->is_clean = true;
	f->end = JOURNAL_HEADER_BYTES;
	if (is_whole)
		f->used = JOURNAL_HEADER_BYTES;
	(void)pthread_cond_broadcast(&j->changed);
	return r;
}

int journal_scrub(struct journal *j)
{
	if (j->files[j->current].used > JOURNAL_HEADER_BYTES && !journal_switch(j))
		return 0;
	journal_index_free(TAKE_PTR(j->index));
	int r = 0;
	for (unsigned f = 0; r == 0 && f < JOURNAL_FILES && is_idle(j); f++)
		if (f != j->current && j->files[f].used > JOURNAL_HEADER_BYTES)
			r = scrub_file(j, &j->files[f]);
	return r;
}
