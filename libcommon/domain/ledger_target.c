#include "domain/ledger_target_backend.h"

#include <inttypes.h>
#include <string.h>

#define FILE_PREFIX "file:"
#define S3_PREFIX   "s3:"
#define NAME_SUFFIX ".ledger"
#define NAME_DIGITS 12

void ledger_target_name(uint64_t batch, char ret[LEDGER_TARGET_NAME_BYTES])
{
	(void)snprintf(ret, LEDGER_TARGET_NAME_BYTES, "%0*" PRIu64 NAME_SUFFIX, NAME_DIGITS, batch);
}

uint64_t ledger_target_batch(const char *name)
{
	char again[LEDGER_TARGET_NAME_BYTES];
	uint64_t batch = strtoull(name, NULL, 10);
	ledger_target_name(batch, again);
	return strcmp(again, name) == 0 ? batch : 0;
}

int ledger_target_open(const struct ledger_target_config *c, struct ledger_target **ret, struct error *e)
{
	if (strncmp(c->where, FILE_PREFIX "/", strlen(FILE_PREFIX "/")) == 0)
		return ledger_target_file_open(c->where + strlen(FILE_PREFIX), ret, e);
	if (strncmp(c->where, S3_PREFIX, strlen(S3_PREFIX)) == 0)
		return ledger_target_s3_open(c, c->where + strlen(S3_PREFIX), ret, e);
	return error_set(e, ERR_REJECT,
			 "%s is no ledger target; want file:/path/of/a/folder or s3:https://host/bucket/prefix",
			 c->where);
}

void ledger_target_free(struct ledger_target *t)
{
	if (t)
		t->ops->free(t);
}

int ledger_target_get(struct ledger_target *t, uint64_t batch, struct buffer *ret, struct error *e)
{
	buffer_init(ret, LEDGER_TARGET_BYTES_MAX + 1);
	return t->ops->get(t, batch, ret, e);
}

/* 0: there is none; 1: it has this content; ERR_CORRUPT: another one. */
static int compare(struct ledger_target *t, uint64_t batch, const void *data, size_t n, struct error *e)
{
	_cleanup_(buffer_done) struct buffer there = {0};
	struct error missing = {0};
	int r = ledger_target_get(t, batch, &there, &missing);
	if (r == ERR_NOTFOUND)
		return 0;
	if (r < 0)
		return error_set(e, r, "%s", missing.text);
	if (there.size != n || memcmp(there.data, data, n) != 0)
		return error_set(e, ERR_CORRUPT,
				 "the ledger target has another content for batch %" PRIu64 "; both stay as they are, "
				 "run `rushesctl ledger verify`",
				 batch);
	return 1;
}

int ledger_target_put(struct ledger_target *t, uint64_t batch, const void *data, size_t n, struct error *e)
{
	bool exists = false;
	int r = compare(t, batch, data, n, e);
	if (r < 0)
		return r;
	if (r > 0) /* perhaps of a process that ended before it had flushed the name */
		return t->ops->flush(t, e);
	r = t->ops->put(t, batch, data, n, &exists, e);
	if (r < 0)
		return r;
	/* what counts is what it answers now, whoever was quicker */
	r = compare(t, batch, data, n, e);
	if (r == 0)
		return error_set(e, ERR_RETRY, "the ledger target does not show batch %" PRIu64 " that it took", batch);
	return r < 0 ? r : exists ? t->ops->flush(t, e) : 0;
}

int ledger_target_last(struct ledger_target *t, uint64_t *ret, struct error *e)
{
	*ret = 0;
	return t->ops->last(t, ret, e);
}
