/* Fencing between the ingest nodes of a region (DESIGN section 6): before a recording goes on here, the node on which
 * its last segment is open is asked to make everything durable, to close that segment and to let its connection go.
 * Both halves of `POST /spool/v1/fence` (proto/peers.md). The loop's thread. */
#ifndef RUSHES_INGEST_FENCE_H
#define RUSHES_INGEST_FENCE_H

#include "base/metrics.h"
#include "base/pool.h"
#include "net/client.h"
#include "net/http.h"
#include "segment.h"

/* The most that a page waits for a node that does not answer; a live one needs a flush and a commit. */
#define FENCE_ANSWER_MS 2000

struct fences;
struct fence;
struct intakes;

struct fences_options {
	struct loop *loop; /* borrowed, as all here */
	struct pool *pool;
	struct segment_host *host;
	struct http_client *http; /* to peers */
	struct metrics *metrics;
};

int fences_new(const struct fences_options *o, struct fences **ret, struct error *e) _must_check_;
/* Nothing of it may run on the pool, and no fence may be out. */
void fences_free(struct fences *f);
DEFINE_CLEANUP(struct fences, fences_free)

/* The pool is about to be freed: nothing more is begun. */
void fences_close(struct fences *f);

/* Whose recordings are let go when a peer asks; NULL: nobody's any more. */
void fences_set_intakes(struct fences *f, struct intakes *s);

/* Asks the owner. `done` is called once, later, whatever became of it: an owner that did not answer is left with its
 * segment open, and its bytes are sent again. ERR_NOMEM and the like: it was not asked. */
int fence_ask(struct fences *f, const struct segment_owner *owner, const struct uuid *recording, int64_t epoch,
	      const struct trace *trace, loop_function *done, void *arg, struct fence **ret) _must_check_;

/* `done` is not called any more. */
void fence_cancel(struct fence *x);

/* A peer asks: {"recording": UUID, "epoch": n}. Answers 200 {"offset": n} when this node holds no open segment of the
 * recording, 403 to others than ingest nodes of the region, 409 when the epoch is not the recording's last one or the
 * recording is finished, 503 when it cannot be done now. `arg` is the struct fences. */
void fence_handle(struct http_request *r, void *arg);

/* An intake of the recording has left, or has saved it: peers that wait for it are answered. */
void fences_released(struct fences *f, const struct uuid *recording);

#endif
