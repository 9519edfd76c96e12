/* Closing what a crash left open: part of segment.h. */
#include "segment.h"

#include "crypto/digest.h"
#include "domain/key.h"
#include "segment_rows.h"
#include "spool/appender.h"
#include "spool/sealed.h"

#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <string.h>

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

static int scan_copy(struct segment_host *h, const struct uuid *recording, const struct uuid *copy,
		     struct sealed_scan *scan, bool *ret_is_missing, struct error *e)
{
	_cleanup_(closep) int fd = -1;
	struct error why = {0};
	int r = spool_open_copy(h->spool, copy, O_RDWR, &fd, &why);
	*ret_is_missing = r == ERR_NOTFOUND;
	if (r == ERR_NOTFOUND)
		return sha256_of(NULL, 0, scan->sha256, e);
	if (r < 0)
		return error_set(e, r, "%s", why.text);
	uint8_t key[KEY_BYTES];
	r = recording_key_get(h->db, h->root, recording, key, NULL, e);
	if (r == 0)
		r = complete_file(h, fd, key, copy, scan, e);
	sodium_memzero(key, sizeof(key));
	return r;
}

static int append(void *arg, const uint8_t *data, size_t n, struct error *e)
{
	return sealed_appender_append(arg, data, n, e);
}

/* From the slot where the journal's bytes begin on: what is before was durable when they came. */
static int fill_file(struct segment_host *h, int fd, const struct uuid *recording, int64_t number,
		     const struct uuid *copy, const struct journal_keeping *kept, struct error *e)
{
	uint8_t key[KEY_BYTES];
	_cleanup_(sealed_appender_freep) struct sealed_appender *a = NULL;
	uint64_t slots = kept->durable == UINT64_MAX ? SEALED_SLOTS_MAX : kept->durable / SEALED_SLOT_PAYLOAD;
	uint64_t first = kept->from == UINT64_MAX ? slots : kept->from / SEALED_SLOT_PAYLOAD;
	int r = recording_key_get(h->db, h->root, recording, key, NULL, e);
	if (r < 0)
		return r;
	r = sealed_appender_resume(fd, key, first, slots, h->buffers, &a, e);
	/* shorter than it should be: what is there counts */
	if (r == ERR_CORRUPT && first > 0)
		r = sealed_appender_resume(fd, key, 0, slots, h->buffers, &a, e);
	if (r == 0 && a)
		r = journal_read(h->journal, copy, recording, (uint32_t)number, key, sealed_appender_taken(a), append,
				 a, e);
	if (r == 0 && a)
		r = sealed_appender_complete(a, e);
	sodium_memzero(key, sizeof(key));
	return r;
}

int segment_fill(struct segment_host *h, const struct uuid *recording, int64_t number, const struct uuid *copy,
		 int *ret_fd, struct error *e)
{
	struct journal_keeping kept;
	struct error why = {0};
	_cleanup_(closep) int fd = -1;
	*ret_fd = -1;
	if (!h->journal || !journal_is_kept(h->journal, copy, &kept) ||
	    (kept.from == UINT64_MAX && kept.durable == UINT64_MAX))
		return 0;
	int r = spool_open_copy(h->spool, copy, O_RDWR, &fd, &why);
	if (r == 0)
		r = fill_file(h, fd, recording, number, copy, &kept, &why);
	/* the scan says what is wrong with a file that is missing, or has no header */
	if (r == ERR_NOTFOUND || r == ERR_CORRUPT)
		return 0;
	if (r < 0)
		return error_set(e, r, "%s", why.text);
	*ret_fd = TAKE_FD(fd);
	return 0;
}

/* Brings the journal's part home. */
static int take_from_journal(struct segment_host *h, const struct uuid *recording, int64_t number,
			     const struct uuid *copy, struct error *e)
{
	_cleanup_(closep) int fd = -1;
	if (!h->journal)
		return 0;
	(void)pthread_mutex_lock(&h->salvage);
	int r = segment_fill(h, recording, number, copy, &fd, e);
	if (r == 0 && fd >= 0 && fsync(fd) < 0)
		r = error_set_errno(e, ERR_RETRY, errno, "a segment's file cannot be flushed");
	if (r == 0)
		journal_forget(h->journal, copy);
	(void)pthread_mutex_unlock(&h->salvage);
	return r;
}

int segment_salvage(struct segment_host *h, const struct uuid *recording, int64_t number, const struct uuid *copy,
		    struct salvage *ret, struct error *e)
{
	struct sealed_scan scan = {0};
	bool is_missing = false;
	int r = take_from_journal(h, recording, number, copy, e);
	if (r == 0)
		r = scan_copy(h, recording, copy, &scan, &is_missing, e);
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
	return segment_row_close(h->db, &ids, number, &facts, scan.sha256, false, &ret->bytes, e);
}
