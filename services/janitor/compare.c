#include "compare.h"

#include "base/clock.h"
#include "domain/ledger_head.h"
#include "domain/ledger_target.h"

#include <string.h>

#define COMPARE_EVERY_US ((int64_t)600 * 1000000)

/* The last batch at the target as parameters of SQL. */
struct last {
	char batch[DB_INT_BYTES];
	char root[DB_BYTEA_BYTES(MERKLE_HASH_BYTES)];
	const char *params[2]; /* nulls: there is no target, or nothing in it */
};

static int read_head(struct ledger_target *t, uint64_t batch, struct ledger_head *ret, struct error *e)
{
	_cleanup_(buffer_done) struct buffer object = {0};
	int r = ledger_target_get(t, batch, &object, e);
	if (r < 0)
		return r;
	char *end = memchr(object.data, '\n', object.size);
	if (end)
		*end = '\0';
	return ledger_head_parse(end ? object.data : "", ret, e);
}

static int read_last(const struct compare *c, struct last *ret, struct error *e)
{
	_cleanup_(ledger_target_freep) struct ledger_target *t = NULL;
	struct ledger_head h;
	uint64_t batch = 0;
	*ret = (struct last){0};
	if (!*c->target.where)
		return 0;
	int r = ledger_target_open(&c->target, &t, e);
	if (r == 0)
		r = ledger_target_last(t, &batch, e);
	if (r == 0 && batch > 0)
		r = read_head(t, batch, &h, e);
	if (r < 0)
		return r;
	ret->params[0] = db_param_int((int64_t)batch, ret->batch);
	if (batch > 0)
		ret->params[1] = db_param_bytea(h.root, sizeof(h.root), ret->root);
	return 0;
}

/* Calls a function of the gate with it; what it answers is what there is to be told. */
static int tell(const struct compare *c, const struct db_statement *st, const struct last *last, struct error *e)
{
	_cleanup_(db_result_freep) struct db_result *rows = NULL;
	int r = db_run(c->db, st, last->params, &rows, e);
	return r < 0 || db_null(rows, 0, 0) ? r : error_set(e, ERR_CORRUPT, "%s", db_text(rows, 0, 0));
}

static int look(const struct compare *c, struct last *ret, struct error *e)
{
	static const struct db_statement st = {"gate_compare", "SELECT rushes.gate_compare($1::bigint, $2::bytea)", 2};
	int r = read_last(c, ret, e);
	return r < 0 ? r : tell(c, &st, ret, e);
}

int compare_run(struct compare *c, struct error *e)
{
	static const struct db_statement st = {"gate_waits", "SELECT rushes.gate_waits()", 0};
	_cleanup_(db_result_freep) struct db_result *rows = NULL;
	struct last last;
	int r = db_run(c->db, &st, NULL, &rows, e);
	if (r < 0 || (!db_bool(rows, 0, 0) && clock_monotonic_us() < c->due_us))
		return r;
	r = look(c, &last, e);
	if (r == 0)
		c->due_us = clock_monotonic_us() + COMPARE_EVERY_US;
	return r;
}

int compare_at_gate(void *arg, struct error *e)
{
	static const struct db_statement st = {"gate_try_open", "SELECT rushes.gate_try_open($1::bigint, $2::bytea)",
					       2};
	struct last last;
	int r = look(arg, &last, e);
	/* a target that differs is one more reason that the gate itself gives */
	return r < 0 && r != ERR_CORRUPT ? r : tell(arg, &st, &last, e);
}
