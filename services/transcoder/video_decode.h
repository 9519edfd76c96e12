/* A video decoder that shows no damage: after any error the picture freezes until a clean keyframe. Decoders conceal
 * what they lack with grey and smears; a still picture is honest. */
#ifndef RUSHES_TRANSCODER_VIDEO_DECODE_H
#define RUSHES_TRANSCODER_VIDEO_DECODE_H

#include "demux.h"

#include <libavcodec/avcodec.h>

struct video_decoder {
	AVCodecContext *ctx;
	AVFrame *frame;
	bool frozen;	     /* no frame is shown before a clean keyframe */
	unsigned long lines; /* error lines of the decoder already accounted for */
	uint64_t errors;     /* packets and frames that were damaged */
	uint64_t hidden;     /* decoded frames that were not shown */
};

/* `keyframes_only`: decodes nothing else, and gives each picture at once (for streams that are copied). */
int video_decoder_new(const AVStream *stream, bool keyframes_only, struct video_decoder **ret,
		      struct error *e) _must_check_;
void video_decoder_free(struct video_decoder *d);
DEFINE_CLEANUP(struct video_decoder, video_decoder_free)

/* One packet, NULL at the end. Damage is counted, not an error. ERR_NOMEM. */
int video_decoder_send(struct video_decoder *d, const AVPacket *packet, struct error *e) _must_check_;

/* The next picture to show, borrowed until the next call: 1; 0: none now. ERR_NOMEM. */
int video_decoder_receive(struct video_decoder *d, AVFrame **ret, struct error *e) _must_check_;

#endif
