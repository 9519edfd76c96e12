#include "domain/event.h"

#include "base/buffer.h"
#include "base/hex.h"
#include "domain/ledger.h"

#include <assert.h>
#include <inttypes.h>
#include <string.h>

/* Longest list of ids as a parameter. */
#define IDS_BYTES_MAX ((size_t)64 * 1024)

/* The ledger's columns of a row, which begin at 6. */
static int read_proof(const struct db_result *rows, size_t row, struct event *ret, struct error *e)
{
	size_t n = 0;
	if (db_null(rows, row, 6))
		return 0;
	ret->entry = db_int(rows, row, 6);
	ret->entry_position = db_int(rows, row, 8);
	int r = db_bytea(rows, row, 7, ret->entry_hash, sizeof(ret->entry_hash), &n, e);
	if (r == 0 && n != sizeof(ret->entry_hash))
		r = error_set(e, ERR_CORRUPT, "entry %" PRId64 " of the ledger has no hash", ret->entry);
	return r < 0 ? r : ledger_head_of_row(rows, row, 9, &ret->head, e);
}

int event_unpublished(struct db_pool *p, struct event *ret, unsigned limit, unsigned *ret_n, struct error *e)
{
	static const struct db_statement st = {
	    "event_unpublished",
	    "SELECT id, type, account, recording,"
	    " to_char(at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"'), trace,"
	    " entry, hash, place, batch, leaves, root, previous, sealed_at, key_id, signature"
	    " FROM rushes.event_unpublished($1::integer)",
	    1};
	char n[DB_INT_BYTES];
	_cleanup_(db_result_freep) struct db_result *rows = NULL;
	int r = db_run(p, &st, (const char *[]){db_param_int(limit, n)}, &rows, e);
	if (r < 0)
		return r;
	*ret_n = (unsigned)MIN(db_rows(rows), (size_t)limit);
	for (unsigned i = 0; i < *ret_n; i++) {
		struct event *ev = &ret[i];
		*ev = (struct event){.id = db_int(rows, i, 0)};
		(void)snprintf(ev->type, sizeof(ev->type), "%s", db_text(rows, i, 1));
		(void)!db_uuid(rows, i, 2, &ev->account);
		(void)!db_uuid(rows, i, 3, &ev->recording);
		(void)snprintf(ev->at, sizeof(ev->at), "%s", db_text(rows, i, 4));
		(void)!trace_parse(db_text(rows, i, 5), &ev->trace);
		r = read_proof(rows, i, ev, e);
		if (r < 0)
			return r;
	}
	return 0;
}

int event_published(struct db_pool *p, const struct event *events, unsigned n, struct error *e)
{
	static const struct db_statement st = {"event_published", "SELECT rushes.event_published($1::bigint[])", 1};
	_cleanup_(buffer_done) struct buffer ids = {0};
	buffer_init(&ids, IDS_BYTES_MAX);
	int r = buffer_append_string(&ids, "{");
	for (unsigned i = 0; r == 0 && i < n; i++)
		r = buffer_printf(&ids, "%s%" PRId64, i ? "," : "", events[i].id);
	if (r == 0)
		r = buffer_append_string(&ids, "}");
	if (r < 0)
		return error_set(e, r, "cannot list %u events", n);
	return db_run(p, &st, (const char *[]){ids.data}, NULL, e);
}

/* A quoted UUID, or null for zero. */
static void quoted(const struct uuid *u, char ret[UUID_TEXT_BYTES + 2])
{
	char text[UUID_TEXT_BYTES];
	uuid_format(u, text);
	(void)snprintf(ret, UUID_TEXT_BYTES + 2, uuid_is_zero(u) ? "null" : "\"%s\"", text);
}

/* The head as it is signed, and what it says once more for those who only file it. It holds no '\\': JSON's quotes are
 * all that is escaped. */
static size_t proof_text(const struct event *ev, char *ret, size_t room)
{
	char head[LEDGER_HEAD_TEXT_BYTES], quoted_head[2 * LEDGER_HEAD_TEXT_BYTES];
	char hash[2 * MERKLE_HASH_BYTES + 1], root[2 * MERKLE_HASH_BYTES + 1];
	char signature[2 * ED25519_SIGNATURE_BYTES + 1];
	size_t n = 0;
	if (ev->entry == 0)
		return 0;
	ledger_head_text(&ev->head, head);
	for (const char *c = head; *c; c++) {
		if (*c == '"')
			quoted_head[n++] = '\\';
		quoted_head[n++] = *c;
	}
	quoted_head[n] = '\0';
	hex_encode(ev->entry_hash, sizeof(ev->entry_hash), hash);
	hex_encode(ev->head.root, sizeof(ev->head.root), root);
	hex_encode(ev->head.signature, sizeof(ev->head.signature), signature);
	int written = snprintf(ret, room,
			       ",\"ledger\":{\"entry\":%" PRId64 ",\"hash\":\"%s\",\"position\":%" PRId64
			       ",\"batch\":%" PRIu64 ",\"root\":\"%s\",\"key\":\"%s\",\"head\":\"%s\","
			       "\"signature\":\"%s\"}",
			       ev->entry, hash, ev->entry_position, ev->head.batch, root, ev->head.key_id, quoted_head,
			       signature);
	assert(written > 0 && (size_t)written < room);
	return (size_t)written;
}

size_t event_message(const struct event *ev, char ret[EVENT_MESSAGE_BYTES])
{
	char account[UUID_TEXT_BYTES + 2], recording[UUID_TEXT_BYTES + 2];
	quoted(&ev->account, account);
	quoted(&ev->recording, recording);
	int n = snprintf(ret, EVENT_MESSAGE_BYTES,
			 "{\"event\":%" PRId64 ",\"type\":\"%s\",\"account\":%s,\"recording\":%s,\"at\":\"%s\"", ev->id,
			 ev->type, account, recording, ev->at);
	assert(n > 0 && n < EVENT_MESSAGE_BYTES);
	size_t length = (size_t)n + proof_text(ev, ret + n, EVENT_MESSAGE_BYTES - (size_t)n);
	assert(length + 1 < EVENT_MESSAGE_BYTES);
	ret[length] = '}';
	ret[length + 1] = '\0';
	return length + 1;
}

static int publish(struct bus *b, const struct event *ev, struct error *e)
{
	char subject[BUS_SUBJECT_BYTES], id[BUS_ID_BYTES], body[EVENT_MESSAGE_BYTES];
	(void)snprintf(subject, sizeof(subject), "events.%s", ev->type);
	(void)snprintf(id, sizeof(id), "%" PRId64, ev->id);
	struct bus_message m = {.stream = BUS_STREAM_EVENTS, .subject = subject, .id = id, .trace = &ev->trace};
	m.body = body;
	m.body_bytes = event_message(ev, body);
	return bus_publish(b, &m, e);
}

int event_outbox_turn(struct db_pool *p, struct bus *b, unsigned *ret_published, struct error *e)
{
	struct event events[EVENT_BATCH];
	unsigned n = 0, done = 0;
	*ret_published = 0;
	int r = event_unpublished(p, events, EVENT_BATCH, &n, e);
	while (r == 0 && done < n) {
		r = publish(b, &events[done], e);
		done += r == 0;
	}
	/* what the stream holds is marked even when a later one failed */
	if (done > 0) {
		struct error marking = {0};
		int marked = event_published(p, events, done, &marking);
		if (marked < 0)
			return error_set(e, marked, "%s", marking.text);
		*ret_published = done;
	}
	return r;
}
