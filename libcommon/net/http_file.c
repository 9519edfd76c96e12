#include "net/http_internal.h"

#include <errno.h>
#include <string.h>

/* One read of the pool. */
#define PIECE_BYTES (128 * 1024)
/* When the pool's queue is full. */
#define AGAIN_MS 50

/* A file on its way to a client. Belongs to the loop but for what the read uses while `reading`. */
struct file_answer {
	struct http_request *request; /* NULL once over */
	struct pool *pool;
	struct loop_timer *again;
	int fd;
	uint64_t offset, left;
	bool reading;
	size_t want;
	ssize_t got; /* bytes read, or a negative errno */
	char piece[PIECE_BYTES];
};

static void file_answer_free(struct file_answer *f)
{
	if (f->fd >= 0)
		(void)close(f->fd);
	loop_timer_free(f->again);
	free(f);
}

static void read_piece(void *arg)
{
	struct file_answer *f = arg;
	do
		f->got = pread(f->fd, f->piece, f->want, (off_t)f->offset);
	while (f->got < 0 && errno == EINTR);
}

static void send_piece(void *arg)
{
	struct file_answer *f = arg;
	f->reading = false;
	if (!f->request) {
		file_answer_free(f);
		return;
	}
	/* a short file, a failing disk: what was promised cannot be kept */
	if (f->got <= 0 || http_response_write(f->request, f->piece, (size_t)f->got) < 0) {
		http_response_abort(f->request);
		return;
	}
	f->offset += (uint64_t)f->got;
	f->left -= (uint64_t)f->got;
	if (f->left == 0)
		(void)http_response_end(f->request);
}

static void go_on(void *arg)
{
	struct file_answer *f = arg;
	size_t room = f->request ? http_response_room(f->request) : 0;
	if (f->reading || f->left == 0 || room == 0)
		return;
	f->want = (size_t)MIN(MIN(f->left, (uint64_t)PIECE_BYTES), (uint64_t)room);
	f->reading = true;
	if (pool_submit(f->pool, read_piece, send_piece, f) < 0) {
		f->reading = false;
		loop_timer_set(f->again, AGAIN_MS);
	}
}

static void on_room(struct http_request *r _unused_, void *arg)
{
	go_on(arg);
}

static void on_end(struct http_request *r _unused_, bool complete _unused_, void *arg)
{
	struct file_answer *f = arg;
	f->request = NULL;
	if (!f->reading)
		file_answer_free(f);
}

int http_respond_file(struct http_request *r, struct pool *p, int fd, int status, const char *content_type,
		      uint64_t offset, uint64_t length)
{
	static const struct http_request_callbacks callbacks = {.on_writable = on_room, .on_end = on_end};
	if (r->over || r->response != RESPONSE_NONE) {
		(void)close(fd);
		return r->over ? ERR_CANCELLED : ERR_CONFLICT;
	}
	struct file_answer *f = calloc(1, sizeof(*f));
	if (f)
		f->fd = fd;
	if (!f || loop_timer_new(r->connection->server->loop, go_on, f, &f->again) < 0) {
		free(f);
		(void)close(fd);
		http_response_abort(r);
		return ERR_NOMEM;
	}
	f->pool = p;
	f->request = r;
	f->offset = offset;
	f->left = length;
	http_request_set_callbacks(r, &callbacks, f);
	int result = http_response_start(r, status, content_type, (int64_t)length);
	if (result == 0 && length == 0)
		(void)http_response_end(r);
	return result;
}
