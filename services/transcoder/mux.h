/* The .mp4: one H.264 and one AAC track at most, index in front (faststart), no metadata of the source. Packets are
 * held until every expected track is known. The last packet of the picture is held back until its duration is known. */
#ifndef RUSHES_TRANSCODER_MUX_H
#define RUSHES_TRANSCODER_MUX_H

#include "media_io.h"

#include <libavcodec/avcodec.h>

enum mux_track { MUX_VIDEO, MUX_AUDIO, MUX_TRACK_MAX };

/* Packets held while a track is still unknown; then the file goes on without that track. */
#define MUX_HELD_BYTES_MAX (64 * MIB)

struct mux;

/* Writes to `io` from its beginning on. `expected` says which tracks will come. */
int mux_new(struct media_io *io, const bool expected[MUX_TRACK_MAX], struct mux **ret, struct error *e) _must_check_;
void mux_free(struct mux *m);
DEFINE_CLEANUP(struct mux, mux_free)

/* What a track holds; `matrix` (9 numbers or NULL) turns the picture. Its packets are in `time_base`. */
int mux_set_track(struct mux *m, enum mux_track track, const AVCodecParameters *par, AVRational time_base,
		  const int32_t *matrix, struct error *e) _must_check_;

/* One packet, in decoding order; the caller's reference stays. Dropped when the file goes on without that track. */
int mux_write(struct mux *m, enum mux_track track, const AVPacket *packet, struct error *e) _must_check_;

/* Tracks never set are left out. The held picture lasts until `video_end` (in its time base), or as it says itself
 * when `keep_last`. ERR_REJECT when there is no track at all; every other failure is ERR_RETRY or the output's own. */
int mux_finish(struct mux *m, int64_t video_end, bool keep_last, struct error *e) _must_check_;

uint64_t mux_packets(const struct mux *m, enum mux_track track);
/* The file has, or will have, this track. */
bool mux_has(const struct mux *m, enum mux_track track);

#endif
