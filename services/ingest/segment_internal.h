/* What the parts of a segment share: segment.c (opened, ended), segment_bytes.c (written, made durable). */
#ifndef RUSHES_INGEST_SEGMENT_INTERNAL_H
#define RUSHES_INGEST_SEGMENT_INTERNAL_H

#include "segment.h"

#include "crypto/digest.h"
#include "segment_rows.h"
#include "spool/appender.h"

struct segment {
	struct segment_host *host;
	struct segment_ids ids;
	struct segment_place place; /* where the next one may be opened; number < 0: ask first */
	uint64_t next;		    /* offset of the next byte while no segment is open */
	bool has_key;
	uint8_t key[KEY_BYTES];
	struct recording_key key_row;

	/* the open segment */
	bool is_open;	     /* its row is */
	bool is_ended;	     /* the file is complete, the row still open */
	bool is_broken;	     /* the disk failed */
	bool is_full;	     /* because it has no room */
	bool is_listed;	     /* among the live copies */
	bool is_provisional; /* its bytes count when it was accepted */
	bool is_accepted;
	struct uuid copy;
	struct uuid job;	      /* copies the recording */
	bool is_new;		      /* segment_was_opened() has yet to tell */
	struct growing_file *growing; /* NULL: it is not followed */
	int64_t number;
	uint64_t start;
	int fd;
	struct sealed_appender *appender;
	int64_t unflushed_since_us;

	/* its bytes in the journal; offsets are in the segment */
	struct journal_stream *stream; /* NULL: only its own file makes them durable */
	uint64_t covered;	       /* up to here they are durable, or in the journal */
	uint64_t settled;	       /* up to here they are durable */
	struct segment_mark marks[SEGMENT_MARKS_MAX];
	unsigned n_marks;
	bool is_fast; /* full slots are flushed, not journaled */
	int64_t pace_since_us;
	uint64_t pace_bytes;
	uint64_t flushed_at;

	/* of the whole recording, as far as this object saw it from the beginning */
	bool saw_all;
	uint32_t crc;
	uint64_t crc_bytes;
	unsigned segments;
	uint8_t sha256[SHA256_BYTES]; /* of the last segment that ended */

	bool wants_provisional; /* the next segment */
};

/* segment.c */
int segment_begin(struct segment *s, struct error *e) _must_check_;
int segment_disk_failed(struct segment *s, int r);

#endif
