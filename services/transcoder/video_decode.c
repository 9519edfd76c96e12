#include "video_decode.h"

#include "media_log.h"

int video_decoder_new(const AVStream *stream, bool keyframes_only, struct video_decoder **ret, struct error *e)
{
	_cleanup_(video_decoder_freep) struct video_decoder *d = calloc(1, sizeof(*d));
	if (!d)
		return error_nomem(e);
	int r = demux_decoder(stream, &d->ctx, e);
	if (r < 0)
		return r;
	if (keyframes_only) {
		d->ctx->skip_frame = AVDISCARD_NONKEY;
		d->ctx->flags |= AV_CODEC_FLAG_LOW_DELAY;
	}
	d->frozen = true;
	d->frame = av_frame_alloc();
	if (!d->frame)
		return error_nomem(e);
	media_log_watch(MEDIA_LOG_VIDEO, d->ctx);
	r = avcodec_open2(d->ctx, NULL, NULL);
	if (r < 0)
		return media_error(e, ERR_REJECT, r, "cannot open the video decoder");
	*ret = TAKE_PTR(d);
	return 0;
}

void video_decoder_free(struct video_decoder *d)
{
	if (!d)
		return;
	media_log_watch(MEDIA_LOG_VIDEO, NULL);
	av_frame_free(&d->frame);
	avcodec_free_context(&d->ctx);
	free(d);
}

static void damaged(struct video_decoder *d)
{
	d->errors++;
	d->frozen = true;
}

/* Some decoders only write a line about what they concealed. */
static bool logged(struct video_decoder *d)
{
	unsigned long lines = media_log_count(MEDIA_LOG_VIDEO);
	bool more = lines > d->lines;
	d->lines = lines;
	return more;
}

int video_decoder_send(struct video_decoder *d, const AVPacket *packet, struct error *e)
{
	int r = avcodec_send_packet(d->ctx, packet);
	if (r == AVERROR(ENOMEM))
		return error_nomem(e);
	bool line = logged(d);
	if (line || (r < 0 && r != AVERROR_EOF))
		damaged(d);
	return 0;
}

int video_decoder_receive(struct video_decoder *d, AVFrame **ret, struct error *e)
{
	for (;;) {
		int r = avcodec_receive_frame(d->ctx, d->frame);
		if (r == AVERROR(ENOMEM))
			return error_nomem(e);
		bool line = logged(d);
		if (r == AVERROR(EAGAIN) || r == AVERROR_EOF)
			return 0;
		if (line || r < 0 || d->frame->decode_error_flags || (d->frame->flags & AV_FRAME_FLAG_CORRUPT)) {
			damaged(d);
			if (r < 0)
				return 0;
			d->hidden++;
			continue;
		}
		if (d->frozen && !d->frame->key_frame) {
			d->hidden++;
			continue;
		}
		d->frozen = false;
		*ret = d->frame;
		return 1;
	}
}
