#include "pictures.h"

#include "media_log.h"
#include "timeline.h"

#include <libavcodec/avcodec.h>
#include <libavutil/imgutils.h>
#include <libswscale/swscale.h>
#include <math.h>
#include <string.h>

/* The snapshot is the first frame from 1 s on that shows something; behind 15 s the best so far is taken. */
#define SNAPSHOT_FROM  TIMELINE_HZ
#define SNAPSHOT_UNTIL (15 * TIMELINE_HZ)
/* Spread (standard deviation) of brightness that "something" has; black, a fade or an empty page have less. */
#define SNAPSHOT_SPREAD 12.0
/* JPEG quality on FFmpeg's scale of 1 (best) to 31. */
#define JPEG_QUALITY 4
/* Pictures are at most this many times as high as wide. */
#define SHAPE_MAX 4

struct pictures {
	AVFrame *thumbs[PICTURES_THUMBS_KEPT]; /* shown at 0, step, 2 step, ... ; neighbours may share the image */
	unsigned n;
	int64_t step;
	AVFrame *current;	/* the frame that is shown now, a reference */
	AVFrame *current_thumb; /* its thumb, once needed */
	int64_t current_at;
	AVFrame *snapshot; /* the best so far, a reference */
	int64_t snapshot_at;
	double snapshot_spread;
	bool snapshot_final;
};

int pictures_new(struct pictures **ret, struct error *e)
{
	struct pictures *p = calloc(1, sizeof(*p));
	if (!p)
		return error_nomem(e);
	p->step = TIMELINE_HZ;
	p->snapshot_spread = -1;
	*ret = p;
	return 0;
}

void pictures_free(struct pictures *p)
{
	if (!p)
		return;
	for (unsigned i = 0; i < p->n; i++)
		av_frame_free(&p->thumbs[i]);
	av_frame_free(&p->current);
	av_frame_free(&p->current_thumb);
	av_frame_free(&p->snapshot);
	free(p);
}

static AVFrame *new_picture(int width, int height)
{
	AVFrame *f = av_frame_alloc();
	if (!f)
		return NULL;
	f->format = AV_PIX_FMT_YUVJ420P;
	f->width = width;
	f->height = height;
	if (av_frame_get_buffer(f, 0) < 0)
		av_frame_free(&f);
	return f;
}

/* Full range, as JPEG wants it. */
static AVFrame *scale(const AVFrame *from, int width, int height)
{
	AVFrame *to = new_picture(width, height);
	struct SwsContext *sws = sws_getContext(from->width, from->height, AV_PIX_FMT_YUV420P, width, height,
						AV_PIX_FMT_YUVJ420P, SWS_AREA, NULL, NULL, NULL);
	if (to && sws)
		(void)sws_scale(sws, (const uint8_t *const *)from->data, from->linesize, 0, from->height, to->data,
				to->linesize);
	else
		av_frame_free(&to);
	sws_freeContext(sws);
	return to;
}

static int even(int64_t n)
{
	return n < 2 ? 2 : (int)(n & ~(int64_t)1);
}

static int height_for(const AVFrame *f, int width)
{
	return even(MIN((int64_t)f->height * width / f->width, (int64_t)SHAPE_MAX * width));
}

static double spread(const AVFrame *thumb)
{
	double sum = 0, squares = 0;
	for (int y = 0; y < thumb->height; y++)
		for (int x = 0; x < thumb->width; x++) {
			double v = thumb->data[0][y * thumb->linesize[0] + x];
			sum += v;
			squares += v * v;
		}
	double n = (double)thumb->width * thumb->height, mean = sum / n;
	return sqrt(fmax(0, squares / n - mean * mean));
}

static int consider_snapshot(struct pictures *p, int64_t slot)
{
	if (p->snapshot_final)
		return 0;
	double s = spread(p->current_thumb);
	bool usable = slot >= SNAPSHOT_FROM && s >= SNAPSHOT_SPREAD;
	p->snapshot_final = usable || slot >= SNAPSHOT_UNTIL;
	if (!usable && s <= p->snapshot_spread)
		return 0;
	av_frame_free(&p->snapshot);
	p->snapshot = av_frame_clone(p->current);
	p->snapshot_at = p->current_at;
	p->snapshot_spread = s;
	return p->snapshot ? 0 : ERR_NOMEM;
}

static void thin_out(struct pictures *p)
{
	unsigned kept = 0;
	for (unsigned i = 0; i < p->n; i++) {
		if (i % 2 == 0)
			p->thumbs[kept++] = p->thumbs[i];
		else
			av_frame_free(&p->thumbs[i]);
	}
	p->n = kept;
	p->step *= 2;
}

/* Fills every slot before `until` with the frame that is shown then. */
static int fill_slots(struct pictures *p, int64_t until)
{
	while (p->current && (int64_t)p->n * p->step < until) {
		int64_t slot = (int64_t)p->n * p->step;
		if (!p->current_thumb) {
			int height = height_for(p->current, PICTURES_THUMB_WIDTH);
			p->current_thumb = scale(p->current, PICTURES_THUMB_WIDTH, height);
		}
		if (!p->current_thumb || !(p->thumbs[p->n] = av_frame_clone(p->current_thumb)))
			return ERR_NOMEM;
		p->n++;
		if (consider_snapshot(p, slot) < 0)
			return ERR_NOMEM;
		if (p->n == PICTURES_THUMBS_KEPT)
			thin_out(p);
	}
	return 0;
}

int pictures_frame(struct pictures *p, const AVFrame *frame, int64_t at, struct error *e)
{
	if (fill_slots(p, at) < 0)
		return error_nomem(e);
	av_frame_free(&p->current_thumb);
	av_frame_free(&p->current);
	p->current = av_frame_clone(frame);
	p->current_at = at;
	return p->current ? 0 : error_nomem(e);
}

/* A single packet of the encoder is the whole file. */
static int write_jpeg(AVFrame *picture, struct media_io *out, struct error *e)
{
	const AVCodec *codec = avcodec_find_encoder(AV_CODEC_ID_MJPEG);
	AVCodecContext *ctx = codec ? avcodec_alloc_context3(codec) : NULL;
	AVPacket *packet = av_packet_alloc();
	int r = AVERROR(ENOMEM);
	if (ctx && packet) {
		ctx->width = picture->width;
		ctx->height = picture->height;
		ctx->pix_fmt = AV_PIX_FMT_YUVJ420P;
		ctx->color_range = AVCOL_RANGE_JPEG;
		ctx->time_base = (AVRational){1, 25};
		ctx->thread_count = 1;
		ctx->flags |= AV_CODEC_FLAG_QSCALE | AV_CODEC_FLAG_BITEXACT;
		ctx->global_quality = JPEG_QUALITY * FF_QP2LAMBDA;
		picture->quality = ctx->global_quality;
		picture->pts = 0;
		r = avcodec_open2(ctx, codec, NULL);
	}
	if (r >= 0)
		r = avcodec_send_frame(ctx, picture);
	if (r >= 0)
		r = avcodec_receive_packet(ctx, packet);
	if (r >= 0 && media_io_write(out, 0, packet->data, (size_t)packet->size) < 0)
		r = error_set(e, out->error.code, "%s", out->error.text);
	else if (r < 0)
		r = media_error(e, ERR_RETRY, r, "cannot make a JPEG");
	av_packet_free(&packet);
	avcodec_free_context(&ctx);
	return r < 0 ? r : 0;
}

static int write_snapshot(struct pictures *p, struct media_io *out, struct pictures_facts *facts, struct error *e)
{
	const AVFrame *from = p->snapshot;
	int width = MIN(from->width, PICTURES_SNAPSHOT_WIDTH);
	AVFrame *picture = scale(from, width, width == from->width ? from->height : height_for(from, width));
	if (!picture)
		return error_nomem(e);
	facts->snapshot_width = picture->width;
	facts->snapshot_height = picture->height;
	facts->snapshot_time = (double)p->snapshot_at / TIMELINE_HZ;
	int r = write_jpeg(picture, out, e);
	av_frame_free(&picture);
	return r;
}

static void place(const AVFrame *thumb, AVFrame *strip, unsigned column, unsigned row)
{
	for (int plane = 0; plane < 3; plane++) {
		int shift = plane ? 1 : 0;
		int w = thumb->width >> shift, h = thumb->height >> shift;
		uint8_t *to = strip->data[plane] + (ptrdiff_t)row * h * strip->linesize[plane] + (ptrdiff_t)column * w;
		av_image_copy_plane(to, strip->linesize[plane], thumb->data[plane], thumb->linesize[plane], w, h);
	}
}

static int write_filmstrip(struct pictures *p, struct media_io *out, struct pictures_facts *facts, struct error *e)
{
	unsigned stride = (p->n + PICTURES_THUMBS_MAX - 1) / PICTURES_THUMBS_MAX;
	unsigned n = (p->n + stride - 1) / stride;
	facts->thumbs = n;
	facts->columns = MIN(n, PICTURES_COLUMNS);
	facts->rows = (n + facts->columns - 1) / facts->columns;
	facts->thumb_width = p->thumbs[0]->width;
	facts->thumb_height = p->thumbs[0]->height;
	facts->interval = (double)(p->step * stride) / TIMELINE_HZ;
	AVFrame *strip = new_picture((int)facts->columns * facts->thumb_width, (int)facts->rows * facts->thumb_height);
	if (!strip)
		return error_nomem(e);
	memset(strip->data[0], 0, (size_t)strip->linesize[0] * (size_t)strip->height);
	for (int plane = 1; plane < 3; plane++)
		memset(strip->data[plane], 128, (size_t)strip->linesize[plane] * (size_t)strip->height / 2);
	for (unsigned i = 0; i < n; i++)
		place(p->thumbs[i * stride], strip, i % facts->columns, i / facts->columns);
	int r = write_jpeg(strip, out, e);
	av_frame_free(&strip);
	return r;
}

int pictures_finish(struct pictures *p, int64_t end, struct media_io *snapshot, struct media_io *filmstrip,
		    struct pictures_facts *ret, bool *ret_made, struct error *e)
{
	*ret = (struct pictures_facts){0};
	*ret_made = p->current != NULL;
	if (!p->current)
		return 0;
	/* the first slot exists however short the video is */
	if (fill_slots(p, MAX(end, 1)) < 0)
		return error_nomem(e);
	int r = snapshot ? write_snapshot(p, snapshot, ret, e) : 0;
	if (r == 0 && filmstrip)
		r = write_filmstrip(p, filmstrip, ret, e);
	return r;
}
