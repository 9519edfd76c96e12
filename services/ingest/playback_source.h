/* What a session may play of its own recording: the bytes of its segments on this node, in order, opened. Everything
 * here blocks and runs on a pool; one thread at a time per source. */
#ifndef RUSHES_INGEST_PLAYBACK_SOURCE_H
#define RUSHES_INGEST_PLAYBACK_SOURCE_H

#include "segment.h"

#define PLAYBACK_MIME_BYTES 128

struct playback_question {
	struct uuid account, session, recording;
	bool is_live;	  /* it is being received here: */
	uint64_t durable; /* up to this offset */
};

struct playback_source;

/* Asks the database and finds the segments; 350 KiB at most. ERR_NOTFOUND: no recording of this session. ERR_CANCELLED:
 * deleted, or its time to be played is over. ERR_DENIED: the session may not, the text is the code. ERR_CONFLICT: some
 * of it lies on another node. */
int playback_source_new(const struct segment_host *h, const struct playback_question *q, struct playback_source **ret,
			struct error *e) _must_check_;
/* Wipes the key. */
void playback_source_free(struct playback_source *s);
DEFINE_CLEANUP(struct playback_source, playback_source_free)

uint64_t playback_source_size(const struct playback_source *s);
/* As the recorder said, if that is a type of pictures or sound; else "application/octet-stream". */
const char *playback_source_mime(const struct playback_source *s);

/* Reads up to `n` bytes at `offset`; *ret_n is less only at the end of the source or of a segment, 0 never before its
 * end. */
int playback_source_read(struct playback_source *s, uint64_t offset, void *ret, size_t n, size_t *ret_n,
			 struct error *e) _must_check_;

#endif
