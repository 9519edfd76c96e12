/* Closing what a crash left open: part of segment.h. */
#include "segment.h"

#include "base/log.h"
#include "crypto/digest.h"
#include "domain/key.h"
#include "segment_rows.h"
#include "spool/appender.h"
#include "spool/codec.h"
#include "spool/sealed.h"
#include "tails.h"

#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <string.h>
#include <sys/stat.h>

/* Finds the valid slots and makes the file end behind them. A file without a usable header holds nothing: it was never
 * acknowledged. */
static int complete_file(struct segment_host *h, int fd, const uint8_t key[KEY_BYTES], const struct uuid *copy,
			 struct sealed_scan *scan, struct error *e)
{
	struct error why = {0};
	int r = sealed_scan(fd, key, scan, &why);
	if (r == ERR_CORRUPT) {
		*scan = (struct sealed_scan){0};
		return sha256_of(NULL, 0, scan->sha256, e);
	}
	if (r < 0)
		return error_set(e, r, "%s", why.text);
	r = sealed_complete(fd, key, scan, e);
	return r < 0 ? r : spool_sync(h->spool, copy, e);
}

static int scan_copy(struct segment_host *h, const struct uuid *copy, const uint8_t key[KEY_BYTES],
		     struct sealed_scan *scan, struct error *e)
{
	_cleanup_(closep) int fd = -1;
	int r = spool_open_copy(h->spool, copy, O_RDWR, &fd, e);
	return r < 0 ? r : complete_file(h, fd, key, copy, scan, e);
}

static int append(void *arg, const uint8_t *data, size_t n, struct error *e)
{
	return sealed_appender_append(arg, data, n, e);
}

/* From the slot where the journal's bytes begin on: what is before was durable when they came. */
static int fill_file(struct segment_host *h, int fd, const struct uuid *recording, int64_t number,
		     const struct uuid *copy, const struct journal_keeping *kept, const uint8_t key[KEY_BYTES],
		     struct error *e)
{
	_cleanup_(sealed_appender_freep) struct sealed_appender *a = NULL;
	uint64_t slots = kept->durable == UINT64_MAX ? SEALED_SLOTS_MAX : kept->durable / SEALED_SLOT_PAYLOAD;
	uint64_t first = kept->from == UINT64_MAX ? slots : kept->from / SEALED_SLOT_PAYLOAD;
	int r = sealed_appender_resume(fd, key, first, slots, h->buffers, &a, e);
	/* shorter than it should be: what is there counts */
	if (r == ERR_CORRUPT && first > 0)
		r = sealed_appender_resume(fd, key, 0, slots, h->buffers, &a, e);
	if (r == 0 && a)
		r = journal_read(h->journal, copy, recording, (uint32_t)number, key, sealed_appender_taken(a), append,
				 a, e);
	if (r == 0 && a)
		r = tails_append(h, copy, recording, number, key, a, e);
	if (r == 0 && a)
		r = sealed_appender_complete(a, e);
	return r;
}

int segment_fill(struct segment_host *h, const struct uuid *recording, int64_t number, const struct uuid *copy,
		 int *ret_fd, struct error *e)
{
	struct journal_keeping kept;
	struct error why = {0};
	uint8_t key[KEY_BYTES];
	_cleanup_(closep) int fd = -1;
	*ret_fd = -1;
	if (!h->journal || !journal_is_kept(h->journal, copy, &kept) ||
	    (kept.from == UINT64_MAX && kept.durable == UINT64_MAX))
		return 0;
	int r = spool_open_copy(h->spool, copy, O_RDWR, &fd, &why);
	if (r == 0)
		r = recording_key_get(h->db, h->root, recording, key, NULL, &why);
	if (r == 0)
		r = fill_file(h, fd, recording, number, copy, &kept, key, &why);
	sodium_memzero(key, sizeof(key));
	/* the scan says what is wrong with a file that is missing, or has no header */
	if (r == ERR_NOTFOUND || r == ERR_CORRUPT)
		return 0;
	if (r < 0)
		return error_set(e, r, "%s", why.text);
	*ret_fd = TAKE_FD(fd);
	return 0;
}

/* A segment whose file is brought to its end. */
struct patient {
	const struct uuid *recording, *copy;
	int64_t number;
	uint8_t key[KEY_BYTES];
	bool is_kept; /* the journal has something of it: */
	struct journal_keeping kept;
};

static int copy_bytes(int from, int to, struct error *e)
{
	struct stat st;
	if (fstat(from, &st) < 0)
		return error_set_errno(e, ERR_RETRY, errno, "a segment's file");
	_cleanup_(freep) uint8_t *buffer = malloc(MIB);
	int r = buffer ? 0 : error_nomem(e);
	for (uint64_t at = 0, size = (uint64_t)st.st_size; r == 0 && at < size; at += MIB) {
		size_t n = (size_t)MIN(size - at, (uint64_t)MIB);
		r = sealed_pread(from, buffer, n, at, e);
		if (r == 0)
			r = sealed_pwrite(to, buffer, n, at, e);
	}
	return r;
}

/* Its valid slots, sealed as they are, then the journal's bytes, in the file `to`: made durable. */
static int write_again(struct segment_host *h, const struct patient *p, int from, int to, struct error *e)
{
	_cleanup_(sealed_appender_freep) struct sealed_appender *a = NULL;
	int r = copy_bytes(from, to, e);
	if (r == 0)
		r = sealed_appender_resume(to, p->key, 0, SEALED_SLOTS_MAX, h->buffers, &a, e);
	if (r == 0 && a && p->is_kept)
		r = journal_read(h->journal, p->copy, p->recording, (uint32_t)p->number, p->key,
				 sealed_appender_taken(a), append, a, e);
	if (r == 0 && a)
		r = tails_append(h, p->copy, p->recording, p->number, p->key, a, e);
	bool is_short = a && p->is_kept && p->kept.durable != UINT64_MAX && sealed_appender_taken(a) < p->kept.durable;
	if (r == 0 && is_short)
		r = error_set(e, ERR_RETRY, "only %llu of %llu durable bytes can be read",
			      (unsigned long long)sealed_appender_taken(a), (unsigned long long)p->kept.durable);
	if (r == 0 && a)
		r = sealed_appender_complete(a, e);
	if (r == 0 && fsync(to) < 0)
		r = error_set_errno(e, ERR_RETRY, errno, "a segment's new file cannot be flushed");
	return r;
}

/* A file that cannot be written is left alone: a new one takes its place. */
static int make_again(struct segment_host *h, const struct patient *p, struct error *e)
{
	_cleanup_(closep) int from = -1;
	_cleanup_(closep) int to = -1;
	int r = spool_open_copy(h->spool, p->copy, O_RDONLY, &from, e);
	if (r == 0)
		r = spool_create_again(h->spool, p->copy, &to, e);
	if (r < 0)
		return r;
	r = write_again(h, p, from, to, e);
	if (r == 0)
		r = spool_replace(h->spool, p->copy, e);
	else
		spool_drop_again(h->spool, p->copy);
	char recording[UUID_TEXT_BYTES], copy[UUID_TEXT_BYTES];
	uuid_format(p->recording, recording);
	uuid_format(p->copy, copy);
	const struct log_context ctx = {.recording = recording, .copy = copy};
	if (r == 0)
		log_warning(&ctx, "the file of segment %lld could not be written: made anew", (long long)p->number);
	return r;
}

static int fill_in_place(struct segment_host *h, const struct patient *p, struct error *e)
{
	_cleanup_(closep) int fd = -1;
	int r = spool_open_copy(h->spool, p->copy, O_RDWR, &fd, e);
	if (r == 0)
		r = fill_file(h, fd, p->recording, p->number, p->copy, &p->kept, p->key, e);
	if (r == 0 && fsync(fd) < 0)
		r = error_set_errno(e, ERR_RETRY, errno, "a segment's file cannot be flushed");
	return r;
}

/* What memory or a full disk refused may be done in the same place later; what has no file or no header is the scan's
 * matter. */
static bool is_of_the_file(int r)
{
	return r < 0 && r != ERR_NOMEM && r != ERR_FULL && r != ERR_NOTFOUND && r != ERR_CORRUPT;
}

/* Brings the journal's part home. */
static int take_from_journal(struct segment_host *h, struct patient *p, bool has_failed, struct error *e)
{
	struct error why = {0};
	if (!h->journal)
		return 0;
	(void)pthread_mutex_lock(&h->salvage);
	p->is_kept = journal_is_kept(h->journal, p->copy, &p->kept);
	if (!p->is_kept)
		p->kept = (struct journal_keeping){.durable = UINT64_MAX, .from = UINT64_MAX};
	bool has_bytes = p->kept.from != UINT64_MAX || p->kept.durable != UINT64_MAX || tails_has(h, p->copy);
	int r = 0;
	if (has_bytes || has_failed) {
		/* what counts of its own file is known of one that failed */
		bool is_unusable = has_failed || p->kept.durable != UINT64_MAX;
		r = is_unusable ? make_again(h, p, &why) : fill_in_place(h, p, &why);
		if (!is_unusable && is_of_the_file(r))
			r = make_again(h, p, &why);
	}
	if (r == ERR_NOTFOUND || r == ERR_CORRUPT)
		r = 0;
	if (r == 0)
		journal_forget(h->journal, p->copy);
	(void)pthread_mutex_unlock(&h->salvage);
	return r < 0 ? error_set(e, r, "%s", why.text) : 0;
}

/* The file ends behind its last valid slot. */
static int heal(struct segment_host *h, struct patient *p, bool has_failed, struct sealed_scan *scan, struct error *e)
{
	struct error why = {0};
	int r = take_from_journal(h, p, has_failed, e);
	if (r < 0)
		return r;
	r = scan_copy(h, p->copy, p->key, scan, &why);
	if (is_of_the_file(r)) {
		why = (struct error){0};
		r = make_again(h, p, &why);
		if (r == 0)
			r = scan_copy(h, p->copy, p->key, scan, &why);
	}
	return r < 0 ? error_set(e, r, "%s", why.text) : 0;
}

static int heal_copy(struct segment_host *h, struct patient *p, bool has_failed, struct sealed_scan *scan,
		     bool *ret_is_missing, struct error *e)
{
	int fd = -1;
	struct error why = {0};
	int r = spool_open_copy(h->spool, p->copy, O_RDONLY, &fd, &why);
	closep(&fd);
	*ret_is_missing = r == ERR_NOTFOUND;
	if (r == ERR_NOTFOUND) {
		if (h->journal)
			journal_forget(h->journal, p->copy);
		return sha256_of(NULL, 0, scan->sha256, e);
	}
	if (r < 0)
		return error_set(e, r, "%s", why.text);
	r = recording_key_get(h->db, h->root, p->recording, p->key, NULL, e);
	if (r == 0)
		r = heal(h, p, has_failed, scan, e);
	sodium_memzero(p->key, sizeof(p->key));
	return r;
}

int segment_salvage(struct segment_host *h, const struct uuid *recording, int64_t number, const struct uuid *copy,
		    bool has_failed, struct salvage *ret, struct error *e)
{
	struct sealed_scan scan = {0};
	bool is_missing = false;
	struct patient p = {.recording = recording, .copy = copy, .number = number};
	int r = heal_copy(h, &p, has_failed, &scan, &is_missing, e);
	if (r < 0)
		return r;
	static const struct uuid none;
	struct segment_ids ids;
	segment_ids_set(&ids, &none, &none, recording, spool_node(h->spool));
	*ret = (struct salvage){.bytes = scan.plain};
	if (is_missing)
		r = segment_row_lost(h->db, &ids, copy, &ret->is_lost, e);
	else if (scan.plain > 0)
		r = segment_row_present(h->db, &ids, copy, e);
	if (r < 0)
		return r;
	const struct segment_end_facts facts = {.bytes = scan.plain, .crc32 = scan.crc32};
	r = segment_row_close(h->db, &ids, number, &facts, scan.sha256, false, &ret->bytes, e);
	if (r == 0)
		spool_drop_tail(h->spool, copy);
	return r;
}
