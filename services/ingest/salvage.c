/* Closing what a crash left open: part of segment.h. */
#include "segment.h"

#include "crypto/digest.h"
#include "domain/key.h"
#include "segment_rows.h"
#include "spool/sealed.h"

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

int segment_salvage(struct segment_host *h, const struct uuid *recording, int64_t number, const struct uuid *copy,
		    struct salvage *ret, struct error *e)
{
	struct sealed_scan scan = {0};
	bool is_missing = false;
	int r = scan_copy(h, recording, copy, &scan, &is_missing, e);
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
