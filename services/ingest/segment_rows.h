/* The statements of segments: one function of the schema each (deploy/schema). Blocks. */
#ifndef RUSHES_INGEST_SEGMENT_ROWS_H
#define RUSHES_INGEST_SEGMENT_ROWS_H

#include "domain/key.h"
#include "store/db.h"

/* Whose segment; the texts are for parameters and messages. */
struct segment_ids {
	struct uuid account, session, recording, node;
	char account_text[UUID_TEXT_BYTES], session_text[UUID_TEXT_BYTES], recording_text[UUID_TEXT_BYTES],
	    node_text[UUID_TEXT_BYTES];
};

void segment_ids_set(struct segment_ids *ids, const struct uuid *account, const struct uuid *session,
		     const struct uuid *recording, const struct uuid *node);

#define SEGMENT_URL_BYTES 256

/* Another node on which a segment of the recording is still open. */
struct segment_owner {
	struct uuid node;
	char url[SEGMENT_URL_BYTES]; /* of its peers' listener */
	bool is_silent;		     /* it has not beaten for long: asking it is in vain */
};

/* The answer of segment_prepare. */
struct segment_place {
	int64_t epoch;
	int64_t number;	     /* of the next segment */
	uint64_t end;	     /* offset at which it begins */
	int64_t open_number; /* of one that is still open on this node, or -1 */
	struct uuid open_copy;
	bool has_owner;
	struct segment_owner owner;
};

#define SEGMENT_EPOCH_NEW     (-1) /* raise it */
#define SEGMENT_ACKED_UNKNOWN (-1)

struct segment_end_facts {
	uint64_t bytes;
	uint32_t crc32;
};

/* `epoch`: the caller's own, or SEGMENT_EPOCH_NEW; `acked`: what the client says it was told, or
 * SEGMENT_ACKED_UNKNOWN. ERR_CONFLICT when a newer epoch was raised, or the recording is finished. */
int segment_row_prepare(struct db_pool *p, const struct segment_ids *ids, int64_t epoch, int64_t acked,
			struct segment_place *ret, struct error *e) _must_check_;
/* *ret_job: the recording's copy job. */
int segment_row_open(struct db_pool *p, const struct segment_ids *ids, const struct segment_place *place,
		     const struct uuid *copy, const struct recording_key *key, bool is_provisional,
		     struct uuid *ret_job, struct error *e) _must_check_;
int segment_row_present(struct db_pool *p, const struct segment_ids *ids, const struct uuid *copy,
			struct error *e) _must_check_;
/* `*ret_bytes`: how many bytes count; none of a provisional segment that is not verified. */
int segment_row_close(struct db_pool *p, const struct segment_ids *ids, int64_t number,
		      const struct segment_end_facts *facts, const uint8_t sha256[32], bool is_verified,
		      uint64_t *ret_bytes, struct error *e) _must_check_;
/* *ret_was_present: the row said that there is a file. */
int segment_row_lost(struct db_pool *p, const struct segment_ids *ids, const struct uuid *copy, bool *ret_was_present,
		     struct error *e) _must_check_;

#endif
