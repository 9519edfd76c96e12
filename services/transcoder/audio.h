/* Sound: decoded, brought to 48 kHz stereo on the output's clock (holes become silence, overlaps are cut), encoded as
 * AAC. The format of the source may change at any packet, and from part to part. */
#ifndef RUSHES_TRANSCODER_AUDIO_H
#define RUSHES_TRANSCODER_AUDIO_H

#include "demux.h"
#include "timeline.h"

#include <libavcodec/avcodec.h>

#define AUDIO_RATE    48000
#define AUDIO_BITRATE 128000

struct audio;

/* Gets each packet of the encoder, in its time base; the packet is unreferenced after the call. */
typedef int audio_sink(void *arg, AVPacket *packet, struct error *e);

/* Opens the AAC encoder. Failures of the encoder are ERR_RETRY. */
int audio_new(audio_sink *sink, void *arg, struct audio **ret, struct error *e) _must_check_;
void audio_free(struct audio *a);
DEFINE_CLEANUP(struct audio, audio_free)

/* The open encoder, for the muxer's parameters. */
const AVCodecContext *audio_encoder(const struct audio *a);

/* What follows comes from this stream. A decoder that does not open is ERR_REJECT; the part then has no sound. */
int audio_begin_part(struct audio *a, const struct demux *d, struct error *e) _must_check_;

/* One packet; NULL at the end of the part. Damaged packets are counted and become silence. */
int audio_send(struct audio *a, const AVPacket *packet, struct timeline *t, struct error *e) _must_check_;

/* All parts were sent: encodes what is left. */
int audio_finish(struct audio *a, struct error *e) _must_check_;

uint64_t audio_samples(const struct audio *a); /* encoded, per channel */
uint64_t audio_errors(const struct audio *a);

#endif
