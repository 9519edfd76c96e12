#include "timeline.h"

#include "base/macros.h"

void timeline_init(struct timeline *t)
{
	*t = (struct timeline){.video_last = TIMELINE_NONE, .key_last = TIMELINE_NONE};
}

void timeline_begin_part(struct timeline *t, int64_t start)
{
	t->part_begin = t->end;
	if (__builtin_sub_overflow(t->end, start, &t->shift))
		t->shift = t->end;
}

bool timeline_map(struct timeline *t, int64_t source, int64_t *ret)
{
	int64_t at;
	if (source == TIMELINE_NONE || __builtin_add_overflow(source, t->shift, &at))
		return false;
	if (at > t->end + TIMELINE_JUMP_MAX) {
		t->shift -= at - t->end;
		at = t->end;
	}
	/* audio may begin a little before the part: decoders' priming */
	if (at < t->part_begin - TIMELINE_HZ)
		return false;
	if (at > TIMELINE_END_MAX) {
		t->full = true;
		return false;
	}
	*ret = at;
	return true;
}

void timeline_seen(struct timeline *t, int64_t at, int64_t duration)
{
	if (duration < 0 || duration > TIMELINE_JUMP_MAX)
		duration = 0;
	if (at + duration > t->end)
		t->end = at + duration;
}

bool timeline_frame(struct timeline *t, int64_t source, int64_t *ret_at, bool *ret_key)
{
	int64_t at;
	if (source == TIMELINE_NONE)
		at = t->video_last == TIMELINE_NONE ? 0 : t->video_last + TIMELINE_FRAME_DEFAULT;
	else if (!timeline_map(t, source, &at))
		return false;
	/* the first picture is there from the start: no player shows an edit list's gap alike */
	if (t->video_last == TIMELINE_NONE)
		at = 0;
	else if (at <= t->video_last)
		return false;
	else
		t->video_step = at - t->video_last;
	t->video_last = at;
	timeline_seen(t, at, 0);
	*ret_key = t->key_last == TIMELINE_NONE || at - t->key_last >= TIMELINE_KEYFRAME;
	if (*ret_key)
		t->key_last = at;
	*ret_at = at;
	return true;
}

int64_t timeline_last_duration(const struct timeline *t, int64_t at)
{
	int64_t least = t->video_step > 0 ? MIN(t->video_step, TIMELINE_FRAME_LONGEST) : TIMELINE_FRAME_DEFAULT;
	return MAX(t->end - at, least);
}
