#include "demux.h"

#include "media_log.h"

#include <libavutil/opt.h>
#include <string.h>

#define FORMATS "matroska,webm,mov,mp4,m4a,3gp,3g2,mj2,ogg"
/* Time that finding the streams may read ahead; a declared but silent track costs all of it. */
#define ANALYZE_US   "5000000"
#define STREAMS_MAX  "32"
#define TIMEBASE_90K ((AVRational){1, 90000})
#define PIXELS_TEXT  "35651584"
_Static_assert(DEMUX_PIXELS_MAX == 35651584L, "PIXELS_TEXT is DEMUX_PIXELS_MAX");

static int refuse_open(AVFormatContext *s, AVIOContext **pb, const char *url _unused_, int flags _unused_,
		       AVDictionary **options _unused_)
{
	struct demux *d = s->opaque;
	d->refused++;
	*pb = NULL;
	return AVERROR(EACCES);
}

static int input_error(const struct media_io *input, struct error *e)
{
	return error_set(e, input->error.code, "%s", input->error.text);
}

/* The first frame is decoded while the streams are looked at: the limits hold there too. */
static int find_streams(struct demux *d, struct error *e)
{
	unsigned n = d->format->nb_streams;
	_cleanup_(freep) AVDictionary **options = calloc(n ? n : 1, sizeof(AVDictionary *));
	if (!options)
		return error_nomem(e);
	int r = 0;
	for (unsigned i = 0; i < n && r >= 0; i++) {
		r = av_dict_set(&options[i], "max_pixels", PIXELS_TEXT, 0);
		if (r >= 0)
			r = av_dict_set(&options[i], "threads", "1", 0);
	}
	if (r >= 0)
		r = avformat_find_stream_info(d->format, options);
	for (unsigned i = 0; i < n; i++)
		av_dict_free(&options[i]);
	return r < 0 ? media_error(e, ERR_REJECT, r, "cannot find the streams") : 0;
}

static const AVStream *choose(AVFormatContext *format, enum AVMediaType type)
{
	int i = av_find_best_stream(format, type, -1, -1, NULL, 0);
	if (i < 0 ||
	    (format->streams[i]->disposition & (AV_DISPOSITION_ATTACHED_PIC | AV_DISPOSITION_TIMED_THUMBNAILS)))
		return NULL;
	return format->streams[i];
}

static int choose_streams(struct demux *d, struct error *e)
{
	d->video = choose(d->format, AVMEDIA_TYPE_VIDEO);
	d->audio = choose(d->format, AVMEDIA_TYPE_AUDIO);
	for (unsigned i = 0; i < d->format->nb_streams; i++) {
		AVStream *s = d->format->streams[i];
		s->discard = s == d->video || s == d->audio ? AVDISCARD_DEFAULT : AVDISCARD_ALL;
	}
	if (!d->video && !d->audio)
		return error_set(e, ERR_REJECT, "the recording has neither picture nor sound");
	int64_t start = d->format->start_time;
	d->start = start == AV_NOPTS_VALUE ? 0 : av_rescale_q(start, AV_TIME_BASE_Q, TIMEBASE_90K);
	return 0;
}

static int open_format(struct demux *d, const char *demuxer, struct error *e)
{
	d->format = avformat_alloc_context();
	if (!d->format)
		return error_nomem(e);
	d->format->pb = d->view;
	d->format->opaque = d;
	d->format->io_open = refuse_open;
	d->format->flags |= AVFMT_FLAG_CUSTOM_IO;
	AVDictionary *options = NULL;
	static const char *const settings[][2] = {
	    {"format_whitelist", FORMATS},   {"codec_whitelist", DEMUX_DECODERS}, {"protocol_whitelist", "none"},
	    {"analyzeduration", ANALYZE_US}, {"max_streams", STREAMS_MAX},
	};
	int r = 0;
	for (size_t i = 0; i < ARRAY_SIZE(settings) && r >= 0; i++)
		r = av_dict_set(&options, settings[i][0], settings[i][1], 0);
	/* on failure the context is freed and d->format set to NULL */
	if (r >= 0)
		r = avformat_open_input(&d->format, "", av_find_input_format(demuxer), &options);
	av_dict_free(&options);
	return r < 0 ? media_error(e, ERR_REJECT, r, "cannot open the recording as %s", demuxer) : 0;
}

int demux_open(struct media_io *input, const char *demuxer, const struct media_part *part, struct demux **ret,
	       struct error *e)
{
	_cleanup_(demux_freep) struct demux *d = calloc(1, sizeof(*d));
	if (!d)
		return error_nomem(e);
	static const uint8_t first = 0x1a;
	d->is_mov = strcmp(demuxer, "mov") == 0;
	int r = media_view_read(input, part->start, part->end, &first, part->lost_first, &d->view, e);
	if (r < 0)
		return r;
	r = open_format(d, demuxer, e);
	if (r == 0)
		r = find_streams(d, e);
	if (r == 0)
		r = choose_streams(d, e);
	if (r < 0)
		/* FFmpeg reports its input's failures as invalid data */
		return input->error.code ? input_error(input, e) : r;
	media_log_watch(MEDIA_LOG_DEMUXER, d->format);
	*ret = TAKE_PTR(d);
	return 0;
}

void demux_free(struct demux *d)
{
	if (!d)
		return;
	avformat_close_input(&d->format);
	media_view_free(d->view);
	free(d);
}

int demux_read(struct demux *d, struct media_io *input, AVPacket *packet, struct error *e)
{
	for (;;) {
		int r = av_read_frame(d->format, packet);
		if (input->error.code) {
			av_packet_unref(packet);
			return input_error(input, e);
		}
		if (r == AVERROR(ENOMEM))
			return error_nomem(e);
		if (r < 0) {
			d->cut |= r != AVERROR_EOF || media_log_count(MEDIA_LOG_DEMUXER) > 0;
			return 0;
		}
		const AVStream *s = d->format->streams[packet->stream_index];
		if (s != d->video && s != d->audio) {
			av_packet_unref(packet);
			continue;
		}
		if ((packet->flags & AV_PKT_FLAG_CORRUPT) || packet->size == 0) {
			d->dropped++;
			av_packet_unref(packet);
			continue;
		}
		return 1;
	}
}

int demux_decoder(const AVStream *stream, AVCodecContext **ret, struct error *e)
{
	const AVCodecParameters *par = stream->codecpar;
	const AVCodec *codec = avcodec_find_decoder(par->codec_id);
	if (!codec)
		return error_set(e, ERR_REJECT, "no decoder for codec %s", avcodec_get_name(par->codec_id));
	AVCodecContext *ctx = avcodec_alloc_context3(codec);
	if (!ctx)
		return error_nomem(e);
	int r = avcodec_parameters_to_context(ctx, par);
	if (r >= 0)
		r = av_opt_set(ctx, "codec_whitelist", DEMUX_DECODERS, 0);
	if (r < 0) {
		avcodec_free_context(&ctx);
		return media_error(e, ERR_REJECT, r, "cannot set the decoder up");
	}
	ctx->max_pixels = DEMUX_PIXELS_MAX;
	/* one thread: errors then belong to the packet that was just sent */
	ctx->thread_count = 1;
	ctx->pkt_timebase = stream->time_base;
	*ret = ctx;
	return 0;
}
