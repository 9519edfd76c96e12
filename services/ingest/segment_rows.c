#include "segment_rows.h"

#include "node/spool.h"

#include <assert.h>
#include <string.h>

void segment_ids_set(struct segment_ids *ids, const struct uuid *account, const struct uuid *session,
		     const struct uuid *recording, const struct uuid *node)
{
	*ids = (struct segment_ids){.account = *account, .session = *session, .recording = *recording, .node = *node};
	uuid_format(account, ids->account_text);
	uuid_format(session, ids->session_text);
	uuid_format(recording, ids->recording_text);
	uuid_format(node, ids->node_text);
}

int segment_row_prepare(struct db_pool *p, const struct segment_ids *ids, int64_t epoch, int64_t acked,
			struct segment_place *ret, struct error *e)
{
	static const struct db_statement st = {
	    "segment_prepare",
	    "SELECT epoch, next_number, closed_end, coalesce(open_number, -1), open_copy, owner, owner_url, "
	    "owner_is_silent FROM rushes.segment_prepare($1::uuid, $2::uuid, $3::uuid, $4::integer, $5::bigint)",
	    5};
	char epoch_text[DB_INT_BYTES], acked_text[DB_INT_BYTES];
	const char *params[] = {ids->recording_text, ids->session_text, ids->node_text,
				epoch == SEGMENT_EPOCH_NEW ? NULL : db_param_int(epoch, epoch_text),
				acked == SEGMENT_ACKED_UNKNOWN ? NULL : db_param_int(acked, acked_text)};
	_cleanup_(db_result_freep) struct db_result *rows = NULL;
	int r = db_run(p, &st, params, &rows, e);
	if (r < 0)
		return r;
	assert(db_rows(rows) == 1);
	*ret = (struct segment_place){.epoch = db_int(rows, 0, 0),
				      .number = db_int(rows, 0, 1),
				      .end = (uint64_t)db_int(rows, 0, 2),
				      .open_number = db_int(rows, 0, 3)};
	if (ret->open_number >= 0 && !db_uuid(rows, 0, 4, &ret->open_copy))
		return error_set(e, ERR_CORRUPT, "recording %s has an open segment without a copy",
				 ids->recording_text);
	const char *url = db_text(rows, 0, 6);
	ret->has_owner = db_uuid(rows, 0, 5, &ret->owner.node);
	ret->owner.is_silent = !url || strlen(url) >= sizeof(ret->owner.url) || db_bool(rows, 0, 7);
	if (!ret->owner.is_silent)
		(void)snprintf(ret->owner.url, sizeof(ret->owner.url), "%s", url);
	return 0;
}

int segment_row_open(struct db_pool *p, const struct segment_ids *ids, const struct segment_place *place,
		     const struct uuid *copy, const struct recording_key *key, bool is_provisional,
		     struct uuid *ret_job, struct error *e)
{
	static const struct db_statement st = {
	    "segment_open",
	    "SELECT rushes.segment_open($1::uuid, $2::integer, $3::integer, $4::uuid, "
	    "$5::bigint, $6::uuid, $7, $8::uuid, $9::bytea, $10::boolean)",
	    10};
	char epoch[DB_INT_BYTES], number[DB_INT_BYTES], start[DB_INT_BYTES], copy_text[UUID_TEXT_BYTES],
	    key_text[UUID_TEXT_BYTES], location[SPOOL_LOCATION_BYTES], wrapped[DB_BYTEA_BYTES(WRAPPED_KEY_BYTES)];
	uuid_format(copy, copy_text);
	uuid_format(&key->account_key, key_text);
	spool_location(copy, location);
	const char *params[] = {ids->recording_text,
				db_param_int(place->epoch, epoch),
				db_param_int(place->number, number),
				ids->node_text,
				db_param_int((int64_t)place->end, start),
				copy_text,
				location,
				key_text,
				db_param_bytea(key->wrapped, sizeof(key->wrapped), wrapped),
				db_param_bool(is_provisional)};
	_cleanup_(db_result_freep) struct db_result *rows = NULL;
	int r = db_run(p, &st, params, &rows, e);
	if (r == 0 && !db_uuid(rows, 0, 0, ret_job))
		return error_set(e, ERR_CORRUPT, "recording %s has no copy job", ids->recording_text);
	return r;
}

int segment_row_present(struct db_pool *p, const struct segment_ids *ids, const struct uuid *copy, struct error *e)
{
	static const struct db_statement st = {"segment_present", "SELECT rushes.segment_present($1::uuid, $2::uuid)",
					       2};
	char copy_text[UUID_TEXT_BYTES];
	uuid_format(copy, copy_text);
	return db_run(p, &st, (const char *[]){copy_text, ids->node_text}, NULL, e);
}

int segment_row_close(struct db_pool *p, const struct segment_ids *ids, int64_t number,
		      const struct segment_end_facts *facts, const uint8_t sha256[32], bool is_verified,
		      uint64_t *ret_bytes, struct error *e)
{
	static const struct db_statement st = {
	    "segment_close",
	    "SELECT rushes.segment_close($1::uuid, $2::integer, $3::uuid, $4::bigint, $5::bytea, $6::bigint, "
	    "$7::boolean)",
	    7};
	char number_text[DB_INT_BYTES], bytes[DB_INT_BYTES], crc[DB_INT_BYTES], sha[DB_BYTEA_BYTES(32)];
	const char *params[] = {ids->recording_text,
				db_param_int(number, number_text),
				ids->node_text,
				db_param_int((int64_t)facts->bytes, bytes),
				db_param_bytea(sha256, 32, sha),
				db_param_int((int64_t)facts->crc32, crc),
				db_param_bool(is_verified)};
	_cleanup_(db_result_freep) struct db_result *rows = NULL;
	int r = db_run(p, &st, params, &rows, e);
	if (r == 0)
		*ret_bytes = (uint64_t)db_int(rows, 0, 0);
	return r;
}

int segment_row_lost(struct db_pool *p, const struct segment_ids *ids, const struct uuid *copy, bool *ret_was_present,
		     struct error *e)
{
	static const struct db_statement look = {
	    "segment_copy_state",
	    "SELECT copy_state FROM rushes.recordings_open($1::uuid, 100000) WHERE copy = $2::uuid", 2};
	static const struct db_statement lost = {"copy_lost", "SELECT rushes.copy_lost($1::uuid, $2::uuid)", 2};
	char copy_text[UUID_TEXT_BYTES];
	uuid_format(copy, copy_text);
	_cleanup_(db_result_freep) struct db_result *rows = NULL;
	int r = db_run(p, &look, (const char *[]){ids->node_text, copy_text}, &rows, e);
	if (r < 0)
		return r;
	const char *state = db_rows(rows) > 0 ? db_text(rows, 0, 0) : NULL;
	*ret_was_present = state && state[0] == 'p';
	return *ret_was_present ? db_run(p, &lost, (const char *[]){copy_text, ids->node_text}, NULL, e) : 0;
}
