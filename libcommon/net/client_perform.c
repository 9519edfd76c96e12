#include "net/client.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <time.h>

/* What waits for the worker; reading is paused a transfer buffer below it. */
#define QUEUE_BYTES_MAX	  (1024 * 1024)
#define QUEUE_PAUSE_BYTES (QUEUE_BYTES_MAX - 128 * 1024)
/* What the worker has prepared of an upload. */
#define UPLOAD_BYTES (256 * 1024)
/* How often a waiting worker looks at the cancellation flag. */
#define CANCEL_LOOK_NS (200 * 1000 * 1000L)

struct piece {
	struct piece *next;
	size_t size;
	char data[];
};

/* One call, shared by the worker and the loop; freed by whoever lets go last. */
struct perform {
	struct loop *loop;
	struct http_client *client;
	const struct http_client_request *rq; /* valid until `done` */
	struct http_exchange *exchange;	      /* the loop's alone; NULL before and after */
	pthread_mutex_t lock;
	pthread_cond_t wake;
	unsigned refs; /* protected by lock, as all below */
	struct piece *first, **last;
	size_t queued;
	bool paused;	     /* reading waits for the worker */
	bool cancel;	     /* asked for by the worker */
	char *upload;	     /* UPLOAD_BYTES */
	size_t upload_n;     /* bytes of it that are ready */
	bool upload_ended;   /* the source has no more */
	bool upload_waiting; /* sending waits for the worker */
	bool done;
	int result;
	struct error error;
	struct http_client_answer answer;
};

static void unlock_and_unref(struct perform *p)
{
	bool last = --p->refs == 0;
	(void)pthread_mutex_unlock(&p->lock);
	if (!last)
		return;
	for (struct piece *x = p->first, *next; x; x = next) {
		next = x->next;
		free(x);
	}
	http_client_answer_done(&p->answer);
	(void)pthread_cond_destroy(&p->wake);
	(void)pthread_mutex_destroy(&p->lock);
	free(p->upload);
	free(p);
}

/* Called locked. Runs fn on the loop with a reference of its own. */
static void post(struct perform *p, loop_function *fn)
{
	p->refs++;
	loop_post(p->loop, fn, p);
}

static int queue_piece(struct http_exchange *x, const void *data, size_t n, void *arg)
{
	struct perform *p = arg;
	struct piece *piece = malloc(sizeof(*piece) + n);
	if (!piece)
		return ERR_NOMEM;
	piece->next = NULL;
	piece->size = n;
	memcpy(piece->data, data, n);
	(void)pthread_mutex_lock(&p->lock);
	*p->last = piece;
	p->last = &piece->next;
	p->queued += n;
	bool pause = p->queued > QUEUE_PAUSE_BYTES;
	p->paused = pause;
	(void)pthread_cond_signal(&p->wake);
	(void)pthread_mutex_unlock(&p->lock);
	if (pause)
		http_exchange_pause(x);
	return 0;
}

/* Pieces of a good answer go to the sink; an error's body is kept to explain it. */
static int on_body(struct http_exchange *x, const void *data, size_t n, void *arg)
{
	struct perform *p = arg;
	if (http_client_status_class(p->answer.status) == 0)
		return queue_piece(x, data, n, arg);
	size_t room = p->answer.body.limit - p->answer.body.size;
	return buffer_append(&p->answer.body, data, MIN(n, room));
}

static int on_head(struct http_exchange *x _unused_, const struct http_client_answer *a, void *arg)
{
	struct perform *p = arg;
	p->answer.status = a->status;
	return 0;
}

static ssize_t on_source(struct http_exchange *x, void *buffer, size_t n, void *arg)
{
	struct perform *p = arg;
	(void)pthread_mutex_lock(&p->lock);
	size_t take = MIN(n, p->upload_n);
	memcpy(buffer, p->upload, take);
	memmove(p->upload, p->upload + take, p->upload_n - take);
	p->upload_n -= take;
	bool wait = take == 0 && !p->upload_ended;
	p->upload_waiting = wait;
	(void)pthread_cond_signal(&p->wake);
	(void)pthread_mutex_unlock(&p->lock);
	if (wait)
		http_exchange_pause(x);
	return (ssize_t)take;
}

static void on_end(struct http_exchange *x _unused_, int result, struct http_client_answer *a, const struct error *e,
		   void *arg)
{
	struct perform *p = arg;
	(void)pthread_mutex_lock(&p->lock);
	p->exchange = NULL;
	p->answer.status = a->status;
	p->answer.body_bytes = a->body_bytes;
	p->answer.head = a->head;
	buffer_init(&a->head, 0);
	if (a->body.size > 0) {
		buffer_done(&p->answer.body);
		p->answer.body = a->body;
		buffer_init(&a->body, 0);
	}
	p->result = result;
	p->error = *e;
	p->done = true;
	(void)pthread_cond_signal(&p->wake);
	unlock_and_unref(p);
}

static void run_start(void *arg)
{
	struct perform *p = arg;
	const struct http_exchange_callbacks cb = {
	    .on_head = on_head,
	    .on_body = p->rq->sink ? on_body : NULL,
	    .on_source = p->rq->source ? on_source : NULL,
	    .on_end = on_end,
	};
	struct error e = {0};
	(void)pthread_mutex_lock(&p->lock);
	p->refs++; /* the exchange's, until on_end */
	(void)pthread_mutex_unlock(&p->lock);
	int r = http_client_start(p->client, p->rq, &cb, p, &p->exchange, &e);
	(void)pthread_mutex_lock(&p->lock);
	if (r < 0) {
		p->refs--;
		p->result = r;
		p->error = e;
		p->done = true;
		(void)pthread_cond_signal(&p->wake);
	} else if (p->cancel) {
		http_exchange_cancel(p->exchange);
	}
	unlock_and_unref(p);
}

static void run_resume(void *arg)
{
	struct perform *p = arg;
	if (p->exchange)
		http_exchange_resume(p->exchange);
	(void)pthread_mutex_lock(&p->lock);
	unlock_and_unref(p);
}

static void run_cancel(void *arg)
{
	struct perform *p = arg;
	if (p->exchange)
		http_exchange_cancel(p->exchange);
	(void)pthread_mutex_lock(&p->lock);
	unlock_and_unref(p);
}

/* What the worker ended the exchange with itself. */
struct verdict {
	int result;
	struct error error;
};

/* Called locked. */
static void cancel(struct perform *p, struct verdict *v, int result)
{
	if (v->result == 0)
		v->result = result;
	if (!p->cancel)
		post(p, run_cancel);
	p->cancel = true;
}

/* Called locked; unlocks while the sink runs. */
static void drain_piece(struct perform *p, struct verdict *v)
{
	struct piece *piece = p->first;
	p->first = piece->next;
	if (!p->first)
		p->last = &p->first;
	int r = 0;
	if (v->result == 0) {
		(void)pthread_mutex_unlock(&p->lock);
		r = p->rq->sink(p->rq->arg, piece->data, piece->size, &v->error);
		(void)pthread_mutex_lock(&p->lock);
	}
	p->queued -= piece->size;
	free(piece);
	if (r < 0) {
		cancel(p, v, r);
	} else if (p->paused && p->queued < QUEUE_BYTES_MAX / 2) {
		p->paused = false;
		post(p, run_resume);
	}
}

/* Called locked; unlocks while the source runs. The loop only takes from the front, so the room does not shrink, but
 * what lies there moves: the source fills a buffer of its own first. */
static void fill_upload(struct perform *p, struct verdict *v, char *buffer)
{
	size_t room = UPLOAD_BYTES - p->upload_n;
	(void)pthread_mutex_unlock(&p->lock);
	ssize_t n = p->rq->source(p->rq->arg, buffer, room, &v->error);
	(void)pthread_mutex_lock(&p->lock);
	if (n < 0) {
		cancel(p, v, (int)n);
		p->upload_ended = true;
		return;
	}
	memcpy(p->upload + p->upload_n, buffer, (size_t)n);
	p->upload_n += (size_t)n;
	p->upload_ended = n == 0;
	if (p->upload_waiting) {
		p->upload_waiting = false;
		post(p, run_resume);
	}
}

static void wait_a_little(struct perform *p)
{
	struct timespec until;
	(void)clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_nsec += CANCEL_LOOK_NS;
	until.tv_sec += until.tv_nsec / 1000000000;
	until.tv_nsec %= 1000000000;
	(void)pthread_cond_timedwait(&p->wake, &p->lock, &until);
}

/* Called locked; unlocks while the caller is asked. */
static bool is_unwanted(struct perform *p)
{
	const struct http_client_request *rq = p->rq;
	if (rq->cancelled && atomic_load(rq->cancelled))
		return true;
	if (!rq->is_over)
		return false;
	(void)pthread_mutex_unlock(&p->lock);
	bool is_over = rq->is_over(rq->arg);
	(void)pthread_mutex_lock(&p->lock);
	return is_over;
}

/* The worker's part, called locked: sink and source run here until the exchange is over and everything is handed on. */
static void work(struct perform *p, struct verdict *v, char *buffer)
{
	const struct http_client_request *rq = p->rq;
	while (!p->done || p->first) {
		if (v->result == 0 && is_unwanted(p)) {
			(void)error_set(&v->error, ERR_CANCELLED, "no longer wanted");
			cancel(p, v, ERR_CANCELLED);
		}
		if (p->first)
			drain_piece(p, v);
		else if (rq->source && !p->done && !p->upload_ended && v->result == 0 && p->upload_n < UPLOAD_BYTES / 2)
			fill_upload(p, v, buffer);
		else if (!p->done)
			wait_a_little(p);
	}
}

static int perform_new(struct http_client *c, struct loop *l, const struct http_client_request *rq,
		       struct perform **ret)
{
	struct perform *p = calloc(1, sizeof(*p));
	char *upload = rq->source ? malloc(UPLOAD_BYTES) : NULL;
	if (!p || (rq->source && !upload)) {
		free(p);
		free(upload);
		return ERR_NOMEM;
	}
	p->upload = upload;
	p->loop = l;
	p->client = c;
	p->rq = rq;
	p->refs = 1;
	p->last = &p->first;
	buffer_init(&p->answer.body, HTTP_CLIENT_ERROR_BODY_BYTES);
	pthread_condattr_t monotonic;
	(void)pthread_condattr_init(&monotonic);
	(void)pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
	(void)pthread_cond_init(&p->wake, &monotonic);
	(void)pthread_condattr_destroy(&monotonic);
	(void)pthread_mutex_init(&p->lock, NULL);
	*ret = p;
	return 0;
}

int http_client_perform(struct http_client *c, const struct http_client_request *rq, struct http_client_answer *ret,
			struct error *e)
{
	struct perform *p = NULL;
	_cleanup_(freep) char *buffer = rq->source ? malloc(UPLOAD_BYTES) : NULL;
	if ((rq->source && !buffer) || perform_new(c, http_client_loop(c), rq, &p) < 0)
		return error_nomem(e);
	struct verdict v = {0};
	(void)pthread_mutex_lock(&p->lock);
	post(p, run_start);
	work(p, &v, buffer);
	*ret = p->answer;
	p->answer = (struct http_client_answer){0};
	int result = p->result;
	if (e)
		*e = p->error;
	unlock_and_unref(p);
	/* what source or sink said explains more than that the exchange was cancelled */
	if (v.result == 0)
		return result;
	if (e && v.error.code != 0)
		*e = v.error;
	else
		(void)error_set(e, v.result, "ended by the caller's source or sink");
	return v.result;
}
