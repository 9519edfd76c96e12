/* A spool's journal: files that are written once and then only overwritten, in which bytes of all growing segments
 * become durable together, one flush for all of them (DESIGN section 5; proto/spool-format.md). Records are sealed
 * straight into the batch that is filling; a thread of the journal's own writes it, flushes once and tells. A
 * generation is one lap of one file. It is overwritten when nothing in it is needed any more: full slots of the
 * segments' own files are made durable by one syncfs, what is still needed moves on as it is, sealed.
 *
 * Life: journal_open() reads what a crash left; journal_keep() and journal_read() serve the salvage of segments;
 * journal_start() makes the files and begins to write. Any thread unless said otherwise. */
#ifndef RUSHES_SPOOL_JOURNAL_H
#define RUSHES_SPOOL_JOURNAL_H

#include "base/error.h"
#include "base/metrics.h"
#include "base/uuid.h"

#include <jansson.h>
#include <stdbool.h>

#define JOURNAL_TOTAL_MIN (4 * MIB)
/* From the first byte of a batch to its commit. */
#define JOURNAL_TICK_MS 80
/* When no stream was there for so long, what is left of former ones is overwritten: a copy that is gone leaves nothing.
 */
#define JOURNAL_IDLE_MS 60000

struct journal_options {
	int folder_fd;	      /* an existing folder, the journal's alone; borrowed for its life */
	struct uuid node;     /* of the spool */
	uint64_t total_bytes; /* of all files, at least JOURNAL_TOTAL_MIN */
	int64_t tick_ms;      /* 0: JOURNAL_TICK_MS */
	int64_t idle_ms;      /* 0: JOURNAL_IDLE_MS */
	/* On a thread of the journal, after each commit and when it failed: journal_durable() or journal_failed() has
	 * news. */
	void (*on_commit)(void *arg);
	void *arg;
	struct metrics *metrics;
};

struct journal;
struct journal_stream;

/* Reads what the files hold. What is torn, foreign or corrupt is passed over: only the disk itself or memory can make
 * this fail. */
int journal_open(const struct journal_options *o, struct journal **ret, struct error *e) _must_check_;

/* Makes the files that are missing or have another size, and begins to write; what was not kept is forgotten.
 * ERR_FULL: the disk has no room for it. One thread, before any stream. */
int journal_start(struct journal *j, struct error *e) _must_check_;

/* Ends the threads; what waits is committed first, and on_commit is not called again. May come before journal_free().
 * NULL is allowed. */
void journal_stop(struct journal *j);
/* All streams must be gone. */
void journal_free(struct journal *j);
DEFINE_CLEANUP(struct journal, journal_free)

/* How many streams the journal has room for: what they may leave unfinished must fit beside what is written. */
size_t journal_streams_max(const struct journal *j);

/* ---- writing ---- */

/* A segment that grows: one thread at a time. `key` is the recording's data key. */
int journal_stream_new(struct journal *j, const struct uuid *copy, const struct uuid *recording, uint32_t segment,
		       const uint8_t key[32], struct journal_stream **ret, struct error *e) _must_check_;
/* Its bytes are durable elsewhere, or nobody wants them: its records may be overwritten. NULL is allowed. */
void journal_stream_end(struct journal_stream *s);
/* It ends without that: its records stay until journal_forget(). No more than `keep` bytes of the segment's own file
 * count as durable. NULL is allowed. */
void journal_stream_leave(struct journal_stream *s, uint64_t keep);

/* Adds the segment's bytes from `from` on: durable when journal_durable() reaches *ret_batch. Waits while the journal
 * has no room; ERR_RETRY when that takes long: nothing of it needs to be undone. ERR_FATAL when the journal failed. */
int journal_append(struct journal_stream *s, uint64_t from, const void *data, size_t n, uint64_t *ret_batch,
		   struct error *e) _must_check_;

/* Tells that the segment's file holds its first `bytes` bytes: written, or durable. */
void journal_stream_written(struct journal_stream *s, uint64_t bytes);
void journal_stream_durable(struct journal_stream *s, uint64_t bytes);

/* Number of the last batch that is durable. */
uint64_t journal_durable(const struct journal *j);
/* A write or a flush failed: nothing more becomes durable here until a restart. */
bool journal_failed(const struct journal *j);

/* ---- reading ---- */

/* Batches that did not read though later ones did: not torn by a crash, but rotten. */
unsigned journal_gaps(const struct journal *j);

/* Keeps the records of a segment that was found open: until journal_forget(). */
int journal_keep(struct journal *j, const struct uuid *copy, struct error *e) _must_check_;

struct journal_keeping {
	uint64_t durable; /* what counts of the segment's own file; UINT64_MAX: what is there */
	uint64_t from;	  /* the first byte that is kept; UINT64_MAX: none */
};
bool journal_is_kept(struct journal *j, const struct uuid *copy, struct journal_keeping *ret);
void journal_forget(struct journal *j, const struct uuid *copy);
/* The copies that are kept: an allocated array. */
int journal_kept(struct journal *j, struct uuid **ret, size_t *ret_n, struct error *e) _must_check_;

typedef int journal_sink(void *arg, const uint8_t *data, size_t n, struct error *e);

/* Gives the bytes of a kept segment from `from` on, in order, as far as they follow without a gap. Records that do not
 * open with this key are passed over. Off the loop. A negative result of the sink ends it. */
int journal_read(struct journal *j, const struct uuid *copy, const struct uuid *recording, uint32_t segment,
		 const uint8_t key[32], uint64_t from, journal_sink *sink, void *arg, struct error *e) _must_check_;

/* For /debug/state. */
json_t *journal_debug(void *journal);

#endif
