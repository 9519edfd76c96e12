/* The picture area of the output: every decoded frame is turned upright, scaled to fit and centred on one canvas, whose
 * size the first frame sets. A window that is resized while it is recorded changes the frames' size at any time. */
#ifndef RUSHES_TRANSCODER_CANVAS_H
#define RUSHES_TRANSCODER_CANVAS_H

#include "base/error.h"

#include <libavutil/frame.h>
#include <stdbool.h>

/* Largest canvas: what players decode in hardware (H.264 level 5.1); larger sources are scaled down. */
#define CANVAS_LONG_MAX	 3840
#define CANVAS_SHORT_MAX 2160

struct canvas_size {
	int width, height; /* even, at least 2 */
};

/* The size at which a frame with this pixel shape (0/x or x/0: square) is shown, turned by `rotation` degrees (0, 90,
 * 180, 270), within the limits above. */
struct canvas_size canvas_size_of(int width, int height, AVRational pixel, int rotation);

/* The largest size with the shape of `inner` that fits into `outer`. */
struct canvas_size canvas_fit(struct canvas_size inner, struct canvas_size outer);

/* Degrees clockwise, one of 0, 90, 180, 270, from a display matrix (9 numbers, NULL: 0). */
int canvas_rotation(const int32_t *matrix);

struct canvas;

int canvas_new(struct canvas **ret, struct error *e) _must_check_;
void canvas_free(struct canvas *c);
DEFINE_CLEANUP(struct canvas, canvas_free)

/* Frames that follow are to be turned by this many degrees clockwise; 0 at the beginning. */
void canvas_rotate(struct canvas *c, int rotation);

/* Draws `frame` (unchanged; its pts is kept): *ret is yuv420p of limited range at the canvas's size, borrowed until the
 * next call. ERR_REJECT when the frame cannot be scaled, ERR_NOMEM. */
int canvas_draw(struct canvas *c, const AVFrame *frame, AVFrame **ret, struct error *e) _must_check_;

/* Zero before the first frame. */
struct canvas_size canvas_size(const struct canvas *c);

#endif
