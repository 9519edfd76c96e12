#include "video_encode.h"

#include "media_log.h"
#include "timeline.h"

#include <libavutil/opt.h>

/* Frames between keyframes at most, whatever the time stamps say; by time the timeline asks earlier. */
#define GOP_FRAMES_MAX 600

static int set_options(AVCodecContext *ctx)
{
	static const char *const options[][2] = {{"preset", "veryfast"}, {"crf", "23"}, {"forced-idr", "1"}};
	int r = 0;
	for (size_t i = 0; i < ARRAY_SIZE(options) && r >= 0; i++)
		r = av_opt_set(ctx->priv_data, options[i][0], options[i][1], 0);
	return r;
}

int video_encoder_new(const AVFrame *first, int threads, AVCodecContext **ret, struct error *e)
{
	const AVCodec *codec = avcodec_find_encoder_by_name("libx264");
	if (!codec)
		return error_set(e, ERR_FATAL, "the FFmpeg libraries have no libx264");
	AVCodecContext *ctx = avcodec_alloc_context3(codec);
	if (!ctx)
		return error_nomem(e);
	ctx->width = first->width;
	ctx->height = first->height;
	ctx->pix_fmt = AV_PIX_FMT_YUV420P;
	ctx->sample_aspect_ratio = (AVRational){1, 1};
	ctx->time_base = (AVRational){1, TIMELINE_HZ};
	ctx->framerate = (AVRational){30, 1}; /* a hint for rate control; the time stamps rule */
	ctx->gop_size = GOP_FRAMES_MAX;
	ctx->max_b_frames = 0;
	ctx->thread_count = threads;
	ctx->flags |= AV_CODEC_FLAG_GLOBAL_HEADER;
	ctx->color_range = AVCOL_RANGE_MPEG;
	ctx->colorspace = first->colorspace == AVCOL_SPC_RGB ? AVCOL_SPC_SMPTE170M : first->colorspace;
	ctx->color_primaries = first->color_primaries;
	ctx->color_trc = first->color_trc;
	int r = set_options(ctx);
	if (r >= 0)
		r = avcodec_open2(ctx, codec, NULL);
	if (r < 0) {
		avcodec_free_context(&ctx);
		return media_error(e, ERR_RETRY, r, "cannot open the H.264 encoder");
	}
	*ret = ctx;
	return 0;
}

int video_encoder_send(AVCodecContext *ctx, AVFrame *frame, bool key, struct error *e)
{
	if (frame) {
		frame->pict_type = key ? AV_PICTURE_TYPE_I : AV_PICTURE_TYPE_NONE;
		frame->key_frame = 0;
	}
	int r = avcodec_send_frame(ctx, frame);
	return r < 0 ? media_error(e, ERR_RETRY, r, "the H.264 encoder failed") : 0;
}

int encoder_receive(AVCodecContext *ctx, AVPacket *packet, struct error *e)
{
	int r = avcodec_receive_packet(ctx, packet);
	if (r == AVERROR(EAGAIN) || r == AVERROR_EOF)
		return 0;
	return r < 0 ? media_error(e, ERR_RETRY, r, "the %s encoder failed", ctx->codec->name) : 1;
}
