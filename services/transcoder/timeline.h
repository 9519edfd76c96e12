/* Times of the output, in 1/90000 s. Parts follow one another; the first picture is shown from 0 on; every frame keeps
 * its own time (variable rate), none is doubled, only frames that do not advance are dropped. Pure: no I/O, no FFmpeg
 * state. */
#ifndef RUSHES_TRANSCODER_TIMELINE_H
#define RUSHES_TRANSCODER_TIMELINE_H

#include <stdbool.h>
#include <stdint.h>

#define TIMELINE_HZ   90000
#define TIMELINE_NONE INT64_MIN

/* A keyframe at least this often, by time: rare frames of a still screen must not make seeking coarse. */
#define TIMELINE_KEYFRAME (4 * TIMELINE_HZ)
/* A forward jump over this is a broken clock, not a pause: it is cut out. */
#define TIMELINE_JUMP_MAX ((int64_t)3600 * TIMELINE_HZ)
/* Nothing is kept behind this; sessions end after half of it. */
#define TIMELINE_END_MAX ((int64_t)24 * 3600 * TIMELINE_HZ)
/* What a last frame lasts at least: its step, within these. */
#define TIMELINE_FRAME_DEFAULT (TIMELINE_HZ / 30)
#define TIMELINE_FRAME_LONGEST (TIMELINE_HZ / 10)

struct timeline {
	int64_t shift; /* source time + shift = output time, in this part */
	int64_t end;   /* the latest end of anything seen so far */
	int64_t video_last;
	int64_t video_step; /* between the last two frames */
	int64_t key_last;
	int64_t part_begin;
	bool full; /* TIMELINE_END_MAX was reached: the rest is left out */
};

void timeline_init(struct timeline *t);

/* What follows comes from a part whose own times begin at `start`: it goes behind all that was seen. */
void timeline_begin_part(struct timeline *t, int64_t start);

/* Source time → output time. Cuts jumps out. False: behind the limit, or so far in the past that no clock explains it;
 * drop it. */
bool timeline_map(struct timeline *t, int64_t source, int64_t *ret);

/* Something was seen that lasts from `at` (output time) for `duration` (0: not known). */
void timeline_seen(struct timeline *t, int64_t at, int64_t duration);

/* A decoded frame at source time `source` (TIMELINE_NONE: not known): its output time, and whether it must be a
 * keyframe. False: drop it. */
bool timeline_frame(struct timeline *t, int64_t source, int64_t *ret_at, bool *ret_key);

/* How long the last frame, decoded at output time `at`, is shown: to the end of picture or sound, the later. */
int64_t timeline_last_duration(const struct timeline *t, int64_t at);

#endif
