#include "crypto/wrap.h"
#include "domain/key.h"
#include "segment_internal.h"

#include <assert.h>
#include <fcntl.h>
#include <sodium.h>
#include <string.h>

int segment_new(struct segment_host *h, const struct uuid *account, const struct uuid *session,
		const struct uuid *recording, struct segment **ret, struct error *e)
{
	struct segment *s = calloc(1, sizeof(*s));
	if (!s)
		return error_nomem(e);
	s->host = h;
	segment_ids_set(&s->ids, account, session, recording, spool_node(h->spool));
	s->place.number = -1;
	s->fd = -1;
	s->saw_all = true;
	*ret = s;
	return 0;
}

/* Lets go of file, writer and journal; the row is the caller's matter. `is_needed`: what the journal has of it is,
 * until the segment is salvaged. */
static void close_file(struct segment *s, bool is_needed)
{
	/* of a disk that failed only what was flushed counts; a full one keeps what it took */
	uint64_t keep = s->is_broken && !s->is_full ? s->settled : UINT64_MAX;
	if (is_needed)
		journal_stream_leave(TAKE_PTR(s->stream), keep);
	else
		journal_stream_end(TAKE_PTR(s->stream));
	if (s->fd >= 0)
		(void)close(TAKE_FD(s->fd));
	growing_end(TAKE_PTR(s->growing), false, 0);
	if (s->is_listed)
		live_copies_remove(s->host->live, &s->copy);
	s->is_listed = false;
	sealed_appender_free(TAKE_PTR(s->appender));
	s->is_open = false;
	s->is_ended = false;
	s->is_accepted = false;
	s->unflushed_since_us = 0;
	s->covered = s->settled = s->flushed_at = 0;
	s->n_marks = 0;
	s->is_fast = false;
}

void segment_free(struct segment *s)
{
	if (!s)
		return;
	close_file(s, s->is_open);
	sodium_memzero(s->key, sizeof(s->key));
	free(s);
}

static int find_place(struct segment *s, int64_t epoch, int64_t acked, struct error *e)
{
	assert(!s->is_open);
	struct segment_place p;
	int r = segment_row_prepare(s->host->db, &s->ids, epoch, acked, &p, e);
	while (r == 0 && p.open_number >= 0) {
		struct salvage found;
		r = segment_salvage(s->host, &s->ids.recording, p.open_number, &p.open_copy, false, &found, e);
		if (r == 0)
			r = segment_row_prepare(s->host->db, &s->ids, p.epoch, acked, &p, e);
	}
	if (r == 0)
		s->place = p;
	return r;
}

/* Where the client is to go on: behind what closed segments hold. */
static int go_on_at_end(struct segment *s, uint64_t *ret_offset)
{
	s->next = s->place.end;
	s->saw_all = s->saw_all && s->next == s->crc_bytes;
	*ret_offset = s->next;
	return 0;
}

int segment_prepare(struct segment *s, int64_t acked, uint64_t *ret_offset, struct error *e)
{
	int r = find_place(s, SEGMENT_EPOCH_NEW, acked, e);
	return r < 0 ? r : go_on_at_end(s, ret_offset);
}

int segment_resume(struct segment *s, uint64_t *ret_offset, struct error *e)
{
	int r = find_place(s, s->place.epoch, SEGMENT_ACKED_UNKNOWN, e);
	return r < 0 ? r : go_on_at_end(s, ret_offset);
}

const struct segment_owner *segment_owner(const struct segment *s)
{
	return s->place.has_owner ? &s->place.owner : NULL;
}

int64_t segment_epoch(const struct segment *s)
{
	return s->place.epoch;
}

static int load_key(struct segment *s, struct error *e)
{
	if (s->has_key)
		return 0;
	struct error why = {0};
	int r = recording_key_get(s->host->db, s->host->root, &s->ids.recording, s->key, &s->key_row, &why);
	if (r == ERR_NOTFOUND)
		r = recording_key_make(s->host->db, s->host->root, &s->ids.account, &s->ids.recording, s->key,
				       &s->key_row, &why);
	if (r < 0)
		return error_set(e, r, "%s", why.text);
	s->has_key = true;
	return 0;
}

static int create_file(struct segment *s, struct error *e)
{
	int r = spool_create(s->host->spool, &s->copy, &s->fd, e);
	if (r < 0)
		return r;
	const struct sealed_header h = {.kind = SEALED_RAW_SEGMENT,
					.account = s->ids.account,
					.recording = s->ids.recording,
					.copy = s->copy,
					.segment = (uint32_t)s->number};
	r = sealed_appender_new(s->fd, &h, s->key, s->host->buffers, &s->appender, e);
	/* the header is durable with the entry, so that a file without one never outlives its row's `incoming` */
	if (r == 0)
		r = sealed_appender_sync(s->appender, e);
	if (r == 0)
		r = spool_sync(s->host->spool, &s->copy, e);
	return r;
}

/* Row `incoming` → file, durable → row `present`. What fails after the first row is closed by the next prepare. */
int segment_begin(struct segment *s, struct error *e)
{
	int r = s->place.number < 0 ? find_place(s, s->place.epoch, SEGMENT_ACKED_UNKNOWN, e) : 0;
	/* more may be there meanwhile, closed by a node that was away: the client goes on where it is all the same */
	if (r == 0 && s->place.end < s->next)
		r = error_set(e, ERR_CORRUPT, "recording %s: bytes before %llu are gone", s->ids.recording_text,
			      (unsigned long long)s->next);
	if (r == 0)
		r = load_key(s, e);
	if (r < 0)
		return r;
	s->copy = uuid_v7();
	s->number = s->place.number;
	s->start = s->place.end = s->next;
	struct segment_place place = s->place;
	s->place.number = -1;
	/* before its row is there, so that the keeper never takes it for abandoned */
	r = live_copies_add(s->host->live, &s->copy, e);
	if (r < 0)
		return r;
	s->is_listed = true;
	s->is_provisional = s->wants_provisional;
	/* what is not acknowledged before it was checked needs no journal */
	if (s->host->journal && !s->is_provisional)
		r = journal_stream_new(s->host->journal, &s->copy, &s->ids.recording, (uint32_t)s->number, s->key,
				       &s->stream, e);
	if (r == 0)
		r = segment_row_open(s->host->db, &s->ids, &place, &s->copy, &s->key_row, s->is_provisional, &s->job,
				     e);
	if (r == 0)
		r = create_file(s, e);
	if (r == 0)
		r = segment_row_present(s->host->db, &s->ids, &s->copy, e);
	if (r < 0) {
		close_file(s, false);
		return r;
	}
	s->is_open = true;
	s->is_new = true;
	s->segments++;
	/* what its row may drop is not followed */
	struct error ignored = {0};
	if (!s->is_provisional)
		(void)!growing_add(s->host->growing, &s->copy, &s->growing, &ignored);
	segment_tell_followers(s);
	return 0;
}

void segment_tell_followers(struct segment *s)
{
	if (!s->growing)
		return;
	/* full slots that stand in the file, and whose bytes are durable there or in the journal */
	uint64_t bytes = MIN(sealed_appender_written(s->appender), segment_durable(s) - s->start);
	growing_reach(s->growing, SEALED_HEADER_BYTES + bytes / SEALED_SLOT_PAYLOAD * SEALED_SLOT_BYTES);
}

bool segment_was_opened(struct segment *s, struct uuid *ret_job, int64_t *ret_number)
{
	bool is_new = s->is_new;
	s->is_new = false;
	*ret_job = s->job;
	*ret_number = s->number;
	return is_new;
}

int segment_disk_failed(struct segment *s, int r)
{
	s->is_broken = true;
	s->is_full = r == ERR_FULL || r == ERR_NOMEM;
	/* a full disk may have room again; any other failure makes the disk's word worthless until a restart */
	if (!s->is_full)
		spool_set_read_only(s->host->spool);
	return r;
}

void segment_set_provisional(struct segment *s, bool is_provisional)
{
	s->wants_provisional = is_provisional;
}

void segment_accept(struct segment *s)
{
	s->is_accepted = s->is_open && s->is_provisional;
}

int segment_end(struct segment *s, struct error *e)
{
	if (!s->is_open)
		return 0;
	assert(!s->is_broken);
	int r = sealed_appender_finish(s->appender, e);
	if (r < 0)
		return segment_disk_failed(s, r);
	s->is_ended = true;
	s->unflushed_since_us = 0;
	s->settled = s->covered = sealed_appender_taken(s->appender);
	s->n_marks = 0;
	journal_stream_end(TAKE_PTR(s->stream));
	const struct segment_end_facts facts = {.bytes = sealed_appender_taken(s->appender),
						.crc32 = sealed_appender_crc32(s->appender)};
	sealed_appender_sha256(s->appender, s->sha256);
	uint64_t counted = 0;
	r = segment_row_close(s->host->db, &s->ids, s->number, &facts, s->sha256, s->is_accepted, &counted, e);
	if (r < 0)
		return r;
	if (counted == facts.bytes) {
		growing_end(TAKE_PTR(s->growing), true, sealed_file_size(counted));
		s->crc = crc32_join(s->crc, facts.crc32, facts.bytes);
		s->crc_bytes += facts.bytes;
	} else {
		s->segments--;
	}
	s->next = s->start + counted;
	close_file(s, false);
	return 0;
}

bool segment_is_broken(const struct segment *s)
{
	return s->is_broken;
}

int segment_salvage_broken(struct segment *s, struct error *e)
{
	assert(s->is_broken && s->is_open);
	struct segment_host *h = s->host;
	/* what is in the journal is brought together by one reader, for all segments that broke */
	if (s->stream)
		return error_set(e, ERR_RETRY, "the segment has bytes in the journal");
	struct salvage found;
	int r = segment_salvage(h, &s->ids.recording, s->number, &s->copy, !s->is_full, &found, e);
	if (r < 0)
		return r;
	s->next = s->start + found.bytes;
	close_file(s, false);
	return 0;
}

void segment_drop(struct segment *s)
{
	close_file(s, false);
}

void segment_leave(struct segment *s)
{
	close_file(s, s->is_open);
}

bool segment_is_open(const struct segment *s)
{
	return s->is_open;
}

bool segment_whole_crc(const struct segment *s, uint32_t *ret)
{
	*ret = s->crc;
	return s->saw_all && !s->is_open;
}

bool segment_whole_sha256(const struct segment *s, uint8_t ret[32])
{
	memcpy(ret, s->sha256, sizeof(s->sha256));
	return s->saw_all && !s->is_open && s->segments == 1;
}
