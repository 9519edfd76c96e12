#include "spool/tail.h"

#include "spool/codec.h"
#include "spool/journal_internal.h"

#include <errno.h>
#include <sodium.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

int journal_found(struct journal *j, struct uuid **ret, size_t *ret_n, struct error *e)
{
	const struct journal_index *x = j->index;
	size_t n = 0;
	struct uuid *ids = calloc((x ? x->n : 0) + 1, sizeof(*ids));
	if (!ids)
		return error_nomem(e);
	(void)pthread_mutex_lock(&j->lock);
	/* by copy */
	for (size_t i = 0; x && i < x->n; i++) {
		const struct uuid *copy = &x->entries[i].copy;
		bool is_next = n == 0 || !uuid_equal(&ids[n - 1], copy);
		if (is_next && !journal_find(j, copy))
			ids[n++] = *copy;
	}
	(void)pthread_mutex_unlock(&j->lock);
	*ret = ids;
	*ret_n = n;
	return 0;
}

int tail_write(struct journal *j, const struct uuid *copy, int fd, uint64_t *ret_bytes, struct error *e)
{
	const struct journal_index *x = j->index;
	size_t begin, end = journal_entries_of(x, copy, &begin);
	struct journal_header h = {.node = j->o.node, .bytes = JOURNAL_HEADER_BYTES};
	_cleanup_(freep) uint8_t *room =
	    malloc(MAX(journal_record_bytes(JOURNAL_RECORD_PLAIN_MAX), JOURNAL_HEADER_BYTES));
	if (!room)
		return error_nomem(e);
	int r = 0;
	*ret_bytes = 0;
	for (size_t i = begin; r == 0 && i < end; i++) {
		const struct journal_entry *n = &x->entries[i];
		r = sealed_pread(j->files[n->file].read_fd, room, n->bytes, n->offset, e);
		if (r == 0)
			r = sealed_pwrite(fd, room, n->bytes, h.bytes, e);
		h.bytes += n->bytes;
		*ret_bytes += n->plain;
	}
	h.bytes = (h.bytes + JOURNAL_BLOCK_BYTES - 1) / JOURNAL_BLOCK_BYTES * JOURNAL_BLOCK_BYTES;
	if (r == 0 && ftruncate(fd, (off_t)h.bytes) < 0)
		r = error_set_errno(e, ERR_RETRY, errno, "a tail cannot be written");
	memcpy(h.salt, j->salt, sizeof(h.salt));
	journal_header_encode(&h, room);
	if (r == 0)
		r = sealed_pwrite(fd, room, JOURNAL_HEADER_BYTES, 0, e);
	if (r == 0 && fsync(fd) < 0)
		r = error_set_errno(e, ERR_RETRY, errno, "a tail cannot be flushed");
	return r;
}

struct reading {
	int fd;
	uint64_t bytes; /* of the file */
	const struct uuid *recording;
	uint32_t segment;
	struct aead *key;
	uint64_t at; /* offset in the segment of the next byte */
	uint8_t *record, *plain;
	journal_sink *sink;
	void *arg;
};

/* One record: 0 also where it holds nothing that is wanted, or does not open. */
static int read_record(struct reading *g, const struct journal_record *rec, struct error *e)
{
	bool is_wanted =
	    uuid_equal(&rec->recording, g->recording) && rec->segment == g->segment && rec->from + rec->plain > g->at;
	if (!is_wanted || journal_record_open(g->key, rec, g->plain, NULL) < 0)
		return 0;
	size_t skip = (size_t)(g->at - rec->from);
	int r = g->sink(g->arg, g->plain + skip, rec->plain - skip, e);
	g->at = rec->from + rec->plain;
	return r;
}

/* Records stand by their offset in the segment: what begins behind the next byte leaves a gap. */
static int read_records(struct reading *g, struct error *e)
{
	size_t most = journal_record_bytes(JOURNAL_RECORD_PLAIN_MAX);
	for (uint64_t at = JOURNAL_HEADER_BYTES; at < g->bytes;) {
		struct journal_record rec;
		size_t n = (size_t)MIN(g->bytes - at, (uint64_t)most), used = 0;
		int r = sealed_pread(g->fd, g->record, n, at, e);
		if (r < 0)
			return r;
		if (journal_record_next(g->record, n, &used, &rec, NULL) <= 0 || rec.from > g->at)
			return 0;
		r = read_record(g, &rec, e);
		if (r < 0)
			return r;
		at += used;
	}
	return 0;
}

static int read_header(struct reading *g, const uint8_t key[32], struct error *e)
{
	struct journal_header h;
	struct stat st;
	int r = sealed_pread(g->fd, g->record, JOURNAL_HEADER_BYTES, 0, e);
	if (r == 0)
		r = journal_header_decode(g->record, &h, e);
	if (r == 0 && fstat(g->fd, &st) < 0)
		r = error_set_errno(e, ERR_RETRY, errno, "a tail");
	if (r == 0 && h.bytes != (uint64_t)st.st_size)
		r = error_set(e, ERR_CORRUPT, "a tail has another length than its header says");
	if (r < 0)
		return r;
	g->bytes = h.bytes;
	return journal_key_new(key, h.salt, g->recording, g->segment, &g->key, e);
}

int tail_read(int fd, const struct uuid *recording, uint32_t segment, const uint8_t key[32], uint64_t from,
	      journal_sink *sink, void *arg, struct error *e)
{
	struct reading g = {.fd = fd,
			    .recording = recording,
			    .segment = segment,
			    .at = from,
			    .sink = sink,
			    .arg = arg,
			    .record = malloc(journal_record_bytes(JOURNAL_RECORD_PLAIN_MAX)),
			    .plain = malloc(JOURNAL_RECORD_PLAIN_MAX)};
	int r = g.record && g.plain ? read_header(&g, key, e) : error_nomem(e);
	if (r == 0)
		r = read_records(&g, e);
	if (g.plain)
		sodium_memzero(g.plain, JOURNAL_RECORD_PLAIN_MAX);
	free(g.plain);
	free(g.record);
	aead_free(g.key);
	return r;
}
