#include "spool/journal.h"

#include "base/clock.h"
#include "base/thread.h"
#include "spool/journal_internal.h"
#include "spool/sealed.h"

#include <assert.h>
#include <string.h>

/* How long a thread of the pool waits for room before its turn is given back. */
#define ROOM_WAIT_US 2000000

/* A batch is at most an eighth of a file, so that little of one is lost to its end, and at most this. */
#define BATCH_BYTES_MAX (4 * MIB)
#define BATCH_BYTES_MIN (128 * KIB)

static void open_metrics(struct journal *j)
{
	static const double seconds[] = {0.001, 0.005, 0.02, 0.05, 0.1, 0.5, 2, 10};
	struct metrics *m = j->o.metrics;
	j->batches_total = metric_series(metrics_counter(m, "rushes_journal_batches_total",
							 "Batches that were written and flushed.", NULL),
					 NULL);
	j->bytes_total =
	    metric_series(metrics_counter(m, "rushes_journal_bytes_total", "Bytes of these batches.", NULL), NULL);
	j->moved_total =
	    metric_series(metrics_counter(m, "rushes_journal_moved_bytes_total",
					  "Bytes of records that moved on before their generation was overwritten.",
					  NULL),
			  NULL);
	j->syncs_total =
	    metric_series(metrics_counter(m, "rushes_journal_syncs_total",
					  "Flushes of the whole spool before a generation was overwritten.", NULL),
			  NULL);
	j->commit_seconds = metric_series(metrics_histogram(m, "rushes_journal_commit_seconds",
							    "What it took to write and flush a batch.", NULL, seconds,
							    ARRAY_SIZE(seconds)),
					  NULL);
}

int journal_open(const struct journal_options *o, struct journal **ret, struct error *e)
{
	assert(o->total_bytes >= JOURNAL_TOTAL_MIN);
	_cleanup_(journal_freep) struct journal *j = calloc(1, sizeof(*j));
	if (!j)
		return error_nomem(e);
	j->o = *o;
	if (j->o.tick_ms == 0)
		j->o.tick_ms = JOURNAL_TICK_MS;
	if (j->o.idle_ms == 0)
		j->o.idle_ms = JOURNAL_IDLE_MS;
	(void)pthread_mutex_init(&j->lock, NULL);
	thread_cond_init(&j->changed);
	for (unsigned f = 0; f < JOURNAL_FILES; f++)
		j->files[f].fd = j->files[f].read_fd = -1;
	open_metrics(j);
	int r = journal_files_open(j, e);
	if (r == 0)
		r = journal_index_build(j, e);
	if (r < 0)
		return r;
	*ret = TAKE_PTR(j);
	return 0;
}

static int start_threads(struct journal *j, struct error *e)
{
	int r = thread_start(&j->committer, "journal", journal_commit_main, j, e);
	if (r < 0)
		return r;
	r = thread_start(&j->cleaner, "journal-clean", journal_clean_main, j, e);
	if (r < 0) {
		(void)pthread_mutex_lock(&j->lock);
		j->is_ending = true;
		(void)pthread_cond_broadcast(&j->changed);
		(void)pthread_mutex_unlock(&j->lock);
		(void)pthread_join(j->committer, NULL);
	}
	j->has_threads = r == 0;
	return r;
}

int journal_start(struct journal *j, struct error *e)
{
	journal_index_free(TAKE_PTR(j->index));
	int r = journal_files_make(j, e);
	if (r < 0)
		return r;
	uint64_t smallest = UINT64_MAX;
	for (unsigned f = 0; f < JOURNAL_FILES; f++)
		smallest = MIN(smallest, j->files[f].bytes);
	j->batch_bytes =
	    MIN(BATCH_BYTES_MAX, MAX(BATCH_BYTES_MIN, smallest / 8 / JOURNAL_BLOCK_BYTES * JOURNAL_BLOCK_BYTES));
	for (unsigned b = 0; b < ARRAY_SIZE(j->batches); b++) {
		j->batches[b].data = aligned_alloc(JOURNAL_BLOCK_BYTES, j->batch_bytes);
		if (!j->batches[b].data)
			return error_nomem(e);
	}
	j->open = &j->batches[0];
	j->open->sequence = j->durable_sequence + 1;
	journal_begin(j);
	j->used_us = clock_monotonic_us();
	return start_threads(j, e);
}

void journal_stop(struct journal *j)
{
	if (!j || !j->has_threads)
		return;
	(void)pthread_mutex_lock(&j->lock);
	j->is_ending = true;
	(void)pthread_cond_broadcast(&j->changed);
	(void)pthread_mutex_unlock(&j->lock);
	(void)pthread_join(j->committer, NULL);
	(void)pthread_join(j->cleaner, NULL);
	j->has_threads = false;
}

void journal_free(struct journal *j)
{
	if (!j)
		return;
	journal_stop(j);
	for (unsigned b = 0; b < JOURNAL_STREAM_BUCKETS; b++) {
		while (j->buckets[b]) {
			struct journal_stream *s = j->buckets[b];
			assert(!s->key);
			j->buckets[b] = s->next;
			free(s);
		}
	}
	journal_index_free(j->index);
	journal_files_close(j);
	free(j->batches[0].data);
	free(j->batches[1].data);
	(void)pthread_cond_destroy(&j->changed);
	(void)pthread_mutex_destroy(&j->lock);
	free(j);
}

size_t journal_streams_max(const struct journal *j)
{
	return j->o.total_bytes / 2 / SEALED_SLOT_BYTES;
}

/* ---- streams ---- */

static struct journal_stream **bucket_of(struct journal *j, const struct uuid *copy)
{
	/* the last bytes of a UUIDv7 are random */
	return &j->buckets[(unsigned)(copy->b[14] << 8 | copy->b[15]) % JOURNAL_STREAM_BUCKETS];
}

struct journal_stream *journal_find(struct journal *j, const struct uuid *copy)
{
	struct journal_stream *s = *bucket_of(j, copy);
	while (s && !uuid_equal(&s->copy, copy))
		s = s->next;
	return s;
}

struct journal_stream *journal_stream_add(struct journal *j, const struct uuid *copy)
{
	struct journal_stream *s = calloc(1, sizeof(*s));
	if (!s)
		return NULL;
	s->journal = j;
	s->copy = *copy;
	s->keep = UINT64_MAX;
	struct journal_stream **bucket = bucket_of(j, copy);
	s->next = *bucket;
	*bucket = s;
	return s;
}

/* Takes it out of its bucket and frees it; its key is the caller's. The lock is held. */
static void forget(struct journal_stream *s)
{
	struct journal *j = s->journal;
	struct journal_stream **at = bucket_of(j, &s->copy);
	while (*at != s)
		at = &(*at)->next;
	*at = s->next;
	free(s);
	j->used_us = clock_monotonic_us();
	/* the cleaner may wait for room that it no longer needs */
	(void)pthread_cond_broadcast(&j->changed);
}

int journal_stream_new(struct journal *j, const struct uuid *copy, const struct uuid *recording, uint32_t segment,
		       const uint8_t key[32], struct journal_stream **ret, struct error *e)
{
	struct aead *aead = NULL;
	int r = journal_key_new(key, j->salt, recording, segment, &aead, e);
	if (r < 0)
		return r;
	(void)pthread_mutex_lock(&j->lock);
	struct journal_stream *s = NULL;
	if (!j->open) {
		r = error_set(e, ERR_FULL, "the journal has no room on the disk");
	} else if (j->n_streams + j->n_kept >= journal_streams_max(j)) {
		r = error_set(e, ERR_FULL, "the journal has room for %zu growing segments", journal_streams_max(j));
	} else if (!(s = journal_stream_add(j, copy))) {
		r = error_nomem(e);
	} else {
		s->recording = *recording;
		s->segment = segment;
		s->key = TAKE_PTR(aead);
		j->n_streams++;
		*ret = s;
	}
	(void)pthread_mutex_unlock(&j->lock);
	aead_free(aead);
	return r;
}

void journal_stream_end(struct journal_stream *s)
{
	if (!s)
		return;
	struct journal *j = s->journal;
	struct aead *key = s->key;
	(void)pthread_mutex_lock(&j->lock);
	j->n_streams--;
	forget(s);
	(void)pthread_mutex_unlock(&j->lock);
	aead_free(key);
}

void journal_stream_leave(struct journal_stream *s, uint64_t keep)
{
	if (!s)
		return;
	struct journal *j = s->journal;
	(void)pthread_mutex_lock(&j->lock);
	struct aead *key = TAKE_PTR(s->key);
	s->keep = keep;
	s->left_at = j->durable_sequence;
	j->n_streams--;
	j->n_kept++;
	(void)pthread_mutex_unlock(&j->lock);
	aead_free(key);
}

void journal_forget(struct journal *j, const struct uuid *copy)
{
	(void)pthread_mutex_lock(&j->lock);
	struct journal_stream *s = journal_find(j, copy);
	if (s && !s->key) {
		j->n_kept--;
		forget(s);
	}
	(void)pthread_mutex_unlock(&j->lock);
}

void journal_stream_written(struct journal_stream *s, uint64_t bytes)
{
	s->written = bytes;
}

void journal_stream_durable(struct journal_stream *s, uint64_t bytes)
{
	struct journal *j = s->journal;
	(void)pthread_mutex_lock(&j->lock);
	s->durable = MAX(s->durable, bytes);
	(void)pthread_mutex_unlock(&j->lock);
}

void journal_note(struct journal_stream *s, unsigned file, uint64_t generation, uint64_t from, uint64_t to,
		  size_t bytes)
{
	struct journal_held *h = &s->held[file];
	if (h->generation != generation)
		*h = (struct journal_held){.generation = generation, .from = from};
	h->from = MIN(h->from, from);
	h->to = MAX(h->to, to);
	h->bytes += bytes;
}

uint64_t journal_stream_done(const struct journal_stream *s)
{
	return s->keep == UINT64_MAX ? s->durable : s->keep;
}

uint64_t journal_stream_reach(const struct journal_stream *s)
{
	return s->keep == UINT64_MAX ? s->written : s->keep;
}

bool journal_needs(const struct journal_stream *s, const struct journal_file *f, unsigned file)
{
	const struct journal_held *h = &s->held[file];
	return f->generation != 0 && h->generation == f->generation && h->to > journal_stream_done(s);
}

void journal_fail(struct journal *j)
{
	j->failed = true;
	(void)pthread_cond_broadcast(&j->changed);
}

/* Room for one record, waited for. Returns with the lock held where it is found. */
static int wait_for_room(struct journal *j, size_t bytes, uint8_t **ret, struct error *e)
{
	int64_t deadline = clock_monotonic_us() + ROOM_WAIT_US;
	(void)pthread_mutex_lock(&j->lock);
	for (;;) {
		if (j->failed) {
			(void)pthread_mutex_unlock(&j->lock);
			return error_set(e, ERR_FATAL, "the journal failed: the disk's word is no longer good");
		}
		*ret = journal_reserve(j, bytes, false);
		if (*ret)
			return 0;
		if (clock_monotonic_us() >= deadline) {
			(void)pthread_mutex_unlock(&j->lock);
			return error_set(e, ERR_RETRY, "the journal has no room yet: the disk is slow");
		}
		thread_wait(&j->changed, &j->lock, deadline);
	}
}

static int append_one(struct journal_stream *s, uint64_t from, const uint8_t *data, size_t n, uint64_t *ret_batch,
		      struct error *e)
{
	struct journal *j = s->journal;
	size_t bytes = journal_record_bytes(n);
	uint8_t *at = NULL;
	int r = wait_for_room(j, bytes, &at, e);
	if (r < 0)
		return r;
	const struct journal_batch *b = j->open;
	*ret_batch = b->sequence;
	journal_note(s, b->file, b->generation, from, from + n, bytes);
	(void)pthread_mutex_unlock(&j->lock);
	/* many threads seal into one batch, each into its own part */
	const struct journal_record record = {
	    .copy = s->copy, .recording = s->recording, .segment = s->segment, .from = from, .plain = (uint32_t)n};
	r = journal_record_seal(s->key, &record, data, at, e);
	if (r < 0)
		journal_record_void(bytes, at);
	(void)pthread_mutex_lock(&j->lock);
	journal_filled(j);
	(void)pthread_mutex_unlock(&j->lock);
	return r;
}

int journal_append(struct journal_stream *s, uint64_t from, const void *data, size_t n, uint64_t *ret_batch,
		   struct error *e)
{
	const uint8_t *p = data;
	while (n > 0) {
		size_t take = MIN(n, JOURNAL_RECORD_PLAIN_MAX);
		int r = append_one(s, from, p, take, ret_batch, e);
		if (r < 0)
			return r;
		p += take;
		from += take;
		n -= take;
	}
	return 0;
}

uint64_t journal_durable(const struct journal *j)
{
	return j->durable_sequence;
}

bool journal_failed(const struct journal *j)
{
	return j->failed;
}

unsigned journal_gaps(const struct journal *j)
{
	return j->gaps;
}

json_t *journal_debug(void *journal)
{
	struct journal *j = journal;
	json_t *files = json_array();
	(void)pthread_mutex_lock(&j->lock);
	for (unsigned f = 0; f < JOURNAL_FILES; f++) {
		const struct journal_file *g = &j->files[f];
		(void)json_array_append_new(files, json_pack("{s:I, s:I, s:I, s:b}", "generation",
							     (json_int_t)g->generation, "bytes", (json_int_t)g->bytes,
							     "used", (json_int_t)g->end, "clean", g->is_clean));
	}
	json_t *o = json_pack("{s:I, s:I, s:I, s:I, s:i, s:I, s:b, s:i, s:o}", "streams", (json_int_t)j->n_streams,
			      "kept", (json_int_t)j->n_kept, "streams_max", (json_int_t)journal_streams_max(j),
			      "batches", (json_int_t)j->durable_sequence, "current", (int)j->current, "reserve",
			      (json_int_t)j->reserve, "failed", (int)j->failed, "gaps", (int)j->gaps, "files", files);
	(void)pthread_mutex_unlock(&j->lock);
	return o;
}
