#include "base/loop.h"

#include <errno.h>
#include <pthread.h>
#include <sys/eventfd.h>

struct call {
	struct call *next;
	loop_function *fn;
	void *arg;
};

struct call_queue {
	struct call *first;
	struct call **last;
};

struct loop {
	struct event_base *base;
	struct event *wake;
	int wake_fd;
	pthread_mutex_t lock;
	struct call_queue posted;   /* protected by lock */
	bool stopping;		    /* protected by lock */
	struct call_queue deferred; /* the loop's thread only */
};

struct loop_timer {
	struct event *ev;
	loop_function *fn;
	void *arg;
};

static void queue_init(struct call_queue *q)
{
	q->first = NULL;
	q->last = &q->first;
}

static void queue_add(struct call_queue *q, loop_function *fn, void *arg)
{
	struct call *c = malloc(sizeof(*c));
	if (!c)
		abort();
	*c = (struct call){.fn = fn, .arg = arg};
	*q->last = c;
	q->last = &c->next;
}

static struct call *queue_take_all(struct call_queue *q)
{
	struct call *first = q->first;
	queue_init(q);
	return first;
}

static bool run_calls(struct call *c)
{
	bool any = c;
	while (c) {
		struct call *next = c->next;
		c->fn(c->arg);
		free(c);
		c = next;
	}
	return any;
}

static bool run_posted(struct loop *l)
{
	(void)pthread_mutex_lock(&l->lock);
	struct call *calls = queue_take_all(&l->posted);
	(void)pthread_mutex_unlock(&l->lock);
	return run_calls(calls);
}

static void on_wake(evutil_socket_t fd, short what _unused_, void *arg)
{
	uint64_t count = 0;
	if (read(fd, &count, sizeof(count)) < 0 && errno != EAGAIN)
		return;
	(void)run_posted(arg);
}

static void wake(struct loop *l)
{
	uint64_t one = 1;
	/* EAGAIN means that a wake-up is already waiting */
	while (write(l->wake_fd, &one, sizeof(one)) < 0 && errno == EINTR)
		;
}

int loop_new(struct loop **ret, struct error *e)
{
	struct loop *l = calloc(1, sizeof(*l));
	if (!l)
		return error_nomem(e);
	queue_init(&l->posted);
	queue_init(&l->deferred);
	(void)pthread_mutex_init(&l->lock, NULL);
	l->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	l->base = l->wake_fd >= 0 ? event_base_new() : NULL;
	l->wake = l->base ? event_new(l->base, l->wake_fd, EV_READ | EV_PERSIST, on_wake, l) : NULL;
	if (!l->wake || event_add(l->wake, NULL) < 0) {
		loop_free(l);
		return error_set(e, ERR_FATAL, "cannot make an event loop");
	}
	*ret = l;
	return 0;
}

void loop_free(struct loop *l)
{
	if (!l)
		return;
	while (run_posted(l) || run_calls(queue_take_all(&l->deferred)))
		;
	if (l->wake)
		event_free(l->wake);
	if (l->base)
		event_base_free(l->base);
	if (l->wake_fd >= 0)
		(void)close(l->wake_fd);
	(void)pthread_mutex_destroy(&l->lock);
	free(l);
}

struct event_base *loop_base(struct loop *l)
{
	return l->base;
}

static bool is_stopping(struct loop *l)
{
	(void)pthread_mutex_lock(&l->lock);
	bool stopping = l->stopping;
	l->stopping = false;
	(void)pthread_mutex_unlock(&l->lock);
	return stopping;
}

void loop_run(struct loop *l)
{
	while (!is_stopping(l)) {
		if (event_base_loop(l->base, EVLOOP_ONCE) < 0)
			abort();
		(void)run_calls(queue_take_all(&l->deferred));
	}
}

void loop_stop(struct loop *l)
{
	(void)pthread_mutex_lock(&l->lock);
	l->stopping = true;
	(void)pthread_mutex_unlock(&l->lock);
	wake(l);
}

void loop_post(struct loop *l, loop_function *fn, void *arg)
{
	(void)pthread_mutex_lock(&l->lock);
	queue_add(&l->posted, fn, arg);
	(void)pthread_mutex_unlock(&l->lock);
	wake(l);
}

void loop_defer(struct loop *l, loop_function *fn, void *arg)
{
	queue_add(&l->deferred, fn, arg);
}

static void on_timer(evutil_socket_t fd _unused_, short what _unused_, void *arg)
{
	struct loop_timer *t = arg;
	t->fn(t->arg);
}

int loop_timer_new(struct loop *l, loop_function *fn, void *arg, struct loop_timer **ret)
{
	struct loop_timer *t = calloc(1, sizeof(*t));
	if (!t)
		return ERR_NOMEM;
	t->fn = fn;
	t->arg = arg;
	t->ev = evtimer_new(l->base, on_timer, t);
	if (!t->ev) {
		free(t);
		return ERR_NOMEM;
	}
	*ret = t;
	return 0;
}

void loop_timer_set(struct loop_timer *t, int64_t delay_ms)
{
	struct timeval tv = {.tv_sec = delay_ms / 1000, .tv_usec = (delay_ms % 1000) * 1000};
	(void)evtimer_add(t->ev, &tv);
}

void loop_timer_cancel(struct loop_timer *t)
{
	(void)evtimer_del(t->ev);
}

void loop_timer_free(struct loop_timer *t)
{
	if (!t)
		return;
	event_free(t->ev);
	free(t);
}
