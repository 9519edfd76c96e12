#include "node/follow.h"

#include "base/clock.h"

#include <errno.h>
#include <unistd.h>

/* One read of the pool. */
#define PIECE_BYTES ((size_t)128 * 1024)
/* When the pool's queue is full. */
#define AGAIN_MS 50

/* One answer. Belongs to the loop but for what the read uses while `reading`. */
struct follower {
	struct follower *next;
	struct followers *all;
	struct http_request *request; /* NULL once over */
	struct growing_view *view;
	struct loop_timer *again;
	int fd;
	uint64_t offset;	 /* of the next byte */
	int64_t behind_since_us; /* monotonic; 0: it has all that there is */
	bool reading;
	char *piece; /* while there is one */
	size_t want;
	ssize_t got; /* bytes read, or a negative errno */
};

struct followers {
	struct followers_options o;
	struct follower *list;
};

static double count_of(void *arg)
{
	unsigned n = 0;
	for (const struct follower *w = ((struct followers *)arg)->list; w; w = w->next)
		n++;
	return n;
}

static double behind_bytes_of(void *arg)
{
	double sum = 0;
	uint64_t bytes;
	for (const struct follower *w = ((struct followers *)arg)->list; w; w = w->next)
		if (w->view && growing_look(w->view, &bytes) != GROWING_DROPPED)
			sum += (double)(bytes - w->offset);
	return sum;
}

static double behind_seconds_of(void *arg)
{
	int64_t now = clock_monotonic_us(), most = 0;
	for (const struct follower *w = ((struct followers *)arg)->list; w; w = w->next)
		if (w->behind_since_us)
			most = MAX(most, now - w->behind_since_us);
	return (double)most / 1e6;
}

int followers_new(const struct followers_options *o, struct followers **ret, struct error *e)
{
	struct followers *f = calloc(1, sizeof(*f));
	if (!f)
		return error_nomem(e);
	f->o = *o;
	metrics_gauge_function(o->metrics, "rushes_peer_followers", "Peers that follow files that are being written.",
			       count_of, f);
	metrics_gauge_function(o->metrics, "rushes_peer_followers_behind_bytes",
			       "Servable bytes that followers have not been sent, all together.", behind_bytes_of, f);
	metrics_gauge_function(o->metrics, "rushes_peer_followers_behind_seconds",
			       "For how long the slowest follower has not had all that it could.", behind_seconds_of,
			       f);
	*ret = f;
	return 0;
}

void followers_free(struct followers *f)
{
	free(f);
}

static void follower_free(struct follower *w)
{
	struct follower **at = &w->all->list;
	while (*at != w)
		at = &(*at)->next;
	*at = w->next;
	closep(&w->fd);
	loop_timer_free(w->again);
	free(w->piece);
	free(w);
}

static void read_piece(void *arg)
{
	struct follower *w = arg;
	do
		w->got = pread(w->fd, w->piece, w->want, (off_t)w->offset);
	while (w->got < 0 && errno == EINTR);
}

static void go_on(void *arg);

static void send_piece(void *arg)
{
	struct follower *w = arg;
	w->reading = false;
	if (!w->request) {
		follower_free(w);
		return;
	}
	/* a failing disk, a file that was cut */
	bool is_sent = w->got > 0 && http_response_write(w->request, w->piece, (size_t)w->got) == 0;
	free(TAKE_PTR(w->piece));
	if (!is_sent) {
		http_response_abort(w->request);
		return;
	}
	w->offset += (uint64_t)w->got;
	go_on(w);
}

/* Reads what there is and the peer takes; ends with the file. */
static void go_on(void *arg)
{
	struct follower *w = arg;
	uint64_t bytes;
	if (!w->request || w->reading)
		return;
	enum growing_state state = growing_look(w->view, &bytes);
	if (state == GROWING_DROPPED || w->offset > bytes) {
		http_response_abort(w->request);
		return;
	}
	if (w->offset == bytes) {
		w->behind_since_us = 0;
		if (state == GROWING_WHOLE)
			(void)http_response_end(w->request);
		return;
	}
	if (!w->behind_since_us)
		w->behind_since_us = clock_monotonic_us();
	w->want = (size_t)MIN(MIN(bytes - w->offset, (uint64_t)PIECE_BYTES), (uint64_t)http_response_room(w->request));
	if (w->want == 0)
		return;
	w->piece = malloc(w->want);
	w->reading = w->piece && pool_submit(w->all->o.pool, read_piece, send_piece, w) == 0;
	if (!w->reading) {
		free(TAKE_PTR(w->piece));
		loop_timer_set(w->again, AGAIN_MS);
	}
}

static void on_room(struct http_request *r _unused_, void *arg)
{
	go_on(arg);
}

static void on_end(struct http_request *r _unused_, bool complete _unused_, void *arg)
{
	struct follower *w = arg;
	w->request = NULL;
	growing_leave(TAKE_PTR(w->view));
	loop_timer_cancel(w->again);
	if (!w->reading)
		follower_free(w);
}

int follow_answer(struct followers *f, struct http_request *r, const struct uuid *copy, int *fd, uint64_t offset)
{
	static const struct http_request_callbacks callbacks = {.on_writable = on_room, .on_end = on_end};
	if (!http_request_alive(r))
		return ERR_CANCELLED;
	struct follower *w = calloc(1, sizeof(*w));
	if (!w)
		return ERR_NOMEM;
	w->all = f;
	w->fd = -1;
	w->next = f->list;
	f->list = w;
	int result = loop_timer_new(f->o.loop, go_on, w, &w->again);
	if (result == 0)
		result = growing_follow(f->o.growing, copy, go_on, w, &w->view);
	if (result < 0) {
		follower_free(w);
		return result;
	}
	w->fd = TAKE_FD(*fd);
	w->offset = offset;
	w->request = r;
	http_request_set_callbacks(r, &callbacks, w);
	/* what fails here ends the request, and the callback tells */
	(void)http_response_start(r, 200, "application/octet-stream", -1);
	return 0;
}
