/* The peers' endpoint of a spool (proto/peers.md): GET /spool/v1/copies/<copy> with the headers Rushes-Job and
 * Rushes-Attempt answers the sealed file as it lies (DESIGN section 4, "Spool peers"); with Rushes-Follow also one that
 * is still being written. The peer's certificate names it; the database decides
 * whether that peer runs that attempt of a job that needs the copy, and that the recording is not going. The server
 * holds no key. Answers: 200 or 206 (Range), 400, 403, 404, 410 when it is being deleted, 503 while the database is
 * away. */
#ifndef RUSHES_NODE_SERVE_H
#define RUSHES_NODE_SERVE_H

#include "net/http.h"
#include "node/growing.h"
#include "node/spool.h"
#include "store/db.h"

struct serve_options {
	struct loop *loop; /* borrowed, as all here */
	struct pool *pool;
	struct db_pool *db;
	struct spool *spool;
	struct tls_context *tls; /* with an authority: peers must show a certificate */
	struct metrics *metrics;
	const char *listen;	 /* address:port */
	struct growing *growing; /* files that the process is writing; NULL: none may be followed */
	/* POST /spool/v1/fence of peers of the region, with a collected body; NULL: there is no such request. */
	http_handler *fence;
	void *fence_arg;
};

struct serve;

int serve_new(const struct serve_options *o, struct serve **ret, struct error *e) _must_check_;

/* Stops listening, lets transfers finish, then calls done(arg). */
void serve_drain(struct serve *s, loop_function *done, void *arg);
void serve_free(struct serve *s);
DEFINE_CLEANUP(struct serve, serve_free)

/* Connections and requests, for /debug/state: a new reference. The loop's thread. */
json_t *serve_debug(void *serve);

#endif
