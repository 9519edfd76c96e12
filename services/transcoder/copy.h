/* Streams that are passed on as they are: what may be copied into the .mp4, and the packets' times on the way. */
#ifndef RUSHES_TRANSCODER_COPY_H
#define RUSHES_TRANSCODER_COPY_H

#include "base/error.h"
#include "timeline.h"

#include <libavcodec/avcodec.h>
#include <libavformat/avformat.h>
#include <stdbool.h>

/* H.264 that every browser plays, with its parameter sets in the header. Whether it decodes clean and at one size is
 * seen only while it is copied. */
bool copy_video_possible(const AVStream *s);

/* AAC-LC, mono or stereo, at most 48 kHz. */
bool copy_audio_possible(const AVStream *s);

struct copy_track {
	AVRational from, to; /* time bases of source and output */
	int64_t shift;	     /* source + shift = output, in `to` */
	int64_t last;	     /* decoding time of the packet before; TIMELINE_NONE: none */
};

/* `t` stands at the beginning of the only part. */
void copy_track_init(struct copy_track *c, const AVStream *s, AVRational to, const struct timeline *t);

/* Sets the packet's times, strictly increasing in decoding order, and tells the timeline. False: the clock jumps, the
 * stream cannot be copied. */
bool copy_retime(struct copy_track *c, AVPacket *packet, struct timeline *t);

#endif
