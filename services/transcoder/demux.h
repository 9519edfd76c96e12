/* One part of the input, opened: which streams are used, and their packets in order. Hostile bytes are first read here,
 * inside the sandbox; formats and decoders are white-listed, and nothing else is ever opened. */
#ifndef RUSHES_TRANSCODER_DEMUX_H
#define RUSHES_TRANSCODER_DEMUX_H

#include "parts.h"

#include <libavcodec/avcodec.h>
#include <libavformat/avformat.h>

/* Largest picture that is decoded: 8K. Larger ones are refused before their memory is allocated. */
#define DEMUX_PIXELS_MAX (8192L * 4352L)

/* Decoder names, as FFmpeg's codec_whitelist wants them. */
#define DEMUX_DECODERS "vp8,vp9,libdav1d,h264,hevc,aac,opus,vorbis,mp3float,pcm_s16le,pcm_f32le"

struct demux {
	AVFormatContext *format;
	AVIOContext *view;
	const AVStream *video, *audio; /* NULL: there is none */
	bool is_mov;
	int64_t start;	  /* in 1/90000 s: time stamps of this part begin here */
	uint64_t dropped; /* packets whose bytes are known to be damaged or cut */
	bool cut;	  /* reading ended before the container said so */
	unsigned refused; /* further files the container asked for; each was refused */
};

/* ERR_REJECT when no demuxer opens it or no usable stream is in it; an error of the input as it is; ERR_NOMEM. `input`
 * must outlive the result. */
int demux_open(struct media_io *input, const char *demuxer, const struct media_part *part, struct demux **ret,
	       struct error *e) _must_check_;
void demux_free(struct demux *d);
DEFINE_CLEANUP(struct demux, demux_free)

/* The next packet of a used stream into `packet` (the caller's to unref): 1; 0 at the end; else the input's error or
 * ERR_NOMEM. Damaged packets are dropped and counted. */
int demux_read(struct demux *d, struct media_io *input, AVPacket *packet, struct error *e) _must_check_;

/* A decoder for `stream` with one thread and the limits above, not yet open: the caller may still set flags. */
int demux_decoder(const AVStream *stream, AVCodecContext **ret, struct error *e) _must_check_;

#endif
