/* A bounded pool of page-aligned buffers, shared by all streams of a process, so that what is in flight has one limit
 * whatever the number of connections. */
#ifndef RUSHES_SPOOL_SLAB_H
#define RUSHES_SPOOL_SLAB_H

#include "base/error.h"

#include <stdbool.h>

struct slab;

/* At most `count` buffers of `bytes` (a multiple of 4096) each; allocated when first needed, then kept. */
int slab_new(size_t bytes, unsigned count, struct slab **ret, struct error *e) _must_check_;
/* All buffers must have been given back. */
void slab_free(struct slab *s);
DEFINE_CLEANUP(struct slab, slab_free)

size_t slab_buffer_bytes(const struct slab *s);

/* A buffer, or NULL when all are out or memory is refused. Any thread. */
void *slab_take(struct slab *s);
/* Waits until one is free. Never NULL but without memory. Not on a loop's thread. */
void *slab_wait(struct slab *s);
/* Gives it back; NULL is accepted. Any thread. */
void slab_give(struct slab *s, void *buffer);

/* Buffers that are out now, for metrics. */
unsigned slab_used(struct slab *s);

/* Whether slab_take() would find one now. */
bool slab_has_spare(struct slab *s);

#endif
