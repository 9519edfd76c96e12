/* The answers to peers that follow a sealed file while it is still being written (proto/peers.md): its bytes as they
 * may be served, until the file is whole (the answer ends) or given up (the connection is cut, so that nobody takes
 * what came for the whole). Read on the pool in pieces, no faster than the peer takes them; between news a follower
 * costs nothing. The loop's thread. */
#ifndef RUSHES_NODE_FOLLOW_H
#define RUSHES_NODE_FOLLOW_H

#include "base/metrics.h"
#include "net/http.h"
#include "node/growing.h"

/* All of a process, for metrics. */
struct followers;

struct followers_options {
	struct loop *loop; /* borrowed, as all here */
	struct pool *pool;
	struct growing *growing;
	struct metrics *metrics;
};

int followers_new(const struct followers_options *o, struct followers **ret, struct error *e) _must_check_;
/* All requests have ended and nothing runs on the pool. */
void followers_free(struct followers *f);
DEFINE_CLEANUP(struct followers, followers_free)

/* Answers `r` with the file of `copy` from `offset` on. Takes *fd when it returns 0. ERR_NOTFOUND, nothing answered:
 * this process does not write the file. ERR_NOMEM, ERR_CANCELLED: nothing answered. */
int follow_answer(struct followers *f, struct http_request *r, const struct uuid *copy, int *fd,
		  uint64_t offset) _must_check_;

#endif
