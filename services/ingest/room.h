/* Room on the spool's disk that is spoken for (DESIGN section 9, promise 7): an upload claims its declared length, a
 * stream a minute of its bitrate. Claims are in memory, one per recording, whoever makes or changes it, so that none
 * counts twice or is given back twice; a restart forgets them, as it ends the connections they are for.
 *
 * The disk from full to empty: what finishes (last slots, journal) may use all of it; uploads what they were promised,
 * down to the reserve; streams down to reserve and promises; new ones down to reserve and all claims. So streams are
 * sent on about a minute after the first new one was refused, and before writes fail. Any thread. */
#ifndef RUSHES_INGEST_ROOM_H
#define RUSHES_INGEST_ROOM_H

#include "base/metrics.h"
#include "node/spool.h"

#include <jansson.h>

enum room_kind {
	ROOM_UPLOAD, /* a promise: the declared bytes that have not come yet */
	ROOM_STREAM, /* a forecast of the next minute */
	ROOM_KIND_MAX
};

struct room;

struct room_options {
	struct spool *spool;	/* borrowed */
	uint64_t reserve_bytes; /* kept for what finishes */
	struct metrics *metrics;
};

int room_new(const struct room_options *o, struct room **ret, struct error *e) _must_check_;
void room_free(struct room *r);
DEFINE_CLEANUP(struct room, room_free)

/* Claims room for `bytes` of plaintext of a recording, or changes its claim; a kept one is held again. ERR_FULL when
 * there is none or the spool is read-only: then a former claim stays as it was. */
int room_claim(struct room *r, const struct uuid *recording, enum room_kind kind, uint64_t bytes,
	       struct error *e) _must_check_;

/* What is still to come, now. Nothing is refused: who has come in is not refused by a forecast. Without a claim nothing
 * happens. */
void room_adjust(struct room *r, const struct uuid *recording, uint64_t bytes);

/* Nobody brings bytes now: the claim waits for `ms`, then it is given back. */
void room_keep(struct room *r, const struct uuid *recording, int64_t ms);

/* Gives the claim back; nothing happens without one. */
void room_release(struct room *r, const struct uuid *recording);

/* Whether a recording of this kind that has come in may write `bytes` more; when it finishes with them, half of the
 * reserve is for it too. */
bool room_may_write(struct room *r, enum room_kind kind, bool is_finishing, uint64_t bytes);

/* Whether a new claim of this size would be granted: for readiness. */
bool room_admits(struct room *r, uint64_t bytes);

json_t *room_debug(void *room);

#endif
