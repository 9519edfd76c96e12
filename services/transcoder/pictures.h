/* The snapshot and the filmstrip, chosen while frames pass by: about 0.15 % of the work of a conversion, constant
 * memory for any length. */
#ifndef RUSHES_TRANSCODER_PICTURES_H
#define RUSHES_TRANSCODER_PICTURES_H

#include "media_io.h"

#include <libavutil/frame.h>

#define PICTURES_SNAPSHOT_WIDTH 1280 /* at most */
#define PICTURES_THUMB_WIDTH	160
#define PICTURES_THUMBS_KEPT	40 /* when full, every second one goes and the step doubles */
#define PICTURES_THUMBS_MAX	25 /* in a filmstrip */
#define PICTURES_COLUMNS	5

struct pictures;

struct pictures_facts {
	int snapshot_width, snapshot_height;
	double snapshot_time; /* seconds into the .mp4 */
	unsigned thumbs, columns, rows;
	int thumb_width, thumb_height;
	double interval; /* seconds between thumbs; the first shows 0 */
};

int pictures_new(struct pictures **ret, struct error *e) _must_check_;
void pictures_free(struct pictures *p);
DEFINE_CLEANUP(struct pictures, pictures_free)

/* A frame (yuv420p of limited range, all of one size) that is shown from `at` (1/90000 s) on. */
int pictures_frame(struct pictures *p, const AVFrame *frame, int64_t at, struct error *e) _must_check_;

/* The video ends at `end`: writes the JPEGs. Either output may be NULL. False in *ret_made when no frame came. */
int pictures_finish(struct pictures *p, int64_t end, struct media_io *snapshot, struct media_io *filmstrip,
		    struct pictures_facts *ret, bool *ret_made, struct error *e) _must_check_;

#endif
