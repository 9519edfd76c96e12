/* An intake: one recording that is being received by this process, across the connections that bring it. The loop's
 * thread holds it; all that blocks (sealing, writing, flushing, the database) is done in turns on the pool, one turn at
 * a time per recording. A connection attaches, gives bytes and commands, and is told what became of them. When it goes,
 * the intake lingers for the next one, then closes its segment and leaves. */
#ifndef RUSHES_INGEST_INTAKE_H
#define RUSHES_INGEST_INTAKE_H

#include "base/log.h"
#include "base/metrics.h"
#include "base/pool.h"
#include "bus/bus.h"
#include "chunks.h"
#include "segment.h"

#include <jansson.h>

/* Recordings that a process receives at once. */
#define INTAKES_MAX 65536

/* Bytes of one recording that may wait for the pool; above it the connection is to pause. */
#define INTAKE_QUEUE_BYTES (2 * MIB)

enum intake_state {
	INTAKE_OPENING,	   /* the database is asked whether and where it goes on */
	INTAKE_RECEIVING,  /* takes bytes */
	INTAKE_STOPPED,	   /* all bytes have come; waits for send or abort */
	INTAKE_SAVING,	   /* released; the database is being told */
	INTAKE_SAVED,	   /* and has it */
	INTAKE_DISCARDING, /* aborted */
	INTAKE_FAILED,	   /* ends without being saved by this connection: closes its segment and leaves */
	INTAKE_ENDED,	   /* nothing is left to do */
	INTAKE_STATE_MAX
};

const char *intake_state_to_string(enum intake_state s);

/* Why a connection's recording ends without being saved. Codes are those of proto/stream.md. */
struct intake_failure {
	const char *code;
	const char *message;
	bool retry; /* the same take may be tried again */
};

/* What a connection is told, on the loop. After on_failed and on_discarded nothing more comes, and the connection is
 * detached. Any may detach. on_ack and on_copied may be NULL. */
struct intake_callbacks {
	void (*on_open)(void *arg, const struct uuid *recording, uint64_t offset, bool send_on_stop);
	void (*on_ack)(void *arg, uint64_t offset); /* durable up to here */
	void (*on_room)(void *arg);		    /* after intake_is_full() */
	void (*on_saved)(void *arg, bool is_copied);
	void (*on_copied)(void *arg);
	void (*on_discarded)(void *arg);
	void (*on_failed)(void *arg, const struct intake_failure *why);
};

/* Whether a recording is an upload by tus. */
enum intake_tus {
	INTAKE_NO_TUS,
	INTAKE_TUS_NEW,	  /* to be made */
	INTAKE_TUS_KNOWN, /* to go on with: refused as `unknown-upload` where there is none */
};

/* What is known of an upload by tus. */
struct intake_upload {
	bool has_length;
	uint64_t length;
	char *metadata;	   /* as the client gave it; NULL: none */
	int64_t window_ms; /* after its last byte it expires */
};

/* Who asks, and what the first connection says of the recording. Texts are borrowed for the call; NULL: unknown. */
struct intake_start {
	struct uuid account, session, recording;
	uint64_t max_bytes, max_duration_ms; /* of the token */
	bool send_on_stop;
	bool has_declared; /* the client said how many bytes the whole has: room for them is claimed */
	uint64_t declared_bytes;
	int64_t keep_room_ms; /* that claim outlives the connection so long; 0: it does not */
	bool is_upload;	      /* a file, not a stream: it may take longer than it lasts */
	bool is_single;	      /* an upload by one request: when that breaks off, nobody goes on with it */
	bool is_repeatable;   /* a single one that names its take: it may be sent again from the beginning */
	bool is_provisional;  /* what this connection brings counts only after intake_accept() */
	enum intake_tus tus;
	const struct intake_upload *upload; /* of a new one by tus */
	const char *mime, *ip, *user_agent, *devices, *referrer, *file_name;
	struct uuid replaces; /* zero: nothing */
	bool has_acked;	      /* `acked`: what the client says it was told */
	uint64_t acked;
	const struct trace *trace;
};

/* What the client says of the whole, at its end. */
struct intake_total {
	bool has_bytes, has_crc, has_sha256;
	uint64_t bytes;
	uint32_t crc32;
	uint8_t sha256[32];
};

struct intakes; /* all intakes of the process */
struct intake;

struct intakes_options {
	struct loop *loop;
	struct pool *pool;    /* turns that ask the database */
	struct pool *writers; /* turns that only write: streams go on while the database is slow or away */
	struct segment_host *host;
	struct fences *fences;
	struct bus *bus; /* NULL: no hints */
	struct slab *chunks;
	const char *region;
	struct metrics *metrics;
	int64_t linger_ms;	      /* how long a recording without a connection keeps its segment open */
	uint64_t stream_rate;	      /* bytes per second that a new stream is assumed to bring */
	void (*on_broken)(void *arg); /* a segment was left to the recovery; may be NULL */
	void *arg;
};

int intakes_new(const struct intakes_options *o, struct intakes **ret, struct error *e) _must_check_;
/* The pools are about to be freed: no further turn begins. */
void intakes_close(struct intakes *s);
/* No turn may be running. */
void intakes_free(struct intakes *s);
DEFINE_CLEANUP(struct intakes, intakes_free)

/* Recordings that ended, by label `end`: user, limit, upload, lost, discarded. */
struct metric *intakes_ended(struct metrics *m);

size_t intakes_count(const struct intakes *s);
/* Whether a new stream would find room. */
bool intakes_have_room(const struct intakes *s);
struct slab *intakes_chunks(struct intakes *s);
json_t *intakes_debug(void *intakes);

/* A stop: recordings close their segments now and their connections are told `draining`; uploads and what is stopped
 * already may finish within `grace_ms`. */
void intakes_drain(struct intakes *s, int64_t grace_ms);

/* The journal has news (spool/journal.h, on_commit). Any thread. */
void intakes_journal_changed(void *intakes);

/* Ids of the recordings whose connections are there, for polls: at most `max`, with the epochs that they hold. */
size_t intakes_attached(struct intakes *s, bool only_saved, struct uuid *ret, int64_t *ret_epochs, size_t max);
struct intake *intakes_find(struct intakes *s, const struct uuid *recording);

/* Attaches a connection: finds the recording or opens it. A connection that was attached before is told `superseded`.
 * ERR_DENIED for another session's recording, ERR_CANCELLED for a deleted one, ERR_FULL when the node takes nothing
 * new, ERR_NOMEM. */
int intake_attach(struct intakes *s, const struct intake_start *start, const struct intake_callbacks *c, void *arg,
		  struct intake **ret, struct error *e) _must_check_;

/* The connection is gone; nothing more is told. `at_once`: do not linger. */
void intake_detach(struct intake *i, bool at_once);

/* Takes the bytes at `offset` of the recording out of `bytes`. What was received before is skipped. ERR_CONFLICT: a
 * gap. ERR_REJECT: no bytes may come now. Over the limits: the recording is ended (on_failed follows) and 0 returned.
 */
int intake_give(struct intake *i, uint64_t offset, struct chunks *bytes, struct error *e) _must_check_;
bool intake_is_full(const struct intake *i);
uint64_t intake_received(const struct intake *i);
uint64_t intake_durable(const struct intake *i);
uint64_t intake_max_bytes(const struct intake *i);		   /* valid once it is open */
const struct intake_upload *intake_upload(const struct intake *i); /* NULL: none by tus; valid once it is open */
struct uuid intake_recording(const struct intake *i);
enum intake_state intake_state(const struct intake *i);
bool intake_is_recovered(const struct intake *i); /* it was saved with what had come, before this connection */

/* The client tells the length of an upload that had none. on_failed with `length-changed` when it has another. */
void intake_set_length(struct intake *i, uint64_t length);

/* What a provisional connection brought was verified: it becomes durable, which on_ack tells. Without it, it is dropped
 * when the connection goes. */
void intake_accept(struct intake *i);

/* Makes everything durable, which on_ack tells; with a journal the segment stays open. */
void intake_sync(struct intake *i);
/* Makes everything durable and ends the segment; bytes that come later begin a new one. */
void intake_pause(struct intake *i);
/* The end of the bytes. on_failed when they do not match the total. */
void intake_stop(struct intake *i, const struct intake_total *t);
/* Releases the take: stops it where it wasn't. on_saved follows, as often as it is asked for. */
void intake_send(struct intake *i);
void intake_abort(struct intake *i);

/* Every call above may free an intake that has nothing left to do: between these two it stays. */
void intake_hold(struct intake *i);
void intake_let_go(struct intake *i);

/* Another node takes the recording over: what was received becomes durable, the segment is closed, the connection is
 * told `superseded`. True: fences_released() follows when that is done. False: there is nothing to wait for, the
 * recording is only being opened here, or is finished. */
bool intake_supersede(struct intake *i);

/* What polls found. */
void intake_revoked(struct intake *i, const char *code);
void intake_copied(struct intake *i);

#endif
