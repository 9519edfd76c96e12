/* A recording's bytes on this node: the run (segment) that is being written, and the steps of the database around it.
 * Everything here blocks and runs on the pool; one thread at a time per recording. */
#ifndef RUSHES_INGEST_SEGMENT_H
#define RUSHES_INGEST_SEGMENT_H

#include "crypto/keyring.h"
#include "live_copies.h"
#include "node/growing.h"
#include "node/spool.h"
#include "room.h"
#include "segment_rows.h"
#include "spool/journal.h"
#include "spool/slab.h"
#include "store/db.h"

#include <pthread.h>

/* What all segments of the process share. */
struct segment_host {
	struct db_pool *db;
	struct spool *spool;
	struct room *room;
	const struct keyring *root;
	struct slab *buffers;	  /* of the appenders */
	struct live_copies *live; /* copies of open segments */
	pthread_mutex_t salvage;  /* one thread at a time writes what the journal has into files */
	struct journal *journal;  /* NULL: full slots become durable, each segment by its own flush */
	struct growing *growing;  /* their files, for peers that follow them */
};

/* Longest time from the writing of bytes to their flush, and most of them: a client waits with its window full. What
 * goes to the journal then waits for its tick. */
#define SEGMENT_COMMIT_MS    100
#define SEGMENT_COMMIT_BYTES (4 * MIB)
/* A stream that brings this much in that time flushes its own file: below, the journal costs less than the flush. */
#define SEGMENT_FAST_BYTES (256 * KIB)

struct segment;

int segment_new(struct segment_host *h, const struct uuid *account, const struct uuid *session,
		const struct uuid *recording, struct segment **ret, struct error *e) _must_check_;
/* Closes the descriptor and wipes the key; what was not ended is left to the start-up scan or the next prepare. */
void segment_free(struct segment *s);
DEFINE_CLEANUP(struct segment, segment_free)

/* Makes this connection the only one that may add a segment (it raises the epoch), closes a segment that a crash left
 * open on this node, and tells where the recording goes on. `acked`: what the client says it was told, or
 * SEGMENT_ACKED_UNKNOWN. ERR_CONFLICT when the recording is finished, ERR_DENIED when the session may not record any
 * more, ERR_CANCELLED when it is being deleted. */
int segment_prepare(struct segment *s, int64_t acked, uint64_t *ret_offset, struct error *e) _must_check_;

/* After segment_prepare(): the node that is to be asked first to let go of the recording (fence.h), or NULL. */
const struct segment_owner *segment_owner(const struct segment *s);

/* Tells again where the recording goes on, with the epoch of segment_prepare(): after the owner was asked. ERR_CONFLICT
 * when a newer epoch was raised. */
int segment_resume(struct segment *s, uint64_t *ret_offset, struct error *e) _must_check_;

int64_t segment_epoch(const struct segment *s); /* 0 before segment_prepare() */

/* Adds bytes; the first ones open a segment: row `incoming` → file, made durable → row `present`. ERR_RETRY before a
 * segment is open may be tried again. An error of the disk makes the segment broken: see below. */
int segment_write(struct segment *s, const void *data, size_t n, struct error *e) _must_check_;

/* What is written from now on counts only after segment_accept(), or again at once. An open segment of the other kind
 * is ended by the next write. */
void segment_set_provisional(struct segment *s, bool is_provisional);
/* The bytes of the open provisional segment were verified: its end makes them count. Without it the end drops them. */
void segment_accept(struct segment *s);

/* Tells what the next run of segment_write() brings, so that a fast stream is known before its bytes are journaled. */
void segment_expect(struct segment *s, uint64_t n);

/* Writes what was sealed: at the end of each run of segment_write(), also after a failure. */
int segment_push(struct segment *s, struct error *e) _must_check_;

/* What is neither durable nor in the journal becomes so: full slots by a flush of the file, the rest by the journal. */
int segment_flush(struct segment *s, struct error *e) _must_check_;

/* Ends the open segment: its rest and everything before it becomes durable, its row is closed. Nothing happens when
 * none is open. After ERR_RETRY the bytes are durable and only the row is open: try again. */
int segment_end(struct segment *s, struct error *e) _must_check_;

/* After a failed write or flush: keeps what is durable, and closes the segment there; where that takes the journal, or
 * fails, segment_leave() leaves it to the recovery. Nothing else but segment_free() may then be called. */
bool segment_is_broken(const struct segment *s);
int segment_salvage_broken(struct segment *s, struct error *e) _must_check_;

/* Whether a segment was opened since this was asked last, its number and the recording's copy job. */
bool segment_was_opened(struct segment *s, struct uuid *ret_job, int64_t *ret_number);

/* Lets peers that follow the open segment have what became durable. Cheap. */
void segment_tell_followers(struct segment *s);

/* Forgets the open segment without closing its row: the recording is being deleted. */
void segment_drop(struct segment *s);
/* The same, for somebody else to close it: what the journal has of it stays. */
void segment_leave(struct segment *s);

uint64_t segment_durable(const struct segment *s); /* offset in the recording up to which all bytes are durable */

/* Bytes that become durable with a batch of the journal. */
struct segment_mark {
	uint64_t batch;
	uint64_t offset; /* in the recording, behind them */
};
#define SEGMENT_MARKS_MAX 2
/* Those that were not durable when they were last looked at, the oldest first; how many. */
unsigned segment_marks(const struct segment *s, struct segment_mark ret[SEGMENT_MARKS_MAX]);

bool segment_is_open(const struct segment *s);
int64_t segment_unflushed_since_us(const struct segment *s); /* monotonic; 0: nothing waits for a flush */
uint64_t segment_unflushed_bytes(const struct segment *s);

/* SHA-256 and CRC-32 of the whole recording, if all of it went through this object. */
bool segment_whole_crc(const struct segment *s, uint32_t *ret);
bool segment_whole_sha256(const struct segment *s, uint8_t ret[32]);

/* What a crash, or a process that lost its database, left open on this node. */
struct salvage {
	uint64_t bytes; /* that count: none of a provisional segment */
	bool is_lost;	/* the row said present, but there is no file */
};

/* Completes the file of a segment that the journal keeps: behind its last valid slot go the bytes of the journal that
 * follow without a gap. Not flushed: *ret_fd is the file, -1 when there is nothing to be done. Then the journal may
 * forget it. */
int segment_fill(struct segment_host *h, const struct uuid *recording, int64_t number, const struct uuid *copy,
		 int *ret_fd, struct error *e) _must_check_;

/* Completes the file, with what the journal keeps of it, and closes the row. Doing it again is no error. `has_failed`:
 * a write or flush of the file did, so that nothing more is written to it: what it and the journal have goes into a new
 * one, which takes its place. The same where completing it fails. */
int segment_salvage(struct segment_host *h, const struct uuid *recording, int64_t number, const struct uuid *copy,
		    bool has_failed, struct salvage *ret, struct error *e) _must_check_;

#endif
