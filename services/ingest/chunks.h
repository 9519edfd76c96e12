/* Received bytes that wait for a thread to seal and write them: lists of buffers from one bounded pool that all streams
 * share. When the pool is empty a buffer is allocated all the same, once, and the giver has to pause. */
#ifndef RUSHES_INGEST_CHUNKS_H
#define RUSHES_INGEST_CHUNKS_H

#include "base/error.h"
#include "spool/slab.h"

#include <stdbool.h>

/* One buffer of the pool, its list entry included. */
#define CHUNK_BUFFER_BYTES 65536

struct chunk {
	struct chunk *next;
	uint32_t begin, size; /* the bytes are data[begin .. begin+size) */
	bool is_extra;	      /* beside the pool */
	uint8_t data[];
};

#define CHUNK_DATA_BYTES (CHUNK_BUFFER_BYTES - sizeof(struct chunk))

struct chunks {
	struct chunk *head, *tail;
	uint64_t bytes;
};

/* Adds a copy of `n` bytes. *ret_pool_is_empty: the giver should pause. ERR_NOMEM: what was added before stays. */
int chunks_add(struct chunks *c, struct slab *pool, const void *data, size_t n, bool *ret_pool_is_empty,
	       struct error *e) _must_check_;

/* Moves all of `from` behind `to`, filling up the last buffer of `to` where that frees one. */
void chunks_join(struct chunks *to, struct chunks *from, struct slab *pool);

/* Puts all of `from` before `to`. */
void chunks_put_back(struct chunks *to, struct chunks *from);

/* Drops `n` bytes at the front, or keeps only the first `n` (n <= bytes). */
void chunks_skip(struct chunks *c, struct slab *pool, uint64_t n);
void chunks_cut(struct chunks *c, struct slab *pool, uint64_t n);

/* Takes the first buffer out of the list; NULL when it is empty. chunk_release() gives it back. */
struct chunk *chunks_take(struct chunks *c);
void chunk_release(struct chunk *c, struct slab *pool);

void chunks_clear(struct chunks *c, struct slab *pool);

#endif
