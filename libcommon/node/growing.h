/* Sealed files that this process is writing now, and peers that follow them (proto/peers.md): the writer says how far
 * the file is durable, followers are told on the loop. Writers call from any thread, one at a time per file; everything
 * about followers belongs to the loop's thread. A file that nobody follows costs a lock per step. */
#ifndef RUSHES_NODE_GROWING_H
#define RUSHES_NODE_GROWING_H

#include "base/loop.h"
#include "base/uuid.h"

#include <stdint.h>

struct growing;	     /* the set */
struct growing_file; /* one file, as its writer holds it */
struct growing_view; /* one file, as a follower holds it */

int growing_new(struct loop *l, struct growing **ret, struct error *e) _must_check_;
/* No writer and no follower may be left, and the loop has told what they posted. */
void growing_free(struct growing *g);
DEFINE_CLEANUP(struct growing, growing_free)

/* A file begins to grow. ERR_NOMEM. */
int growing_add(struct growing *g, const struct uuid *copy, struct growing_file **ret, struct error *e) _must_check_;

/* The first `bytes` of the file may be served: they stand, and what they seal is durable. Never less than before. */
void growing_reach(struct growing_file *f, uint64_t bytes);

/* The file grows no more. `is_whole`: it is complete with `bytes`; else it was given up, and followers must not take
 * what they have for the whole. The file is no longer the writer's. NULL does nothing. */
void growing_end(struct growing_file *f, bool is_whole, uint64_t bytes);

enum growing_state { GROWING, GROWING_WHOLE, GROWING_DROPPED };

/* Follows a file from now on: `news` runs on the loop when it has grown or ended. ERR_NOTFOUND when nobody writes it.
 */
int growing_follow(struct growing *g, const struct uuid *copy, loop_function *news, void *arg,
		   struct growing_view **ret) _must_check_;
enum growing_state growing_look(const struct growing_view *v, uint64_t *ret_bytes);
/* Not inside `news` of another view. */
void growing_leave(struct growing_view *v);

#endif
