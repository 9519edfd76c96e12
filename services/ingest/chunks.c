#include "chunks.h"

#include <assert.h>
#include <string.h>

static struct chunk *chunk_new(struct slab *pool, bool *ret_pool_is_empty)
{
	struct chunk *k = slab_take(pool);
	bool is_extra = !k;
	if (is_extra) {
		*ret_pool_is_empty = true;
		k = malloc(CHUNK_BUFFER_BYTES);
	}
	if (k)
		*k = (struct chunk){.is_extra = is_extra};
	return k;
}

void chunk_release(struct chunk *c, struct slab *pool)
{
	if (!c)
		return;
	if (c->is_extra)
		free(c);
	else
		slab_give(pool, c);
}

static void push(struct chunks *c, struct chunk *k)
{
	if (c->tail)
		c->tail->next = k;
	else
		c->head = k;
	c->tail = k;
}

/* How many of `n` bytes still fit behind the last one. */
static size_t room_in(const struct chunk *k, size_t n)
{
	return k ? MIN(n, CHUNK_DATA_BYTES - k->begin - k->size) : 0;
}

static void fill(struct chunks *c, const uint8_t *data, size_t n)
{
	memcpy(c->tail->data + c->tail->begin + c->tail->size, data, n);
	c->tail->size += (uint32_t)n;
	c->bytes += n;
}

int chunks_add(struct chunks *c, struct slab *pool, const void *data, size_t n, bool *ret_pool_is_empty,
	       struct error *e)
{
	const uint8_t *p = data;
	while (n > 0) {
		if (room_in(c->tail, n) == 0) {
			struct chunk *k = chunk_new(pool, ret_pool_is_empty);
			if (!k)
				return error_nomem(e);
			push(c, k);
		}
		size_t take = room_in(c->tail, n);
		fill(c, p, take);
		p += take;
		n -= take;
	}
	return 0;
}

void chunks_join(struct chunks *to, struct chunks *from, struct slab *pool)
{
	struct chunk *first = from->head;
	/* small messages share a buffer, so that the pool holds bytes rather than air */
	if (first && first == from->tail && room_in(to->tail, first->size) == first->size) {
		fill(to, first->data + first->begin, first->size);
		chunk_release(first, pool);
	} else if (first) {
		if (to->tail)
			to->tail->next = first;
		else
			to->head = first;
		to->tail = from->tail;
		to->bytes += from->bytes;
	}
	*from = (struct chunks){0};
}

void chunks_put_back(struct chunks *to, struct chunks *from)
{
	if (!from->head)
		return;
	from->tail->next = to->head;
	to->head = from->head;
	if (!to->tail)
		to->tail = from->tail;
	to->bytes += from->bytes;
	*from = (struct chunks){0};
}

struct chunk *chunks_take(struct chunks *c)
{
	struct chunk *k = c->head;
	if (!k)
		return NULL;
	c->head = k->next;
	if (!c->head)
		c->tail = NULL;
	c->bytes -= k->size;
	k->next = NULL;
	return k;
}

void chunks_skip(struct chunks *c, struct slab *pool, uint64_t n)
{
	assert(n <= c->bytes);
	while (n > 0 && n >= c->head->size) {
		n -= c->head->size;
		chunk_release(chunks_take(c), pool);
	}
	if (n > 0) {
		c->head->begin += (uint32_t)n;
		c->head->size -= (uint32_t)n;
		c->bytes -= n;
	}
}

void chunks_cut(struct chunks *c, struct slab *pool, uint64_t n)
{
	assert(n <= c->bytes);
	struct chunks kept = {0};
	while (n > 0) {
		struct chunk *k = chunks_take(c);
		k->size = (uint32_t)MIN(n, (uint64_t)k->size);
		n -= k->size;
		push(&kept, k);
		kept.bytes += k->size;
	}
	chunks_clear(c, pool);
	*c = kept;
}

void chunks_clear(struct chunks *c, struct slab *pool)
{
	struct chunk *k;
	while ((k = chunks_take(c)))
		chunk_release(k, pool);
	*c = (struct chunks){0};
}
