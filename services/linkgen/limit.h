/* Rate limits of the public listener, by remote address: shared through Redis, or counted in this process when there is
 * none or it is away. A limit only slows down: what may be done is decided in PostgreSQL. */
#ifndef RUSHES_LINKGEN_LIMIT_H
#define RUSHES_LINKGEN_LIMIT_H

#include "store/redis.h"

enum limit {
	LIMIT_PAGE,    /* openings of short links */
	LIMIT_REQUEST, /* what a page asks about its link: whoever tries codes is slow */
	LIMIT_SESSION, /* exchanges of links */
	LIMIT_API,     /* REST calls: helpdesks are few and busy */
	LIMIT_MAX
};

struct limiter;

/* `redis` is borrowed, NULL: this process counts. `instances`: processes that share the limits while Redis is away. */
int limiter_new(struct redis *redis, unsigned instances, struct limiter **ret, struct error *e) _must_check_;
void limiter_free(struct limiter *l);

/* Takes one token of `address`. `done` is called once, on the loop, perhaps before this returns. */
void limiter_take(struct limiter *l, enum limit limit, const char *address, redis_limit_done *done, void *arg);

#endif
