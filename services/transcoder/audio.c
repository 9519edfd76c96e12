#include "audio.h"

#include "media_log.h"
#include "video_encode.h"

#include <libavfilter/avfilter.h>
#include <libavfilter/buffersink.h>
#include <libavfilter/buffersrc.h>
#include <libavutil/audio_fifo.h>
#include <libavutil/opt.h>

/* Holes up to this are left to the resampler, which would hold the silence of a longer one in memory. */
#define HOLE_SAMPLES AUDIO_RATE

struct audio {
	audio_sink *packets;
	void *packets_arg;
	AVCodecContext *encoder;
	AVCodecContext *decoder; /* NULL between parts */
	AVRational time_base;	 /* of the decoder's packets */
	AVFilterGraph *graph;
	AVFilterContext *source, *sink;
	int rate, format; /* that the graph was built for */
	AVChannelLayout layout;
	AVAudioFifo *fifo; /* the encoder takes whole frames only, also where a graph ends */
	AVFrame *decoded, *filtered, *block;
	AVPacket *packet;
	int64_t position; /* samples that left the graphs so far: where the next graph begins */
	int64_t encoded;  /* samples sent to the encoder */
	uint64_t errors;
};

static int open_encoder(struct audio *a, struct error *e)
{
	const AVCodec *codec = avcodec_find_encoder(AV_CODEC_ID_AAC);
	if (!codec)
		return error_set(e, ERR_FATAL, "the FFmpeg libraries have no AAC encoder");
	a->encoder = avcodec_alloc_context3(codec);
	if (!a->encoder)
		return error_nomem(e);
	a->encoder->sample_rate = AUDIO_RATE;
	a->encoder->sample_fmt = AV_SAMPLE_FMT_FLTP;
	a->encoder->ch_layout = (AVChannelLayout)AV_CHANNEL_LAYOUT_STEREO;
	a->encoder->bit_rate = AUDIO_BITRATE;
	a->encoder->time_base = (AVRational){1, AUDIO_RATE};
	a->encoder->flags |= AV_CODEC_FLAG_GLOBAL_HEADER;
	int r = avcodec_open2(a->encoder, codec, NULL);
	return r < 0 ? media_error(e, ERR_RETRY, r, "cannot open the AAC encoder") : 0;
}

int audio_new(audio_sink *sink, void *arg, struct audio **ret, struct error *e)
{
	_cleanup_(audio_freep) struct audio *a = calloc(1, sizeof(*a));
	if (!a)
		return error_nomem(e);
	a->packets = sink;
	a->packets_arg = arg;
	int r = open_encoder(a, e);
	if (r < 0)
		return r;
	a->fifo = av_audio_fifo_alloc(AV_SAMPLE_FMT_FLTP, 2, a->encoder->frame_size * 4);
	a->decoded = av_frame_alloc();
	a->filtered = av_frame_alloc();
	a->block = av_frame_alloc();
	a->packet = av_packet_alloc();
	if (!a->fifo || !a->decoded || !a->filtered || !a->block || !a->packet)
		return error_nomem(e);
	*ret = TAKE_PTR(a);
	return 0;
}

void audio_free(struct audio *a)
{
	if (!a)
		return;
	avfilter_graph_free(&a->graph);
	avcodec_free_context(&a->decoder);
	avcodec_free_context(&a->encoder);
	av_channel_layout_uninit(&a->layout);
	if (a->fifo)
		av_audio_fifo_free(a->fifo);
	av_frame_free(&a->decoded);
	av_frame_free(&a->filtered);
	av_frame_free(&a->block);
	av_packet_free(&a->packet);
	free(a);
}

const AVCodecContext *audio_encoder(const struct audio *a)
{
	return a->encoder;
}

uint64_t audio_samples(const struct audio *a)
{
	return (uint64_t)a->encoded;
}

uint64_t audio_errors(const struct audio *a)
{
	return a->errors;
}

/* ---- towards the encoder ---- */

static int take_packets(struct audio *a, struct error *e)
{
	for (;;) {
		int r = encoder_receive(a->encoder, a->packet, e);
		if (r <= 0)
			return r;
		r = a->packets(a->packets_arg, a->packet, e);
		av_packet_unref(a->packet);
		if (r < 0)
			return r;
	}
}

static int encode_block(struct audio *a, int samples, struct error *e)
{
	av_frame_unref(a->block);
	a->block->nb_samples = samples;
	a->block->format = AV_SAMPLE_FMT_FLTP;
	a->block->sample_rate = AUDIO_RATE;
	a->block->ch_layout = (AVChannelLayout)AV_CHANNEL_LAYOUT_STEREO;
	int r = av_frame_get_buffer(a->block, 0);
	if (r >= 0 && av_audio_fifo_read(a->fifo, (void **)a->block->data, samples) != samples)
		r = AVERROR(ENOMEM);
	if (r >= 0) {
		a->block->pts = a->encoded;
		a->encoded += samples;
		r = avcodec_send_frame(a->encoder, a->block);
	}
	return r < 0 ? media_error(e, ERR_RETRY, r, "the AAC encoder failed") : take_packets(a, e);
}

static int add_samples(struct audio *a, uint8_t **planes, int n, struct error *e)
{
	if (av_audio_fifo_write(a->fifo, (void **)planes, n) < n)
		return error_nomem(e);
	a->position += n;
	while (av_audio_fifo_size(a->fifo) >= a->encoder->frame_size) {
		int r = encode_block(a, a->encoder->frame_size, e);
		if (r < 0)
			return r;
	}
	return 0;
}

static int add_silence(struct audio *a, int64_t samples, struct error *e)
{
	static const float zeros[1024];
	uint8_t *planes[2] = {(uint8_t *)zeros, (uint8_t *)zeros};
	while (samples > 0) {
		int n = (int)MIN(samples, (int64_t)ARRAY_SIZE(zeros));
		int r = add_samples(a, planes, n, e);
		if (r < 0)
			return r;
		samples -= n;
	}
	return 0;
}

static int drain_graph(struct audio *a, struct error *e)
{
	for (;;) {
		av_frame_unref(a->filtered);
		int r = av_buffersink_get_frame(a->sink, a->filtered);
		if (r == AVERROR(EAGAIN) || r == AVERROR_EOF)
			return 0;
		if (r < 0)
			return media_error(e, ERR_RETRY, r, "cannot resample");
		r = add_samples(a, a->filtered->data, a->filtered->nb_samples, e);
		if (r < 0)
			return r;
	}
}

int audio_finish(struct audio *a, struct error *e)
{
	int left = av_audio_fifo_size(a->fifo);
	int r = left > 0 ? encode_block(a, left, e) : 0;
	if (r < 0)
		return r;
	r = avcodec_send_frame(a->encoder, NULL);
	return r < 0 ? media_error(e, ERR_RETRY, r, "the AAC encoder failed") : take_packets(a, e);
}

static int flush_graph(struct audio *a, struct error *e)
{
	if (!a->graph)
		return 0;
	int r = av_buffersrc_add_frame_flags(a->source, NULL, 0);
	r = r < 0 ? media_error(e, ERR_RETRY, r, "cannot resample") : drain_graph(a, e);
	avfilter_graph_free(&a->graph);
	return r;
}

static int build_graph(struct audio *a, const AVFrame *f)
{
	char layout[64], source[256], filters[256];
	AVFilterInOut *in = NULL, *out = NULL;
	a->graph = avfilter_graph_alloc();
	if (!a->graph)
		return AVERROR(ENOMEM);
	a->graph->nb_threads = 1;
	int r = av_channel_layout_describe(&f->ch_layout, layout, sizeof(layout));
	(void)snprintf(source, sizeof(source), "time_base=1/%d:sample_rate=%d:sample_fmt=%s:channel_layout=%s",
		       TIMELINE_HZ, f->sample_rate, av_get_sample_fmt_name(f->format), layout);
	(void)snprintf(filters, sizeof(filters),
		       "aresample=%d:async=1:first_pts=%ld,aformat=sample_fmts=fltp:sample_rates=%d:"
		       "channel_layouts=stereo",
		       AUDIO_RATE, (long)a->position, AUDIO_RATE);
	if (r >= 0)
		r = avfilter_graph_create_filter(&a->source, avfilter_get_by_name("abuffer"), "in", source, NULL,
						 a->graph);
	if (r >= 0)
		r = avfilter_graph_create_filter(&a->sink, avfilter_get_by_name("abuffersink"), "out", NULL, NULL,
						 a->graph);
	if (r >= 0)
		r = avfilter_graph_parse2(a->graph, filters, &in, &out);
	if (r >= 0)
		r = avfilter_link(a->source, 0, in->filter_ctx, (unsigned)in->pad_idx);
	if (r >= 0)
		r = avfilter_link(out->filter_ctx, (unsigned)out->pad_idx, a->sink, 0);
	if (r >= 0)
		r = avfilter_graph_config(a->graph, NULL);
	if (r >= 0)
		r = av_channel_layout_copy(&a->layout, &f->ch_layout);
	a->rate = f->sample_rate;
	a->format = f->format;
	avfilter_inout_free(&in);
	avfilter_inout_free(&out);
	if (r < 0)
		avfilter_graph_free(&a->graph);
	return r;
}

/* ---- from the decoder ---- */

int audio_begin_part(struct audio *a, const struct demux *d, struct error *e)
{
	avcodec_free_context(&a->decoder);
	int r = demux_decoder(d->audio, &a->decoder, e);
	if (r < 0)
		return r;
	/* the decoder would cut the first 79 ms of Opus in fragmented MP4 */
	if (d->is_mov && d->audio->codecpar->codec_id == AV_CODEC_ID_OPUS)
		a->decoder->flags2 |= AV_CODEC_FLAG2_SKIP_MANUAL;
	a->time_base = d->audio->time_base;
	r = avcodec_open2(a->decoder, NULL, NULL);
	if (r < 0) {
		avcodec_free_context(&a->decoder);
		return media_error(e, ERR_REJECT, r, "cannot open the audio decoder");
	}
	return 0;
}

static bool same_format(const struct audio *a, const AVFrame *f)
{
	return a->rate == f->sample_rate && a->format == f->format &&
	       av_channel_layout_compare(&a->layout, &f->ch_layout) == 0;
}

/* A graph for this frame; a change of format or a long hole ends the one before. */
static int prepare_graph(struct audio *a, const AVFrame *f, struct error *e)
{
	int64_t begin = f->pts == AV_NOPTS_VALUE ? 0 : av_rescale(f->pts, AUDIO_RATE, TIMELINE_HZ);
	bool hole = begin - a->position > HOLE_SAMPLES;
	if (a->graph && !hole && same_format(a, f))
		return 0;
	int r = flush_graph(a, e);
	if (r == 0 && hole)
		r = add_silence(a, begin - a->position, e);
	if (r < 0)
		return r;
	r = build_graph(a, f);
	return r < 0 ? media_error(e, ERR_RETRY, r, "cannot set resampling up") : 0;
}

static int filter_frame(struct audio *a, AVFrame *f, struct timeline *t, struct error *e)
{
	if (f->sample_rate <= 0 || f->ch_layout.nb_channels <= 0)
		return 0;
	int64_t at, source = f->best_effort_timestamp;
	f->pts = AV_NOPTS_VALUE;
	if (source != AV_NOPTS_VALUE) {
		if (!timeline_map(t, av_rescale_q(source, a->time_base, (AVRational){1, TIMELINE_HZ}), &at))
			return 0;
		timeline_seen(t, at, av_rescale(f->nb_samples, TIMELINE_HZ, f->sample_rate));
		f->pts = at;
	}
	int r = prepare_graph(a, f, e);
	if (r < 0)
		return r;
	r = av_buffersrc_add_frame_flags(a->source, f, 0);
	return r < 0 ? media_error(e, ERR_RETRY, r, "cannot resample") : drain_graph(a, e);
}

int audio_send(struct audio *a, const AVPacket *packet, struct timeline *t, struct error *e)
{
	if (!a->decoder)
		return 0;
	int r = avcodec_send_packet(a->decoder, packet);
	if (r == AVERROR(ENOMEM))
		return error_nomem(e);
	if (r < 0 && r != AVERROR_EOF)
		a->errors++;
	for (;;) {
		av_frame_unref(a->decoded);
		r = avcodec_receive_frame(a->decoder, a->decoded);
		if (r == AVERROR(EAGAIN) || r == AVERROR_EOF)
			break;
		if (r == AVERROR(ENOMEM))
			return error_nomem(e);
		if (r < 0) {
			a->errors++;
			break;
		}
		r = filter_frame(a, a->decoded, t, e);
		if (r < 0)
			return r;
	}
	if (packet)
		return 0;
	avcodec_free_context(&a->decoder);
	return flush_graph(a, e);
}
