#include "node/growing.h"

#include <assert.h>
#include <pthread.h>
#include <stdlib.h>

#define BUCKETS 1024

struct growing_view {
	struct growing_view *next;
	struct growing_file *file;
	loop_function *news;
	void *arg;
};

struct growing_file {
	struct growing_file *next;  /* in its bucket, while it grows */
	struct growing_file *dirty; /* that have news, while is_dirty */
	struct growing *set;
	struct uuid copy;
	struct growing_view *views; /* the loop's */
	unsigned refs;		    /* the writer's, the views', the news' */
	bool is_dirty;
	uint64_t bytes;
	enum growing_state state;
};

struct growing {
	struct loop *loop;
	pthread_mutex_t lock; /* of all but views */
	struct growing_file *buckets[BUCKETS];
	struct growing_file *dirty;
	bool is_posted;
};

static struct growing_file **bucket_of(struct growing *g, const struct uuid *copy)
{
	/* the last bytes of a UUIDv7 are random */
	return &g->buckets[(unsigned)(copy->b[14] << 8 | copy->b[15]) % BUCKETS];
}

int growing_new(struct loop *l, struct growing **ret, struct error *e)
{
	struct growing *g = calloc(1, sizeof(*g));
	if (!g)
		return error_nomem(e);
	g->loop = l;
	(void)pthread_mutex_init(&g->lock, NULL);
	*ret = g;
	return 0;
}

void growing_free(struct growing *g)
{
	if (!g)
		return;
	assert(!g->dirty);
	(void)pthread_mutex_destroy(&g->lock);
	free(g);
}

/* Under lock. */
static void unref(struct growing_file *f)
{
	if (--f->refs == 0)
		free(f);
}

int growing_add(struct growing *g, const struct uuid *copy, struct growing_file **ret, struct error *e)
{
	struct growing_file *f = calloc(1, sizeof(*f));
	if (!f)
		return error_nomem(e);
	f->set = g;
	f->copy = *copy;
	f->refs = 1;
	(void)pthread_mutex_lock(&g->lock);
	struct growing_file **bucket = bucket_of(g, copy);
	f->next = *bucket;
	*bucket = f;
	(void)pthread_mutex_unlock(&g->lock);
	*ret = f;
	return 0;
}

/* On the loop: tells the followers of what has changed. */
static void tell(void *arg)
{
	struct growing *g = arg;
	(void)pthread_mutex_lock(&g->lock);
	struct growing_file *list = g->dirty;
	g->dirty = NULL;
	g->is_posted = false;
	while (list) {
		struct growing_file *f = list;
		list = f->dirty;
		f->is_dirty = false;
		(void)pthread_mutex_unlock(&g->lock);
		for (struct growing_view *v = f->views, *next; v; v = next) {
			next = v->next;
			v->news(v->arg);
		}
		(void)pthread_mutex_lock(&g->lock);
		unref(f);
	}
	(void)pthread_mutex_unlock(&g->lock);
}

/* Under lock. */
static void make_news(struct growing_file *f)
{
	struct growing *g = f->set;
	if (f->is_dirty || f->refs == 1)
		return;
	f->is_dirty = true;
	f->refs++;
	f->dirty = g->dirty;
	g->dirty = f;
	if (!g->is_posted)
		loop_post(g->loop, tell, g);
	g->is_posted = true;
}

void growing_reach(struct growing_file *f, uint64_t bytes)
{
	struct growing *g = f->set;
	(void)pthread_mutex_lock(&g->lock);
	assert(bytes >= f->bytes);
	if (bytes > f->bytes) {
		f->bytes = bytes;
		make_news(f);
	}
	(void)pthread_mutex_unlock(&g->lock);
}

void growing_end(struct growing_file *f, bool is_whole, uint64_t bytes)
{
	if (!f)
		return;
	struct growing *g = f->set;
	(void)pthread_mutex_lock(&g->lock);
	struct growing_file **at = bucket_of(g, &f->copy);
	while (*at != f)
		at = &(*at)->next;
	*at = f->next;
	f->state = is_whole ? GROWING_WHOLE : GROWING_DROPPED;
	if (is_whole)
		f->bytes = bytes;
	make_news(f);
	unref(f);
	(void)pthread_mutex_unlock(&g->lock);
}

int growing_follow(struct growing *g, const struct uuid *copy, loop_function *news, void *arg,
		   struct growing_view **ret)
{
	struct growing_view *v = calloc(1, sizeof(*v));
	if (!v)
		return ERR_NOMEM;
	(void)pthread_mutex_lock(&g->lock);
	struct growing_file *f = *bucket_of(g, copy);
	while (f && !uuid_equal(&f->copy, copy))
		f = f->next;
	if (f)
		f->refs++;
	(void)pthread_mutex_unlock(&g->lock);
	if (!f) {
		free(v);
		return ERR_NOTFOUND;
	}
	*v = (struct growing_view){.next = f->views, .file = f, .news = news, .arg = arg};
	f->views = v;
	*ret = v;
	return 0;
}

enum growing_state growing_look(const struct growing_view *v, uint64_t *ret_bytes)
{
	struct growing *g = v->file->set;
	(void)pthread_mutex_lock(&g->lock);
	enum growing_state state = v->file->state;
	*ret_bytes = v->file->bytes;
	(void)pthread_mutex_unlock(&g->lock);
	return state;
}

void growing_leave(struct growing_view *v)
{
	struct growing_file *f = v->file;
	struct growing *g = f->set;
	struct growing_view **at = &f->views;
	while (*at != v)
		at = &(*at)->next;
	*at = v->next;
	(void)pthread_mutex_lock(&g->lock);
	unref(f);
	(void)pthread_mutex_unlock(&g->lock);
	free(v);
}
