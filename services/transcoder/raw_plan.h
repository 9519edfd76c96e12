/* How a recording's raw is put together from its segments, read from the context of a copy job. Segments follow one
 * another; where two overlap (a client that sent again) the earlier one's bytes win. Pure. */
#ifndef RUSHES_TRANSCODER_RAW_PLAN_H
#define RUSHES_TRANSCODER_RAW_PLAN_H

#include "crypto/digest.h"
#include "domain/file.h"

/* More segments than a day of reconnects would make. */
#define RAW_SEGMENTS_MAX       10000
#define RAW_SEGMENT_NUMBER_MAX 65535
#define RAW_URL_BYTES	       512

struct raw_segment {
	uint32_t number;
	uint64_t start, bytes; /* in the raw */
	uint64_t skip;	       /* bytes at its beginning that are there already */
	uint8_t sha256[SHA256_BYTES];
	uint32_t crc32;
	bool is_open;	/* it is still being received: without bytes and digests */
	bool is_silent; /* its node has not been heard of for long */
	struct uuid copy;
	char url[RAW_URL_BYTES]; /* where its sealed bytes are served */
};

struct raw_plan {
	enum file_kind kind; /* FILE_RAW; with conversion `never` FILE_MAIN */
	bool is_open;	     /* the recording is still being received: `segments` are those that there are so far */
	uint64_t bytes;	     /* 0 while it is */
	size_t n;
	struct raw_segment *segments;
};

/* Of a saved recording, segments on silent nodes are left out when the others hold all of it. ERR_RETRY when a segment
 * is missing: its spool may come back. ERR_FATAL when the context makes no sense. */
int raw_plan_read(json_t *context, struct raw_plan *ret, struct error *e) _must_check_;
void raw_plan_done(struct raw_plan *p);

#endif
