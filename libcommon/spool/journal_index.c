/* Reading a journal: its whole batches, and the records of one copy in them. */
#include "base/thread.h"
#include "spool/codec.h"
#include "spool/journal_internal.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <string.h>

/* No batch is longer; what claims to be is none. */
#define SCAN_BATCH_MAX (16 * MIB)
/* Behind a batch that does not agree with its CRC this much is searched for the next: a batch that was torn is the
 * last, one that rotted need not take those behind it along. */
#define SCAN_SEARCH_BYTES (16 * MIB)

struct scan {
	struct journal *journal;
	unsigned file;
	uint64_t limit;
	uint8_t *data;
	size_t room;
	uint64_t generation, sequence; /* of the last whole batch; 0: none yet */
	uint64_t end;		       /* behind it */
};

/* 1: a whole batch, in scan->data. 0: none here. */
static int read_batch(struct scan *s, uint64_t at, struct journal_batch_head *h, struct error *e)
{
	const struct journal_file *f = &s->journal->files[s->file];
	uint8_t head[JOURNAL_BATCH_HEAD_BYTES];
	int r = sealed_pread(f->read_fd, head, sizeof(head), at, e);
	if (r < 0)
		return r;
	if (journal_batch_head_decode(head, &s->journal->o.node, h, NULL) < 0 || h->bytes > s->limit - at ||
	    h->bytes > SCAN_BATCH_MAX)
		return 0;
	/* what a former lap left */
	if (s->generation != 0 && (h->generation != s->generation || h->sequence <= s->sequence))
		return 0;
	if (h->bytes > s->room) {
		free(s->data);
		s->data = malloc(h->bytes);
		s->room = s->data ? h->bytes : 0;
	}
	if (!s->data)
		return error_nomem(e);
	r = sealed_pread(f->read_fd, s->data, h->bytes, at, e);
	if (r < 0)
		return r;
	return journal_batch_is_whole(h, s->data, h->bytes) ? 1 : 0;
}

static int scan_run(struct scan *s, journal_visit *visit, void *arg, struct error *e)
{
	uint64_t at = JOURNAL_HEADER_BYTES;
	s->end = at;
	while (at + JOURNAL_BLOCK_BYTES <= s->limit && at - s->end < SCAN_SEARCH_BYTES) {
		struct journal_batch_head h;
		int r = read_batch(s, at, &h, e);
		if (r == 0) {
			at += JOURNAL_BLOCK_BYTES;
			continue;
		}
		if (r < 0)
			return r;
		if (s->generation != 0 && at > s->end)
			s->journal->gaps++;
		s->generation = h.generation;
		s->sequence = h.sequence;
		r = visit(arg, &h, at, s->data + JOURNAL_BATCH_HEAD_BYTES, e);
		if (r < 0)
			return r;
		at += h.bytes;
		s->end = at;
	}
	return 0;
}

int journal_scan(struct journal *j, unsigned file, uint64_t limit, journal_visit *visit, void *arg, struct error *e)
{
	struct scan s = {.journal = j, .file = file, .limit = limit};
	int r = scan_run(&s, visit, arg, e);
	free(s.data);
	return r;
}

void journal_index_free(struct journal_index *x)
{
	if (!x)
		return;
	free(x->entries);
	free(x);
}

struct builder {
	struct journal_index *index;
	unsigned file;
	/* the last batch of the file */
	uint64_t generation, sequence, end;
};

static int add_batch(void *arg, const struct journal_batch_head *h, uint64_t offset, const uint8_t *records,
		     struct error *e)
{
	struct builder *b = arg;
	struct journal_index *x = b->index;
	struct journal_record r;
	size_t at = 0;
	b->generation = h->generation;
	b->sequence = h->sequence;
	b->end = offset + h->bytes;
	/* a record that makes no sense, in a batch that does: nothing behind it can be found */
	for (size_t begin = 0; journal_record_next(records, h->used, &at, &r, NULL) > 0; begin = at) {
		if (r.plain == 0)
			continue;
		if (x->n == x->room) {
			size_t room = x->room ? 2 * x->room : 1024;
			struct journal_entry *more = realloc(x->entries, room * sizeof(*more));
			if (!more)
				return error_nomem(e);
			x->entries = more;
			x->room = room;
		}
		x->entries[x->n++] = (struct journal_entry){.copy = r.copy,
							    .from = r.from,
							    .offset = offset + JOURNAL_BATCH_HEAD_BYTES + begin,
							    .bytes = r.bytes,
							    .plain = r.plain,
							    .file = b->file,
							    .generation = h->generation};
	}
	return 0;
}

static int compare(const void *a, const void *b)
{
	const struct journal_entry *x = a, *y = b;
	int c = memcmp(x->copy.b, y->copy.b, UUID_BYTES);
	if (c != 0)
		return c;
	return x->from < y->from ? -1 : x->from > y->from;
}

/* Nothing is written to the files up to `ends`; 0: the file is not read. */
static int build(struct journal *j, const uint64_t ends[JOURNAL_FILES], struct builder found[JOURNAL_FILES],
		 struct journal_index **ret, struct error *e)
{
	struct journal_index *x = calloc(1, sizeof(*x));
	if (!x)
		return error_nomem(e);
	int r = 0;
	for (unsigned file = 0; r == 0 && file < JOURNAL_FILES; file++) {
		found[file] = (struct builder){.index = x, .file = file};
		if (ends[file] == 0)
			continue;
		r = journal_scan(j, file, ends[file], add_batch, &found[file], e);
		x->sequence = MAX(x->sequence, found[file].sequence);
		/* it is read once: the page cache has better uses */
		(void)posix_fadvise(j->files[file].read_fd, 0, 0, POSIX_FADV_DONTNEED);
	}
	if (r < 0) {
		journal_index_free(x);
		return r;
	}
	if (x->n > 0)
		qsort(x->entries, x->n, sizeof(*x->entries), compare);
	*ret = x;
	return 0;
}

int journal_index_build(struct journal *j, struct error *e)
{
	uint64_t ends[JOURNAL_FILES];
	struct builder found[JOURNAL_FILES];
	for (unsigned file = 0; file < JOURNAL_FILES; file++)
		ends[file] = j->files[file].bytes;
	int r = build(j, ends, found, &j->index, e);
	if (r < 0)
		return r;
	for (unsigned file = 0; file < JOURNAL_FILES; file++) {
		j->files[file].generation = found[file].generation;
		if (found[file].generation)
			j->files[file].end = found[file].end;
	}
	j->durable_sequence = j->index->sequence;
	return 0;
}

size_t journal_entries_of(const struct journal_index *x, const struct uuid *copy, size_t *ret_begin)
{
	size_t low = 0, high = x->n;
	while (low < high) {
		size_t middle = low + (high - low) / 2;
		if (memcmp(x->entries[middle].copy.b, copy->b, UUID_BYTES) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	*ret_begin = low;
	while (low < x->n && uuid_equal(&x->entries[low].copy, copy))
		low++;
	return low;
}

int journal_keep(struct journal *j, const struct uuid *copy, struct error *e)
{
	int r = 0;
	(void)pthread_mutex_lock(&j->lock);
	struct journal_stream *s = j->index && !journal_find(j, copy) ? journal_stream_add(j, copy) : NULL;
	if (s) {
		size_t begin, end = journal_entries_of(j->index, copy, &begin);
		j->n_kept++;
		for (size_t i = begin; i < end; i++) {
			const struct journal_entry *n = &j->index->entries[i];
			journal_note(s, n->file, n->generation, n->from, n->from + n->plain, n->bytes);
		}
	} else if (j->index && !journal_find(j, copy)) {
		r = error_nomem(e);
	}
	(void)pthread_mutex_unlock(&j->lock);
	return r;
}

bool journal_is_kept(struct journal *j, const struct uuid *copy, struct journal_keeping *ret)
{
	(void)pthread_mutex_lock(&j->lock);
	const struct journal_stream *s = journal_find(j, copy);
	bool is_kept = s && !s->key;
	if (is_kept)
		*ret = (struct journal_keeping){.durable = s->keep, .from = UINT64_MAX};
	for (unsigned file = 0; is_kept && file < JOURNAL_FILES; file++)
		if (s->held[file].generation != 0)
			ret->from = MIN(ret->from, s->held[file].from);
	(void)pthread_mutex_unlock(&j->lock);
	return is_kept;
}

int journal_kept(struct journal *j, struct uuid **ret, size_t *ret_n, struct error *e)
{
	size_t n = 0;
	(void)pthread_mutex_lock(&j->lock);
	struct uuid *ids = calloc(j->n_kept + 1, sizeof(*ids));
	for (unsigned b = 0; ids && b < JOURNAL_STREAM_BUCKETS; b++)
		for (const struct journal_stream *s = j->buckets[b]; s; s = s->next)
			if (!s->key)
				ids[n++] = s->copy;
	(void)pthread_mutex_unlock(&j->lock);
	if (!ids)
		return error_nomem(e);
	*ret = ids;
	*ret_n = n;
	return 0;
}

/* The index, held until release(): built anew where it lacks what the copy's segment wrote last. The lock is held. */
static int acquire(struct journal *j, const struct uuid *copy, struct error *e)
{
	const struct journal_stream *s = journal_find(j, copy);
	uint64_t sequence = s ? s->left_at : 0;
	while (j->is_indexing)
		thread_wait(&j->changed, &j->lock, INT64_MAX);
	if (j->index && j->index->sequence >= sequence) {
		j->readers++;
		return 0;
	}
	j->is_indexing = true;
	while (j->readers > 0)
		thread_wait(&j->changed, &j->lock, INT64_MAX);
	uint64_t ends[JOURNAL_FILES];
	struct builder found[JOURNAL_FILES];
	for (unsigned file = 0; file < JOURNAL_FILES; file++)
		ends[file] = j->files[file].is_clean ? 0 : j->files[file].end;
	uint64_t durable = j->durable_sequence;
	struct journal_index *x = NULL;
	(void)pthread_mutex_unlock(&j->lock);
	int r = build(j, ends, found, &x, e);
	(void)pthread_mutex_lock(&j->lock);
	if (r == 0) {
		journal_index_free(j->index);
		x->sequence = durable;
		j->index = x;
		j->readers++;
	}
	j->is_indexing = false;
	(void)pthread_cond_broadcast(&j->changed);
	return r;
}

static void release(struct journal *j)
{
	(void)pthread_mutex_lock(&j->lock);
	j->readers--;
	(void)pthread_cond_broadcast(&j->changed);
	(void)pthread_mutex_unlock(&j->lock);
}

struct reading {
	struct journal *journal;
	const struct uuid *recording;
	uint32_t segment;
	struct aead *key;
	uint64_t at; /* offset in the segment of the next byte */
	uint8_t *record, *plain;
	journal_sink *sink;
	void *arg;
};

/* One entry: 0 also where it holds nothing that is wanted, or does not open. */
static int read_entry(struct reading *g, const struct journal_entry *n, struct error *e)
{
	struct journal_record r;
	size_t at = 0;
	if (n->from + n->plain <= g->at)
		return 0;
	int rc = sealed_pread(g->journal->files[n->file].read_fd, g->record, n->bytes, n->offset, e);
	if (rc < 0)
		return rc;
	if (journal_record_next(g->record, n->bytes, &at, &r, NULL) <= 0 || r.plain != n->plain ||
	    !uuid_equal(&r.recording, g->recording) || r.segment != g->segment ||
	    journal_record_open(g->key, &r, g->plain, NULL) < 0)
		return 0;
	size_t skip = (size_t)(g->at - n->from);
	rc = g->sink(g->arg, g->plain + skip, n->plain - skip, e);
	if (rc == 0)
		g->at = n->from + n->plain;
	return rc;
}

static int read_entries(struct reading *g, const struct uuid *copy, struct error *e)
{
	const struct journal_index *x = g->journal->index;
	size_t i, end = journal_entries_of(x, copy, &i);
	int r = 0;
	/* by offset in the segment: what begins behind the next byte leaves a gap */
	for (; r == 0 && i < end && x->entries[i].from <= g->at; i++)
		r = read_entry(g, &x->entries[i], e);
	return r;
}

int journal_read(struct journal *j, const struct uuid *copy, const struct uuid *recording, uint32_t segment,
		 const uint8_t key[32], uint64_t from, journal_sink *sink, void *arg, struct error *e)
{
	struct reading g = {.journal = j,
			    .recording = recording,
			    .segment = segment,
			    .at = from,
			    .sink = sink,
			    .arg = arg,
			    .record = malloc(journal_record_bytes(JOURNAL_RECORD_PLAIN_MAX)),
			    .plain = malloc(JOURNAL_RECORD_PLAIN_MAX)};
	int r = g.record && g.plain ? journal_key_new(key, j->salt, recording, segment, &g.key, e) : error_nomem(e);
	if (r == 0) {
		(void)pthread_mutex_lock(&j->lock);
		r = acquire(j, copy, e);
		(void)pthread_mutex_unlock(&j->lock);
	}
	if (r == 0) {
		r = read_entries(&g, copy, e);
		release(j);
	}
	if (g.plain)
		sodium_memzero(g.plain, JOURNAL_RECORD_PLAIN_MAX);
	free(g.plain);
	free(g.record);
	aead_free(g.key);
	return r;
}
