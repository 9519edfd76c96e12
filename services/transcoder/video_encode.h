/* H.264 by x264: veryfast, constant quality 23, no B-frames (so the last frame's duration is exact), keyframes where
 * the timeline asks for them, true variable frame rate in 1/90000 s. */
#ifndef RUSHES_TRANSCODER_VIDEO_ENCODE_H
#define RUSHES_TRANSCODER_VIDEO_ENCODE_H

#include "base/error.h"

#include <libavcodec/avcodec.h>
#include <stdbool.h>

/* For frames like `first`: its size and colours. `threads`: x264's. Every failure of an encoder is ERR_RETRY: the
 * input is not at fault, and what came out must not be kept. */
int video_encoder_new(const AVFrame *first, int threads, AVCodecContext **ret, struct error *e) _must_check_;

/* Sends a frame, whose pts is set (NULL: the end). */
int video_encoder_send(AVCodecContext *ctx, AVFrame *frame, bool key, struct error *e) _must_check_;

/* The next packet of any encoder: 1 (the caller's to unref); 0: none now. */
int encoder_receive(AVCodecContext *ctx, AVPacket *packet, struct error *e) _must_check_;

#endif
