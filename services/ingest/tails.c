#include "tails.h"

#include "base/log.h"
#include "recording_rows.h"
#include "spool/sealed.h"
#include "spool/tail.h"

#include <fcntl.h>
#include <string.h>

/* Files here of which the journal has something, by the copies and recordings that their headers name. */
struct candidates {
	struct uuid *copies, *recordings;
	size_t n;
};

static void candidates_done(struct candidates *c)
{
	free(c->copies);
	free(c->recordings);
}

static int find_candidates(struct segment_host *h, struct candidates *c, struct error *e)
{
	size_t n = 0;
	int r = journal_found(h->journal, &c->copies, &n, e);
	if (r < 0)
		return r;
	c->recordings = calloc(n + 1, sizeof(*c->recordings));
	if (!c->recordings)
		return error_nomem(e);
	for (size_t i = 0; i < n; i++) {
		struct sealed_header header;
		_cleanup_(closep) int fd = -1;
		/* one that was kept by an earlier start has all that there was then */
		if (tails_has(h, &c->copies[i]) || spool_open_copy(h->spool, &c->copies[i], O_RDONLY, &fd, NULL) < 0 ||
		    sealed_header_read(fd, &header, NULL) < 0)
			continue;
		c->copies[c->n] = c->copies[i];
		c->recordings[c->n++] = header.recording;
	}
	return 0;
}

static int ask_lost(struct segment_host *h, const struct candidates *c, struct db_result **ret, struct error *e)
{
	static const struct db_statement st = {
	    "spool_files_lost",
	    "SELECT f.copy, f.recording FROM unnest($2::uuid[], $3::uuid[]) AS f(copy, recording) "
	    "WHERE rushes.spool_file_fate($1::uuid, f.copy, f.recording) = 'lost-row'",
	    3};
	_cleanup_(freep) char *copies = uuid_array(c->copies, c->n);
	_cleanup_(freep) char *recordings = uuid_array(c->recordings, c->n);
	if (!copies || !recordings)
		return error_nomem(e);
	return db_run(h->db, &st, (const char *[]){spool_node_text(h->spool), copies, recordings}, ret, e);
}

static int save(struct segment_host *h, const struct uuid *copy, uint64_t *ret_bytes, struct error *e)
{
	_cleanup_(closep) int fd = -1;
	int r = spool_create_again(h->spool, copy, &fd, e);
	if (r < 0)
		return r;
	r = tail_write(h->journal, copy, fd, ret_bytes, e);
	if (r == 0)
		return spool_keep_tail(h->spool, copy, e);
	spool_drop_again(h->spool, copy);
	return r;
}

bool tails_has(struct segment_host *h, const struct uuid *copy)
{
	_cleanup_(closep) int fd = -1;
	return spool_open_tail(h->spool, copy, &fd, NULL) == 0;
}

static int save_one(struct segment_host *h, const struct db_result *rows, size_t row, struct error *e)
{
	struct uuid copy;
	struct error why = {0};
	uint64_t bytes = 0;
	if (!db_uuid(rows, row, 0, &copy))
		return 0;
	const struct log_context ctx = {.copy = db_text(rows, row, 0), .recording = db_text(rows, row, 1)};
	if (save(h, &copy, &bytes, &why) == 0) {
		log_error(&ctx,
			  "ALARM: the journal has %llu bytes of a segment that neither tables nor ledger know: kept",
			  (unsigned long long)bytes);
		return 0;
	}
	log_error(&ctx, "what the journal has of a lost row cannot be kept elsewhere: %s", why.text);
	return error_set(e, ERR_FULL, "%s", why.text);
}

int tails_save(struct segment_host *h, struct error *e)
{
	_cleanup_(candidates_done) struct candidates c = {0};
	_cleanup_(db_result_freep) struct db_result *rows = NULL;
	int r = find_candidates(h, &c, e);
	if (r == 0 && c.n > 0)
		r = ask_lost(h, &c, &rows, e);
	for (size_t i = 0; r == 0 && rows && i < db_rows(rows); i++)
		r = save_one(h, rows, i, e);
	if (r == ERR_FULL)
		spool_set_read_only(h->spool);
	return r == ERR_FULL ? 0 : r;
}

static int append(void *arg, const uint8_t *data, size_t n, struct error *e)
{
	return sealed_appender_append(arg, data, n, e);
}

int tails_append(struct segment_host *h, const struct uuid *copy, const struct uuid *recording, int64_t number,
		 const uint8_t key[KEY_BYTES], struct sealed_appender *a, struct error *e)
{
	_cleanup_(closep) int fd = -1;
	struct error why = {0};
	int r = spool_open_tail(h->spool, copy, &fd, &why);
	if (r == 0)
		r = tail_read(fd, recording, (uint32_t)number, key, sealed_appender_taken(a), append, a, &why);
	return r == 0 || r == ERR_NOTFOUND || r == ERR_CORRUPT ? 0 : error_set(e, r, "%s", why.text);
}
