#include "base/pool.h"

#include <pthread.h>
#include <signal.h>

#define POOL_THREADS_MAX 64

struct task {
	struct task *next;
	loop_function *work;
	loop_function *done;
	void *arg;
};

struct pool {
	struct loop *loop;
	pthread_mutex_t lock;
	pthread_cond_t wake;
	struct task *first; /* protected by lock, as all below */
	struct task **last;
	unsigned waiting, running, limit;
	bool ending;
	unsigned n_threads;
	pthread_t threads[POOL_THREADS_MAX];
};

static void *thread_main(void *arg)
{
	struct pool *p = arg;
	(void)pthread_mutex_lock(&p->lock);
	for (;;) {
		while (!p->first && !p->ending)
			(void)pthread_cond_wait(&p->wake, &p->lock);
		struct task *t = p->first;
		if (!t)
			break;
		p->first = t->next;
		if (!p->first)
			p->last = &p->first;
		p->waiting--;
		p->running++;
		(void)pthread_mutex_unlock(&p->lock);
		t->work(t->arg);
		if (t->done)
			loop_post(p->loop, t->done, t->arg);
		free(t);
		(void)pthread_mutex_lock(&p->lock);
		p->running--;
	}
	(void)pthread_mutex_unlock(&p->lock);
	return NULL;
}

int pool_new(struct loop *l, const char *name, unsigned threads, unsigned queue_limit, struct pool **ret,
	     struct error *e)
{
	if (threads == 0 || threads > POOL_THREADS_MAX)
		return error_set(e, ERR_REJECT, "pool %s: %u threads, want 1 to %d", name, threads, POOL_THREADS_MAX);
	struct pool *p = calloc(1, sizeof(*p));
	if (!p)
		return error_nomem(e);
	p->loop = l;
	p->last = &p->first;
	p->limit = queue_limit;
	(void)pthread_mutex_init(&p->lock, NULL);
	(void)pthread_cond_init(&p->wake, NULL);

	/* signals are the loop's: the workers take none */
	sigset_t all, before;
	(void)sigfillset(&all);
	(void)pthread_sigmask(SIG_SETMASK, &all, &before);
	int r = 0;
	for (; p->n_threads < threads && r == 0; p->n_threads += r == 0)
		r = pthread_create(&p->threads[p->n_threads], NULL, thread_main, p);
	(void)pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (r != 0) {
		pool_free(p);
		return error_set_errno(e, ERR_FATAL, r, "pool %s: cannot start thread", name);
	}
	char short_name[16];
	(void)snprintf(short_name, sizeof(short_name), "%s", name);
	for (unsigned i = 0; i < p->n_threads; i++)
		(void)pthread_setname_np(p->threads[i], short_name);
	*ret = p;
	return 0;
}

int pool_submit(struct pool *p, loop_function *work, loop_function *done, void *arg)
{
	struct task *t = malloc(sizeof(*t));
	if (!t)
		return ERR_NOMEM;
	*t = (struct task){.work = work, .done = done, .arg = arg};
	(void)pthread_mutex_lock(&p->lock);
	bool full = p->ending || p->waiting >= p->limit;
	if (!full) {
		*p->last = t;
		p->last = &t->next;
		p->waiting++;
		(void)pthread_cond_signal(&p->wake);
	}
	(void)pthread_mutex_unlock(&p->lock);
	if (full)
		free(t);
	return full ? ERR_FULL : 0;
}

void pool_load(struct pool *p, unsigned *ret_waiting, unsigned *ret_running)
{
	(void)pthread_mutex_lock(&p->lock);
	*ret_waiting = p->waiting;
	*ret_running = p->running;
	(void)pthread_mutex_unlock(&p->lock);
}

void pool_free(struct pool *p)
{
	if (!p)
		return;
	(void)pthread_mutex_lock(&p->lock);
	p->ending = true;
	(void)pthread_cond_broadcast(&p->wake);
	(void)pthread_mutex_unlock(&p->lock);
	for (unsigned i = 0; i < p->n_threads; i++)
		(void)pthread_join(p->threads[i], NULL);
	(void)pthread_cond_destroy(&p->wake);
	(void)pthread_mutex_destroy(&p->lock);
	free(p);
}
