#include "canvas.h"

#include "media_log.h"

#include <libavfilter/avfilter.h>
#include <libavfilter/buffersink.h>
#include <libavfilter/buffersrc.h>
#include <libavutil/display.h>
#include <libavutil/pixdesc.h>
#include <math.h>

/* Pixel shapes outside 1:4 to 4:1 are mistakes. */
#define PIXEL_SHAPE_MAX 4

struct canvas {
	int rotation;
	struct canvas_size size;
	AVFilterGraph *graph;
	AVFilterContext *source, *sink;
	AVFrame *out;
	int width, height, format; /* of the frames that the graph was built for */
	AVRational pixel;
};

static int even(int64_t n)
{
	return n < 2 ? 2 : (int)(n & ~(int64_t)1);
}

struct canvas_size canvas_fit(struct canvas_size inner, struct canvas_size outer)
{
	int64_t w = outer.width, h = (int64_t)inner.height * outer.width / inner.width;
	if (h > outer.height) {
		h = outer.height;
		w = (int64_t)inner.width * outer.height / inner.height;
	}
	return (struct canvas_size){even(w), even(h)};
}

struct canvas_size canvas_size_of(int width, int height, AVRational pixel, int rotation)
{
	int64_t w = width;
	if (pixel.num > 0 && pixel.den > 0 && pixel.num <= (int64_t)PIXEL_SHAPE_MAX * pixel.den &&
	    pixel.den <= (int64_t)PIXEL_SHAPE_MAX * pixel.num)
		w = w * pixel.num / pixel.den;
	struct canvas_size s = {even(w), even(height)};
	if (rotation == 90 || rotation == 270)
		s = (struct canvas_size){s.height, s.width};
	struct canvas_size limit = {CANVAS_LONG_MAX, CANVAS_SHORT_MAX};
	if (s.height > s.width)
		limit = (struct canvas_size){CANVAS_SHORT_MAX, CANVAS_LONG_MAX};
	return s.width > limit.width || s.height > limit.height ? canvas_fit(s, limit) : s;
}

int canvas_rotation(const int32_t *matrix)
{
	if (!matrix)
		return 0;
	double degrees = -av_display_rotation_get(matrix);
	if (!isfinite(degrees))
		return 0;
	int quarter = (int)lround(degrees / 90);
	return ((quarter % 4 + 4) % 4) * 90;
}

int canvas_new(struct canvas **ret, struct error *e)
{
	struct canvas *c = calloc(1, sizeof(*c));
	if (!c)
		return error_nomem(e);
	c->out = av_frame_alloc();
	if (!c->out) {
		canvas_free(c);
		return error_nomem(e);
	}
	*ret = c;
	return 0;
}

void canvas_free(struct canvas *c)
{
	if (!c)
		return;
	avfilter_graph_free(&c->graph);
	av_frame_free(&c->out);
	free(c);
}

void canvas_rotate(struct canvas *c, int rotation)
{
	if (c->rotation == rotation)
		return;
	c->rotation = rotation;
	avfilter_graph_free(&c->graph);
}

struct canvas_size canvas_size(const struct canvas *c)
{
	return c->size;
}

static int add_source(struct canvas *c, const AVFrame *f)
{
	const AVFilter *buffer = avfilter_get_by_name("buffer");
	c->source = avfilter_graph_alloc_filter(c->graph, buffer, "in");
	AVBufferSrcParameters *p = av_buffersrc_parameters_alloc();
	int r = AVERROR(ENOMEM);
	if (c->source && p) {
		p->format = f->format;
		p->width = f->width;
		p->height = f->height;
		p->time_base = (AVRational){1, 90000};
		p->sample_aspect_ratio = (AVRational){0, 1};
		r = av_buffersrc_parameters_set(c->source, p);
		if (r >= 0)
			r = avfilter_init_str(c->source, NULL);
	}
	av_free(p);
	return r;
}

static int add_filters(struct canvas *c, const char *filters)
{
	AVFilterInOut *in = NULL, *out = NULL;
	int r = avfilter_graph_create_filter(&c->sink, avfilter_get_by_name("buffersink"), "out", NULL, NULL, c->graph);
	if (r >= 0)
		r = avfilter_graph_parse2(c->graph, filters, &in, &out);
	if (r >= 0)
		r = avfilter_link(c->source, 0, in->filter_ctx, (unsigned)in->pad_idx);
	if (r >= 0)
		r = avfilter_link(out->filter_ctx, (unsigned)out->pad_idx, c->sink, 0);
	if (r >= 0)
		r = avfilter_graph_config(c->graph, NULL);
	avfilter_inout_free(&in);
	avfilter_inout_free(&out);
	return r;
}

static int build(struct canvas *c, const AVFrame *f, struct error *e)
{
	static const char *const turn[] = {"", "transpose=clock,", "hflip,vflip,", "transpose=cclock,"};
	struct canvas_size shown = canvas_size_of(f->width, f->height, f->sample_aspect_ratio, c->rotation);
	if (c->size.width == 0)
		c->size = shown;
	struct canvas_size fit =
	    shown.width == c->size.width && shown.height == c->size.height ? shown : canvas_fit(shown, c->size);
	char filters[256];
	(void)snprintf(filters, sizeof(filters),
		       "%sscale=%d:%d:out_range=tv:flags=bicubic,pad=%d:%d:(ow-iw)/2:(oh-ih)/2,setsar=1,format=yuv420p",
		       turn[c->rotation / 90 % 4], fit.width, fit.height, c->size.width, c->size.height);
	avfilter_graph_free(&c->graph);
	c->graph = avfilter_graph_alloc();
	if (!c->graph)
		return error_nomem(e);
	c->graph->nb_threads = 1;
	int r = add_source(c, f);
	if (r >= 0)
		r = add_filters(c, filters);
	if (r < 0) {
		avfilter_graph_free(&c->graph);
		return media_error(e, ERR_REJECT, r, "cannot scale frames of %dx%d", f->width, f->height);
	}
	c->width = f->width;
	c->height = f->height;
	c->format = f->format;
	c->pixel = f->sample_aspect_ratio;
	return 0;
}

int canvas_draw(struct canvas *c, const AVFrame *frame, AVFrame **ret, struct error *e)
{
	if (!c->graph || c->width != frame->width || c->height != frame->height || c->format != frame->format ||
	    av_cmp_q(c->pixel, frame->sample_aspect_ratio) != 0) {
		int r = build(c, frame, e);
		if (r < 0)
			return r;
	}
	av_frame_unref(c->out);
	/* the reference keeps the caller's frame as it is; the const is FFmpeg's own for this flag */
	int r = av_buffersrc_add_frame_flags(c->source, (AVFrame *)frame, AV_BUFFERSRC_FLAG_KEEP_REF);
	if (r >= 0)
		r = av_buffersink_get_frame(c->sink, c->out);
	if (r < 0)
		return media_error(e, ERR_REJECT, r, "cannot scale a frame of %dx%d", frame->width, frame->height);
	c->out->color_range = AVCOL_RANGE_MPEG;
	*ret = c->out;
	return 0;
}
