#include "node/serve.h"

#include "node/follow.h"

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

/* "<service>/<name>" of the peer's certificate. */
#define PEER_BYTES (2 * TLS_IDENTITY_PART_BYTES + 2)

/* Longest attempt number as text. */
#define ATTEMPT_DIGITS_MAX 9
/* Longest offset as text: above the largest file. */
#define OFFSET_DIGITS_MAX 18

#define FENCE_BYTES_MAX 1024

struct serve {
	struct http_server *server;
	struct pool *pool;
	struct db_pool *db;
	struct spool *spool;
	struct metric *served;
	struct followers *followers; /* NULL: nothing may be followed */
	http_handler *fence;
	void *fence_arg;
};

/* One request on its way through the pool. */
struct lookup {
	struct serve *serve;
	struct http_request *request;
	struct uuid copy;
	char copy_text[UUID_TEXT_BYTES];
	char job[UUID_TEXT_BYTES];
	char attempt[ATTEMPT_DIGITS_MAX + 1];
	char peer[PEER_BYTES];
	bool follows;
	uint64_t from;	 /* of a follower */
	bool is_growing; /* its row is still open */
	int fd;
	uint64_t size;
	int result;
	struct error error;
};

static int check_right(struct lookup *l)
{
	static const struct db_statement st = {
	    "serve_check",
	    "SELECT bytes IS NULL FROM rushes.serve_check($1::uuid, $2::uuid, $3, $4::uuid, $5::integer)", 5};
	const char *params[] = {spool_node_text(l->serve->spool), l->copy_text, l->peer, l->job, l->attempt};
	_cleanup_(db_result_freep) struct db_result *rows = NULL;
	int r = db_run(l->serve->db, &st, params, &rows, &l->error);
	if (r == 0 && db_rows(rows) != 1)
		r = error_set(&l->error, ERR_DENIED, "no right to copy %s", l->copy_text);
	if (r == 0)
		l->is_growing = db_bool(rows, 0, 0);
	return r;
}

/* On the pool. */
static void look_up(void *arg)
{
	struct lookup *l = arg;
	l->result = check_right(l);
	if (l->result == 0)
		l->result = spool_open_copy(l->serve->spool, &l->copy, O_RDONLY, &l->fd, &l->error);
	struct stat st;
	if (l->result == 0 && fstat(l->fd, &st) < 0)
		l->result = error_set(&l->error, ERR_RETRY, "cannot ask for the size of copy %s", l->copy_text);
	if (l->result == 0)
		l->size = (uint64_t)st.st_size;
}

static void answer_file(struct lookup *l)
{
	uint64_t offset = 0, length = 0;
	int status = http_request_range(l->request, l->size, &offset, &length);
	char value[80];
	(void)http_response_header(l->request, "Accept-Ranges", "bytes");
	if (status == 416) {
		(void)snprintf(value, sizeof(value), "bytes */%llu", (unsigned long long)l->size);
		(void)http_response_header(l->request, "Content-Range", value);
		(void)http_respond_problem(l->request, 416, "range", "the file has %llu bytes",
					   (unsigned long long)l->size);
		return;
	}
	if (status == 206) {
		(void)snprintf(value, sizeof(value), "bytes %llu-%llu/%llu", (unsigned long long)offset,
			       (unsigned long long)(offset + length - 1), (unsigned long long)l->size);
		(void)http_response_header(l->request, "Content-Range", value);
	}
	(void)http_respond_file(l->request, l->serve->pool, TAKE_FD(l->fd), status, "application/octet-stream", offset,
				length);
}

/* To a follower: the file as it grows, or what is left of one that is whole. */
static void answer_follower(struct lookup *l)
{
	struct serve *s = l->serve;
	int r = ERR_NOTFOUND;
	if (s->followers && l->is_growing)
		r = follow_answer(s->followers, l->request, &l->copy, &l->fd, l->from);
	if (r == ERR_NOTFOUND && !l->is_growing && l->from <= l->size)
		(void)http_respond_file(l->request, s->pool, TAKE_FD(l->fd), 200, "application/octet-stream", l->from,
					l->size - l->from);
	else if (r == ERR_NOTFOUND && !l->is_growing)
		(void)http_respond_problem(l->request, 416, "range", "the file has %llu bytes",
					   (unsigned long long)l->size);
	else if (r < 0)
		(void)http_respond_problem(l->request, 503, "busy", "the file is neither whole nor being written now");
}

/* Back on the loop. */
static void answer(void *arg)
{
	struct lookup *l = arg;
	const char *outcome = l->result == 0 ? "served" : error_code_to_string(l->result);
	metric_count(l->serve->served, l->result == 0 && l->follows ? "followed" : outcome);
	if (l->result == 0 && l->follows)
		answer_follower(l);
	else if (l->result == 0)
		answer_file(l);
	else if (l->result == ERR_CANCELLED)
		(void)http_respond_problem(l->request, 410, "gone", "%s", l->error.text);
	else
		(void)http_respond_error(l->request, &l->error);
	closep(&l->fd);
	http_request_unref(l->request);
	free(l);
}

/* Rushes-Follow: the offset of the first byte that is wanted. */
static bool read_follow(struct http_request *r, struct lookup *l)
{
	const char *text = http_request_header(r, "Rushes-Follow");
	if (!text)
		return true;
	size_t n = strspn(text, "0123456789");
	l->follows = true;
	l->from = strtoull(text, NULL, 10);
	return n > 0 && n <= OFFSET_DIGITS_MAX && text[n] == '\0';
}

static bool read_headers(struct http_request *r, struct lookup *l)
{
	struct uuid job;
	const char *copy = http_request_parameter(r, "copy");
	const char *job_text = http_request_header(r, "Rushes-Job");
	const char *attempt = http_request_header(r, "Rushes-Attempt");
	if (!copy || !uuid_parse(copy, &l->copy) || !job_text || !uuid_parse(job_text, &job) || !attempt)
		return false;
	size_t n = strspn(attempt, "0123456789");
	if (n == 0 || n > ATTEMPT_DIGITS_MAX || attempt[n] != '\0')
		return false;
	uuid_format(&l->copy, l->copy_text);
	uuid_format(&job, l->job);
	(void)snprintf(l->attempt, sizeof(l->attempt), "%s", attempt);
	return read_follow(r, l);
}

static bool is_peer(const struct serve *s, struct http_request *r)
{
	const struct tls_identity *peer = http_request_peer(r);
	if (peer && strcmp(peer->region, spool_region(s->spool)) == 0)
		return true;
	(void)http_respond_problem(r, 403, "peer", "the certificate names no peer of this region");
	return false;
}

static void on_fence(struct http_request *r, void *arg)
{
	struct serve *s = arg;
	if (!is_peer(s, r))
		return;
	if (s->fence)
		s->fence(r, s->fence_arg);
	else
		(void)http_respond_problem(r, 404, "not-found", "this spool receives no recordings");
}

static void on_request(struct http_request *r, void *arg)
{
	struct serve *s = arg;
	if (!is_peer(s, r))
		return;
	const struct tls_identity *peer = http_request_peer(r);
	struct lookup *l = calloc(1, sizeof(*l));
	if (!l) {
		(void)http_respond_problem(r, 503, "busy", "out of memory");
		return;
	}
	*l = (struct lookup){.serve = s, .fd = -1};
	(void)snprintf(l->peer, sizeof(l->peer), "%s/%s", peer->service, peer->name);
	if (!read_headers(r, l)) {
		(void)http_respond_problem(
		    r, 400, "request", "want a copy's UUID in the path, and Rushes-Job and Rushes-Attempt as headers");
		free(l);
		return;
	}
	l->request = http_request_ref(r);
	if (pool_submit(s->pool, look_up, answer, l) < 0) {
		(void)http_response_header(r, "Retry-After", "1");
		(void)http_respond_problem(r, 503, "busy", "too many requests wait");
		http_request_unref(r);
		free(l);
	}
}

int serve_new(const struct serve_options *o, struct serve **ret, struct error *e)
{
	static const struct http_route routes[] = {
	    {.method = "GET", .pattern = "/spool/v1/copies/:copy", .handler = on_request, .body = HTTP_BODY_NONE},
	    {.method = "POST",
	     .pattern = "/spool/v1/fence",
	     .handler = on_fence,
	     .body = HTTP_BODY_BUFFERED,
	     .body_bytes_max = FENCE_BYTES_MAX},
	    {0},
	};
	static const char *const labels[] = {"outcome", NULL};
	_cleanup_(serve_freep) struct serve *s = calloc(1, sizeof(*s));
	if (!s)
		return error_nomem(e);
	s->pool = o->pool;
	s->db = o->db;
	s->spool = o->spool;
	s->fence = o->fence;
	s->fence_arg = o->fence_arg;
	s->served =
	    metrics_counter(o->metrics, "rushes_peer_requests_total", "Requests of peers for sealed copies.", labels);
	struct http_server_options options = {
	    .address = o->listen, .tls = o->tls, .routes = routes, .arg = s, .metrics = o->metrics, .name = "peer"};
	const struct followers_options followers = {.loop = o->loop,
						    .pool = o->pool,
						    .growing = o->growing,
						    .metrics = o->metrics};
	int r = o->growing ? followers_new(&followers, &s->followers, e) : 0;
	if (r == 0)
		r = http_server_new(o->loop, &options, &s->server, e);
	if (r < 0)
		return error_wrap(e, "cannot serve peers");
	*ret = TAKE_PTR(s);
	return 0;
}

void serve_drain(struct serve *s, loop_function *done, void *arg)
{
	http_server_drain(s->server, done, arg);
}

void serve_free(struct serve *s)
{
	if (!s)
		return;
	http_server_free(s->server);
	followers_free(s->followers);
	free(s);
}

json_t *serve_debug(void *serve)
{
	struct serve *s = serve;
	return http_server_state(s->server);
}
