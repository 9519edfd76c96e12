#include "spool/slab.h"

#include <assert.h>
#include <pthread.h>
#include <sys/mman.h>

#define SLAB_ALIGN 4096
/* Buffers of whole huge pages lie in such where the system has some: the kernel pins and maps them at once. */
#define HUGE_PAGE_BYTES ((size_t)2 * 1024 * 1024)

struct slab {
	size_t bytes;
	unsigned count;
	unsigned made; /* allocated so far */
	unsigned idle; /* entries of `spare` in use */
	pthread_mutex_t lock;
	pthread_cond_t given;
	void *spare[];
};

int slab_new(size_t bytes, unsigned count, struct slab **ret, struct error *e)
{
	assert(bytes > 0 && bytes % SLAB_ALIGN == 0 && count > 0);
	struct slab *s = calloc(1, sizeof(*s) + count * sizeof(s->spare[0]));
	if (!s)
		return error_nomem(e);
	s->bytes = bytes;
	s->count = count;
	(void)pthread_mutex_init(&s->lock, NULL);
	(void)pthread_cond_init(&s->given, NULL);
	*ret = s;
	return 0;
}

void slab_free(struct slab *s)
{
	if (!s)
		return;
	assert(s->idle == s->made);
	for (unsigned i = 0; i < s->idle; i++)
		free(s->spare[i]);
	(void)pthread_cond_destroy(&s->given);
	(void)pthread_mutex_destroy(&s->lock);
	free(s);
}

size_t slab_buffer_bytes(const struct slab *s)
{
	return s->bytes;
}

/* The lock is held. */
static void *take_locked(struct slab *s)
{
	if (s->idle > 0)
		return s->spare[--s->idle];
	if (s->made == s->count)
		return NULL;
	bool is_huge = s->bytes % HUGE_PAGE_BYTES == 0;
	void *buffer = aligned_alloc(is_huge ? HUGE_PAGE_BYTES : SLAB_ALIGN, s->bytes);
	if (buffer && is_huge)
		(void)madvise(buffer, s->bytes, MADV_HUGEPAGE);
	if (buffer)
		s->made++;
	return buffer;
}

void *slab_take(struct slab *s)
{
	(void)pthread_mutex_lock(&s->lock);
	void *buffer = take_locked(s);
	(void)pthread_mutex_unlock(&s->lock);
	return buffer;
}

void *slab_wait(struct slab *s)
{
	(void)pthread_mutex_lock(&s->lock);
	void *buffer;
	while (!(buffer = take_locked(s)) && s->made > 0)
		(void)pthread_cond_wait(&s->given, &s->lock);
	(void)pthread_mutex_unlock(&s->lock);
	return buffer;
}

void slab_give(struct slab *s, void *buffer)
{
	if (!buffer)
		return;
	(void)pthread_mutex_lock(&s->lock);
	assert(s->idle < s->made);
	s->spare[s->idle++] = buffer;
	(void)pthread_cond_signal(&s->given);
	(void)pthread_mutex_unlock(&s->lock);
}

unsigned slab_used(struct slab *s)
{
	(void)pthread_mutex_lock(&s->lock);
	unsigned used = s->made - s->idle;
	(void)pthread_mutex_unlock(&s->lock);
	return used;
}

bool slab_has_spare(struct slab *s)
{
	return slab_used(s) < s->count;
}
