#include "restore_reconcile.h"

#include "base/clock.h"
#include "domain/ledger.h"
#include "domain/restore.h"

#include <inttypes.h>
#include <string.h>
#include <time.h>

/* Recordings that one statement brings into agreement. */
#define APPLY_BATCH 50
#define POLL_MS	    500
/* Findings that are told; the counts are of all. */
#define FINDINGS_MAX 10000
#define PROGRESS_US  ((int64_t)2000000)

/* A line now and then on the error stream, so that nobody takes a long work for a dead one. */
static void progress(const struct restore_reconcile *o, int64_t *due_us, const char *what, uint64_t n)
{
	int64_t now = clock_monotonic_us();
	if (now < *due_us)
		return;
	*due_us = now + PROGRESS_US;
	if (!o->ctl->json)
		(void)fprintf(stderr, "%s %" PRIu64 "\n", what, n);
}

static int needs_override(const struct restore_reconcile *o, struct error *e, const char *what)
{
	if (o->override)
		return 0;
	char text[ERROR_TEXT_BYTES];
	(void)snprintf(text, sizeof(text), "%s", what);
	return error_set(e, ERR_CORRUPT, "%.500s; docs/operations/restore.md says when --override is the way out",
			 text);
}

/* Whether the database's batch is the target's, word for word. */
static int is_same(const struct restore_reconcile *o, uint64_t batch, bool *ret, struct error *e)
{
	_cleanup_(ledger_object_done) struct ledger_object kept = {0};
	struct ledger_batch here;
	merkle_hash a, b;
	struct error missing = {0};
	int r = ledger_object_read(o->target, batch, o->public_keys, &kept, e);
	if (r < 0)
		return r;
	r = ledger_batch_get(o->ctl->db, batch, &here, &missing);
	*ret = false;
	if (r == ERR_NOTFOUND || !kept.is_sound)
		return 0;
	if (r < 0)
		return error_set(e, r, "%s", missing.text);
	ledger_head_hash(&here.head, a);
	ledger_head_hash(&kept.head, b);
	*ret = memcmp(a, b, sizeof(a)) == 0;
	return 0;
}

/* The database's end against the target: where they part, if they do. */
static int meet(const struct restore_reconcile *o, uint64_t here, uint64_t last, struct error *e)
{
	char what[300];
	struct db *d = o->ctl->db;
	uint64_t common = MIN(here, last);
	bool same = common == 0;
	int r = 0;
	while (r == 0 && common > 0 && !same) {
		r = is_same(o, common, &same, e);
		if (r == 0 && !same)
			common--;
		if (r == 0 && !same && common < MIN(here, last) && !o->override)
			break;
	}
	if (r < 0)
		return r;
	if (common < MIN(here, last)) {
		(void)snprintf(what, sizeof(what),
			       "batch %" PRIu64
			       " of this database is not the one that the ledger target has: it went on "
			       "from an older copy, or the target was changed",
			       MIN(here, last));
		r = needs_override(o, e, what);
		return r < 0 ? r : restore_fork(d, o->ctl->actor, common + 1, o->reason, e);
	}
	struct ledger_batch next = {0};
	struct error missing = {0};
	if (here <= last || ledger_batch_get(d, last + 1, &next, &missing) < 0 || !next.is_published)
		return 0;
	(void)snprintf(what, sizeof(what),
		       "the ledger target ends with batch %" PRIu64 ", but had batch %" PRIu64
		       " before the restored moment: it lost some, and what they said",
		       last, last + 1);
	r = needs_override(o, e, what);
	return r < 0 ? r : restore_republish(d, o->ctl->actor, last + 1, o->reason, e);
}

/* One batch from the target. `before`: the last head that was read, batch 0: none. */
static int take(const struct restore_reconcile *o, uint64_t batch, struct ledger_head *before, struct error *e)
{
	_cleanup_(ledger_object_done) struct ledger_object kept = {0};
	char what[400];
	merkle_hash hash = {0};
	int r = ledger_object_read(o->target, batch, o->public_keys, &kept, e);
	if (r < 0)
		return r;
	if (!kept.is_sound) {
		(void)snprintf(what, sizeof(what), "batch %" PRIu64 " at the ledger target %s%s%.200s", batch,
			       kept.is_there ? "is not what was signed" : "is missing", kept.why.code ? ": " : "",
			       kept.why.text);
		r = needs_override(o, e, what);
		return r < 0 ? r : restore_skip(o->ctl->db, o->ctl->actor, batch, what, o->reason, e);
	}
	if (before->batch)
		ledger_head_hash(before, hash);
	if (memcmp(hash, kept.head.previous, sizeof(hash)) != 0) {
		(void)snprintf(what, sizeof(what),
			       "batch %" PRIu64 " at the ledger target does not follow batch %" PRIu64, batch,
			       before->batch);
		r = needs_override(o, e, what);
		if (r == 0)
			r = restore_skip(o->ctl->db, o->ctl->actor, batch, what, o->reason, e);
	}
	if (r == 0)
		r = restore_import(o->ctl->db, &kept, o->override, e);
	*before = kept.head;
	return r < 0 ? error_wrap(e, "batch %" PRIu64, batch) : 0;
}

static int import(const struct restore_reconcile *o, struct error *e)
{
	uint64_t here = 0, last = 0;
	int64_t due_us = 0;
	struct ledger_batch b = {0};
	int r = o->target ? ledger_target_last(o->target, &last, e) : 0;
	if (r == 0)
		r = ledger_last_batch(o->ctl->db, &here, e);
	if (r == 0 && o->target)
		r = meet(o, here, last, e);
	if (r == 0)
		r = restore_set_target(o->ctl->db, last, e);
	if (r == 0)
		r = ledger_last_batch(o->ctl->db, &here, e);
	if (r == 0 && here > 0)
		r = ledger_batch_get(o->ctl->db, here, &b, e);
	for (uint64_t batch = here + 1; r == 0 && batch <= last; batch++) {
		r = take(o, batch, &b.head, e);
		progress(o, &due_us, "batches of the ledger target left to read:", last - batch);
	}
	return r;
}

static int apply(const struct restore_reconcile *o, struct error *e)
{
	uint64_t left = 1;
	int64_t due_us = clock_monotonic_us() + PROGRESS_US;
	int r = 0;
	while (r == 0 && left > 0) {
		r = restore_apply(o->ctl->db, APPLY_BATCH, &left, e);
		progress(o, &due_us, "recordings left to bring into agreement:", left);
	}
	return r;
}

/* Opens as soon as every spool has reported, or says which have not. */
static int open_gate(const struct restore_reconcile *o, struct error *e)
{
	const struct timespec pause = {0, (long)POLL_MS * 1000000};
	int64_t end = clock_monotonic_us() + o->wait_ms * 1000, due_us = 0;
	for (;;) {
		struct error why = {0};
		int r = restore_open(o->ctl->db, o->ctl->actor, o->without_silent, o->reason, &why);
		if (r != ERR_CONFLICT || clock_monotonic_us() >= end)
			return r < 0 ? error_set(e, r, "%.600s%s", why.text,
						 r == ERR_CONFLICT
						     ? "; start their services, or go on by --without-silent"
						     : "")
				     : 0;
		if (clock_monotonic_us() >= due_us && !o->ctl->json)
			(void)fprintf(stderr, "waiting: %s\n", why.text);
		due_us = MAX(due_us, clock_monotonic_us() + 5 * PROGRESS_US);
		(void)nanosleep(&pause, NULL);
	}
}

static int answer(const struct restore_reconcile *o, json_t **ret, struct error *e)
{
	json_t *status = NULL, *findings = NULL;
	int r = restore_findings(o->ctl->db, FINDINGS_MAX, &findings, e);
	if (r == 0)
		r = restore_status(o->ctl->db, &status, e);
	if (r < 0) {
		json_decref(findings);
		return r;
	}
	*ret = json_pack("{s:b, s:o, s:o}", "dry_run", (int)o->is_dry, "status", status, "findings", findings);
	return *ret ? 0 : error_nomem(e);
}

int restore_reconcile(const struct restore_reconcile *o, json_t **ret, struct error *e)
{
	_cleanup_(db_tx_end) struct db_tx tx = {0};
	int r = o->is_dry ? db_tx_begin(o->ctl->db, &tx, e) : 0;
	if (r == 0)
		r = import(o, e);
	if (r == 0)
		r = apply(o, e);
	if (r == 0)
		r = o->is_dry ? restore_compare(o->ctl->db, e) : open_gate(o, e);
	return r < 0 ? r : answer(o, ret, e);
}
