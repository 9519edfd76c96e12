#include "live_copies.h"

#include <pthread.h>
#include <string.h>

/* Places in the table at first; it doubles before it is half full. */
#define PLACES_MIN 64

/* A table with open addressing: a copy stands at its place or behind it without a gap. The zero UUID is an empty place.
 */
struct live_copies {
	pthread_mutex_t lock;
	size_t n, places; /* places: a power of two */
	struct uuid *ids;
};

int live_copies_new(struct live_copies **ret, struct error *e)
{
	_cleanup_(live_copies_freep) struct live_copies *l = calloc(1, sizeof(*l));
	if (!l)
		return error_nomem(e);
	(void)pthread_mutex_init(&l->lock, NULL);
	l->places = PLACES_MIN;
	l->ids = calloc(l->places, sizeof(*l->ids));
	if (!l->ids)
		return error_nomem(e);
	*ret = TAKE_PTR(l);
	return 0;
}

void live_copies_free(struct live_copies *l)
{
	if (!l)
		return;
	(void)pthread_mutex_destroy(&l->lock);
	free(l->ids);
	free(l);
}

static bool is_empty(const struct uuid *id)
{
	static const struct uuid none;
	return uuid_equal(id, &none);
}

/* The last bytes of a UUIDv7 are random. */
static size_t place_of(const struct live_copies *l, const struct uuid *id)
{
	uint64_t hash;
	memcpy(&hash, id->b + UUID_BYTES - sizeof(hash), sizeof(hash));
	return (size_t)hash & (l->places - 1);
}

/* Where the copy stands, or the empty place where it would. */
static size_t find(const struct live_copies *l, const struct uuid *id)
{
	size_t at = place_of(l, id);
	while (!is_empty(&l->ids[at]) && !uuid_equal(&l->ids[at], id))
		at = (at + 1) & (l->places - 1);
	return at;
}

static int grow(struct live_copies *l, struct error *e)
{
	struct live_copies larger = {.n = l->n, .places = 2 * l->places};
	larger.ids = calloc(larger.places, sizeof(*larger.ids));
	if (!larger.ids)
		return error_nomem(e);
	for (size_t i = 0; i < l->places; i++)
		if (!is_empty(&l->ids[i]))
			larger.ids[find(&larger, &l->ids[i])] = l->ids[i];
	free(l->ids);
	l->ids = larger.ids;
	l->places = larger.places;
	return 0;
}

int live_copies_add(struct live_copies *l, const struct uuid *copy, struct error *e)
{
	(void)pthread_mutex_lock(&l->lock);
	int r = 2 * (l->n + 1) > l->places ? grow(l, e) : 0;
	if (r == 0) {
		l->ids[find(l, copy)] = *copy;
		l->n++;
	}
	(void)pthread_mutex_unlock(&l->lock);
	return r;
}

void live_copies_remove(struct live_copies *l, const struct uuid *copy)
{
	(void)pthread_mutex_lock(&l->lock);
	size_t hole = find(l, copy), mask = l->places - 1;
	if (!is_empty(&l->ids[hole])) {
		l->n--;
		/* what stands behind without a gap moves up, unless it would leave its own place's run */
		for (size_t at = (hole + 1) & mask; !is_empty(&l->ids[at]); at = (at + 1) & mask) {
			size_t home = place_of(l, &l->ids[at]);
			if (((at - home) & mask) >= ((at - hole) & mask)) {
				l->ids[hole] = l->ids[at];
				hole = at;
			}
		}
		l->ids[hole] = (struct uuid){0};
	}
	(void)pthread_mutex_unlock(&l->lock);
}

bool live_copies_has(struct live_copies *l, const struct uuid *copy)
{
	(void)pthread_mutex_lock(&l->lock);
	bool found = !is_empty(&l->ids[find(l, copy)]);
	(void)pthread_mutex_unlock(&l->lock);
	return found;
}

size_t live_copies_count(struct live_copies *l)
{
	(void)pthread_mutex_lock(&l->lock);
	size_t n = l->n;
	(void)pthread_mutex_unlock(&l->lock);
	return n;
}
