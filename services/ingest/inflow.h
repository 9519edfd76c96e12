/* The body of a request on its way into an intake: queued in the buffers that all streams share, held back while the
 * recording is not open, the request paused while the intake or the buffers are full. The one way of POST, PUT and tus.
 */
#ifndef RUSHES_INGEST_INFLOW_H
#define RUSHES_INGEST_INFLOW_H

#include "ingest.h"

struct inflow {
	struct ingest *g;
	struct http_request *r;
	struct intake *intake; /* NULL: none attached; the owner attaches, and clears it when the intake ended */
	struct loop_timer *timer;
	struct chunks waiting; /* came before the recording was open */
	uint64_t offset;       /* of the next byte, in the recording */
	bool is_open;
};

/* Pauses the request until inflow_open(). */
int inflow_init(struct inflow *f, struct ingest *g, struct http_request *r, struct error *e) _must_check_;
/* The intake is the owner's matter. */
void inflow_done(struct inflow *f);

/* The recording is open: bytes go to `offset` of it. ERR_REJECT as inflow_give(). */
int inflow_open(struct inflow *f, uint64_t offset, struct error *e) _must_check_;

/* More bytes of the body. ERR_CANCELLED when the recording has ended, ERR_REJECT when it takes none now, ERR_NOMEM. */
int inflow_give(struct inflow *f, const void *data, size_t n, struct error *e) _must_check_;

/* The intake has room again. */
void inflow_room(struct inflow *f);

#endif
