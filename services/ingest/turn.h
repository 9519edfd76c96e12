/* One turn of an intake on the pool: what the loop collected since the last one is done in order, each step going on
 * where an earlier turn failed. Blocks; pure towards the loop. */
#ifndef RUSHES_INGEST_TURN_H
#define RUSHES_INGEST_TURN_H

#include "chunks.h"
#include "intake.h"
#include "segment.h"

/* What the database says of a recording when it is opened. */
struct turn_opening {
	bool is_finished, is_copied, is_recovered;
	bool send_on_stop;
	uint64_t offset;
	uint64_t max_bytes, max_duration_ms;
	int64_t max_idle_ms;	     /* 0: none */
	char refused[64];	     /* the reason, or "" */
	struct intake_upload upload; /* by tus: metadata is owned */
};

/* How the recording is to be saved. */
struct turn_save {
	const char *stop; /* "user", "limit", "upload" */
	bool is_sent, is_recovered, is_truncated;
	bool has_job;
	struct uuid job;
	uint64_t bytes;
};

/* Texts of the first connection for the row, owned. */
struct turn_facts {
	char *mime, *ip, *user_agent, *devices, *referrer, *file_name;
	struct uuid replaces;
	enum intake_tus tus;
	bool has_length;
	uint64_t length;
	char *metadata;
	char trace[TRACEPARENT_BYTES];
};

enum turn_step { TURN_OPEN, TURN_LENGTH, TURN_WRITE, TURN_END, TURN_CHECK, TURN_SAVE, TURN_DISCARD, TURN_STEP_MAX };

/* What is asked for; cleared as it is done, so that what is left goes on with the next turn. */
struct turn_todo {
	bool open, flush, end, check, save, discard;
	bool verify;		   /* that no other node has taken the recording meanwhile */
	bool drop;		   /* what came provisionally does not count */
	bool accept;		   /* it does, with the end */
	bool set_length;	   /* of an upload by tus */
	uint64_t length;	   /* set_length: to this */
	struct intake_total total; /* check: against these numbers */
	struct turn_save how;	   /* save: how */
};

struct turn {
	struct segment_host *host;
	struct segment *segment;
	struct slab *chunk_pool;
	enum room_kind room;
	const struct turn_facts *facts; /* of the intake */
	struct uuid account, session, recording;
	int64_t acked;	/* what the client says it was told, or SEGMENT_ACKED_UNKNOWN */
	bool is_fenced; /* the owner of an open segment was asked */
	struct turn_todo todo;
	struct chunks bytes;
	bool is_provisional; /* the bytes are */

	/* The connection that asked for it went before it was opened: set and cleared by the loop, looked at before the
	 * recording is taken from whoever has it. */
	_Atomic bool is_abandoned;

	/* what this turn did */
	bool was_abandoned;
	bool opened, saved, discarded;
	bool wants_fence; /* the recording is open on another node: ask segment_owner(), set is_fenced, turn again */
	struct turn_opening opening;
	uint64_t durable;			      /* offset in the recording */
	struct segment_mark marks[SEGMENT_MARKS_MAX]; /* what becomes durable by the journal */
	unsigned n_marks;
	uint64_t written_bytes;
	int64_t flush_us; /* what a flush took; 0: there was none */
	int result;	  /* 0 or the class of the error that stopped the turn */
	enum turn_step step;
	bool is_disk;	  /* the disk failed: the segment was ended at its last durable byte */
	const char *code; /* a documented code that fits better than the class, or NULL */
	struct error error;
};

void turn_run(struct turn *t);

void turn_facts_done(struct turn_facts *f);

#endif
