#include "mux.h"

#include "media_log.h"
#include "timeline.h"

#include <assert.h>
#include <libavformat/avformat.h>
#include <libavutil/display.h>
#include <string.h>

struct held {
	struct held *next;
	enum mux_track track;
	AVPacket *packet;
};

struct track {
	bool expected;
	AVCodecParameters *par; /* once known */
	int32_t matrix[9];
	bool turned;	      /* matrix is set */
	AVRational time_base; /* of the packets that are given */
	AVStream *stream;     /* once the header is written */
	uint64_t packets;
};

struct mux {
	struct media_io *io;
	AVFormatContext *format;
	AVIOContext *view;
	struct track tracks[MUX_TRACK_MAX];
	bool started;
	struct held *first, **last; /* packets before the header */
	uint64_t held_bytes;
	AVPacket *picture; /* the newest video packet: its duration is not known yet */
	bool has_picture;
};

/* The muxer moves the media data behind the index and reads its own file for that. Nothing else is opened. */
static int open_reading(AVFormatContext *s, AVIOContext **pb, const char *url _unused_, int flags,
			AVDictionary **options _unused_)
{
	struct mux *m = s->opaque;
	if (flags & AVIO_FLAG_WRITE)
		return AVERROR(EACCES);
	int r = media_view_read(m->io, 0, UINT64_MAX, NULL, 0, pb, NULL);
	return r < 0 ? AVERROR(ENOMEM) : 0;
}

static int close_reading(AVFormatContext *s _unused_, AVIOContext *pb)
{
	media_view_free(pb);
	return 0;
}

int mux_new(struct media_io *io, const bool expected[MUX_TRACK_MAX], struct mux **ret, struct error *e)
{
	_cleanup_(mux_freep) struct mux *m = calloc(1, sizeof(*m));
	if (!m)
		return error_nomem(e);
	m->io = io;
	m->last = &m->first;
	for (int i = 0; i < MUX_TRACK_MAX; i++)
		m->tracks[i].expected = expected[i];
	m->picture = av_packet_alloc();
	if (!m->picture || avformat_alloc_output_context2(&m->format, NULL, "mp4", NULL) < 0)
		return error_nomem(e);
	int r = media_view_write(io, &m->view, e);
	if (r < 0)
		return r;
	m->format->opaque = m;
	m->format->pb = m->view;
	m->format->io_open = open_reading;
	m->format->io_close2 = close_reading;
	m->format->flags |= AVFMT_FLAG_CUSTOM_IO | AVFMT_FLAG_BITEXACT;
	*ret = TAKE_PTR(m);
	return 0;
}

void mux_free(struct mux *m)
{
	if (!m)
		return;
	while (m->first) {
		struct held *h = m->first;
		m->first = h->next;
		av_packet_free(&h->packet);
		free(h);
	}
	for (int i = 0; i < MUX_TRACK_MAX; i++)
		avcodec_parameters_free(&m->tracks[i].par);
	av_packet_free(&m->picture);
	avformat_free_context(m->format);
	media_view_free(m->view);
	free(m);
}

uint64_t mux_packets(const struct mux *m, enum mux_track track)
{
	return m->tracks[track].packets;
}

bool mux_has(const struct mux *m, enum mux_track track)
{
	return m->tracks[track].par != NULL && (m->tracks[track].stream != NULL || !m->started);
}

static int mux_error(struct mux *m, int averror, const char *what, struct error *e)
{
	if (m->io->error.code)
		return error_set(e, m->io->error.code, "%s", m->io->error.text);
	return media_error(e, ERR_RETRY, averror, "%s", what);
}

static int write_packet(struct mux *m, enum mux_track track, AVPacket *packet, struct error *e)
{
	struct track *t = &m->tracks[track];
	packet->stream_index = t->stream->index;
	av_packet_rescale_ts(packet, t->time_base, t->stream->time_base);
	t->packets++;
	int r = av_interleaved_write_frame(m->format, packet);
	return r < 0 ? mux_error(m, r, "cannot write to the .mp4", e) : 0;
}

/* Its successor, or the end, tells how long the held picture lasts. */
static int release_picture(struct mux *m, int64_t until, bool keep, struct error *e)
{
	if (!m->has_picture)
		return 0;
	if ((!keep || m->picture->duration <= 0) && until > m->picture->dts)
		m->picture->duration = until - m->picture->dts;
	m->has_picture = false;
	return write_packet(m, MUX_VIDEO, m->picture, e);
}

static int write_started(struct mux *m, enum mux_track track, AVPacket *packet, struct error *e)
{
	if (track == MUX_AUDIO)
		return write_packet(m, track, packet, e);
	int r = release_picture(m, packet->dts, false, e);
	if (r < 0)
		return r;
	av_packet_move_ref(m->picture, packet);
	m->has_picture = true;
	return 0;
}

static int add_stream(struct mux *m, struct track *t, enum mux_track kind, struct error *e)
{
	AVStream *s = avformat_new_stream(m->format, NULL);
	if (!s || avcodec_parameters_copy(s->codecpar, t->par) < 0)
		return error_nomem(e);
	s->codecpar->codec_tag = 0;
	s->time_base = kind == MUX_VIDEO ? (AVRational){1, TIMELINE_HZ} : (AVRational){1, t->par->sample_rate};
	if (t->turned) {
		uint8_t *copy = av_stream_new_side_data(s, AV_PKT_DATA_DISPLAYMATRIX, sizeof(t->matrix));
		if (!copy)
			return error_nomem(e);
		memcpy(copy, t->matrix, sizeof(t->matrix));
	}
	t->stream = s;
	return 0;
}

static int write_header(struct mux *m, struct error *e)
{
	for (int i = 0; i < MUX_TRACK_MAX; i++) {
		int r = m->tracks[i].par ? add_stream(m, &m->tracks[i], (enum mux_track)i, e) : 0;
		if (r < 0)
			return r;
	}
	AVDictionary *options = NULL;
	int r = av_dict_set(&options, "movflags", "+faststart", 0);
	if (r >= 0)
		r = av_dict_set_int(&options, "video_track_timescale", TIMELINE_HZ, 0);
	if (r >= 0)
		r = avformat_write_header(m->format, &options);
	av_dict_free(&options);
	m->started = true;
	return r < 0 ? mux_error(m, r, "cannot begin the .mp4", e) : 0;
}

static int start(struct mux *m, struct error *e)
{
	int r = write_header(m, e);
	while (r == 0 && m->first) {
		struct held *h = m->first;
		r = m->tracks[h->track].stream ? write_started(m, h->track, h->packet, e) : 0;
		m->first = h->next;
		av_packet_free(&h->packet);
		free(h);
	}
	return r;
}

static bool all_known(const struct mux *m)
{
	for (int i = 0; i < MUX_TRACK_MAX; i++)
		if (m->tracks[i].expected && !m->tracks[i].par)
			return false;
	return true;
}

int mux_set_track(struct mux *m, enum mux_track track, const AVCodecParameters *par, AVRational time_base,
		  const int32_t *matrix, struct error *e)
{
	struct track *t = &m->tracks[track];
	if (m->started)
		return 0;
	assert(!t->par);
	t->par = avcodec_parameters_alloc();
	if (!t->par || avcodec_parameters_copy(t->par, par) < 0)
		return error_nomem(e);
	t->time_base = time_base;
	t->turned = matrix != NULL;
	if (matrix)
		memcpy(t->matrix, matrix, sizeof(t->matrix));
	return all_known(m) ? start(m, e) : 0;
}

static int hold(struct mux *m, enum mux_track track, const AVPacket *packet, struct error *e)
{
	struct held *h = calloc(1, sizeof(*h));
	if (!h || !(h->packet = av_packet_clone(packet))) {
		free(h);
		return error_nomem(e);
	}
	h->track = track;
	*m->last = h;
	m->last = &h->next;
	m->held_bytes += (uint64_t)packet->size;
	return m->held_bytes > MUX_HELD_BYTES_MAX ? start(m, e) : 0;
}

int mux_write(struct mux *m, enum mux_track track, const AVPacket *packet, struct error *e)
{
	if (!m->started)
		return hold(m, track, packet, e);
	if (!m->tracks[track].stream)
		return 0;
	AVPacket *copy = av_packet_clone(packet);
	if (!copy)
		return error_nomem(e);
	int r = write_started(m, track, copy, e);
	av_packet_free(&copy);
	return r;
}

int mux_finish(struct mux *m, int64_t video_end, bool keep_last, struct error *e)
{
	if (!m->tracks[MUX_VIDEO].par && !m->tracks[MUX_AUDIO].par)
		return error_set(e, ERR_REJECT, "nothing in the recording could be decoded");
	int r = m->started ? 0 : start(m, e);
	if (r == 0)
		r = release_picture(m, video_end, keep_last, e);
	if (r < 0)
		return r;
	/* without this check a file without an index would pass for a result */
	r = av_write_trailer(m->format);
	if (r < 0)
		return mux_error(m, r, "cannot finish the .mp4", e);
	avio_flush(m->view);
	return m->view->error < 0 || m->io->error.code ? mux_error(m, m->view->error, "cannot finish the .mp4", e) : 0;
}
