/* with: tests/unit/net_fixture.c */
#include "net_fixture.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>

#include <cmocka.h>

#define UPLOAD_LIMIT 100000
/* 1001 bytes, one more than /echo takes */
#define TEN	  "0123456789"
#define HUNDRED	  TEN TEN TEN TEN TEN TEN TEN TEN TEN TEN
#define LONG_BODY HUNDRED HUNDRED HUNDRED HUNDRED HUNDRED HUNDRED HUNDRED HUNDRED HUNDRED HUNDRED "x"
#define BIG_BYTES ((size_t)8 * 1024 * 1024)

/* What the handlers saw; the fields are read after the server has answered or stopped. */
struct seen {
	_Atomic unsigned requests, ended, aborted;
	_Atomic size_t body_bytes;
	_Atomic size_t queued_most; /* bytes produced and not yet taken */
	struct http_request *kept;  /* of the loop's thread */
	struct pool *pool;
	char file[64];
};

static struct seen seen;

static void on_end(struct http_request *r _unused_, bool complete, void *arg _unused_)
{
	atomic_fetch_add(complete ? &seen.ended : &seen.aborted, 1);
}

static void get_hello(struct http_request *r, void *arg _unused_)
{
	char text[256];
	const char *q = http_request_query(r, "q");
	int n = snprintf(text, sizeof(text), "%s %s %s", http_request_method(r), http_request_path(r), q ? q : "-");
	atomic_fetch_add(&seen.requests, 1);
	(void)http_respond(r, 200, "text/plain", text, (size_t)n);
}

static void get_thing(struct http_request *r, void *arg _unused_)
{
	(void)http_respond_problem(r, 404, "unknown_thing", "no thing %s", http_request_parameter(r, "id"));
}

static void post_echo(struct http_request *r, void *arg _unused_)
{
	size_t n;
	const char *body = http_request_body(r, &n);
	atomic_fetch_add(&seen.requests, 1);
	(void)http_respond(r, 200, "text/plain", body, n);
}

static void upload_piece(struct http_request *r _unused_, const void *data _unused_, size_t n, void *arg _unused_)
{
	atomic_fetch_add(&seen.body_bytes, n);
}

static void upload_done(struct http_request *r, void *arg _unused_)
{
	(void)http_respond(r, 201, NULL, NULL, 0);
}

static void post_upload(struct http_request *r, void *arg _unused_)
{
	static const struct http_request_callbacks cb = {.on_body = upload_piece,
							 .on_body_end = upload_done,
							 .on_end = on_end};
	http_request_set_callbacks(r, &cb, NULL);
}

static void refuse_upload(struct http_request *r, void *arg _unused_)
{
	(void)http_respond_problem(r, 403, "denied", "not here");
}

/* As one does who looks into a database first and needs no body then. */
static void answer_while_paused(struct http_request *r, void *arg _unused_)
{
	http_request_pause(r);
	(void)http_respond(r, 201, NULL, NULL, 0);
}

static void pause_piece(struct http_request *r, const void *data _unused_, size_t n, void *arg _unused_)
{
	atomic_fetch_add(&seen.body_bytes, n);
	http_request_pause(r);
}

static void post_paused(struct http_request *r, void *arg _unused_)
{
	static const struct http_request_callbacks cb = {.on_body = pause_piece,
							 .on_body_end = upload_done,
							 .on_end = on_end};
	seen.kept = http_request_ref(r);
	http_request_set_callbacks(r, &cb, NULL);
}

static void keep(struct http_request *r, void *arg _unused_)
{
	static const struct http_request_callbacks cb = {.on_end = on_end};
	http_request_set_callbacks(r, &cb, NULL);
	seen.kept = http_request_ref(r);
	atomic_fetch_add(&seen.requests, 1);
}

static void forget(struct http_request *r _unused_, void *arg _unused_)
{
}

struct big {
	size_t made;
};

static void make_more(struct http_request *r, void *arg)
{
	static char piece[16384];
	struct big *b = arg;
	while (b->made < BIG_BYTES && http_response_room(r) >= sizeof(piece)) {
		memset(piece, (int)(b->made / sizeof(piece)), sizeof(piece));
		assert_int_equal(http_response_write(r, piece, sizeof(piece)), 0);
		b->made += sizeof(piece);
		atomic_fetch_add(&seen.body_bytes, sizeof(piece));
	}
	if (b->made == BIG_BYTES)
		(void)http_response_end(r);
}

static void big_over(struct http_request *r, bool complete, void *arg)
{
	on_end(r, complete, NULL);
	free(arg);
}

static void get_big(struct http_request *r, void *arg _unused_)
{
	static const struct http_request_callbacks cb = {.on_writable = make_more, .on_end = big_over};
	http_request_set_callbacks(r, &cb, calloc(1, sizeof(struct big)));
	(void)http_response_start(r, 200, "application/octet-stream",
				  http_request_query(r, "chunked") ? -1 : (int64_t)BIG_BYTES);
}

static void get_file(struct http_request *r, void *arg _unused_)
{
	uint64_t offset, length;
	int status = http_request_range(r, 1000000, &offset, &length);
	if (status == 416)
		(void)http_respond_problem(r, status, "range", "there are 1000000 bytes");
	else
		(void)http_respond_file(r, seen.pool, open(seen.file, O_RDONLY | O_CLOEXEC), status, "video/mp4",
					offset, length);
}

static const struct http_route routes[] = {
    {"GET", "/hello", get_hello, HTTP_BODY_NONE, 0},
    {"GET", "/things/:id", get_thing, HTTP_BODY_NONE, 0},
    {"DELETE", "/things/:id", get_thing, HTTP_BODY_NONE, 0},
    {"GET", "/files/*rest", get_hello, HTTP_BODY_NONE, 0},
    {"POST", "/echo", post_echo, HTTP_BODY_BUFFERED, 1000},
    {"POST", "/upload", post_upload, HTTP_BODY_STREAM, UPLOAD_LIMIT},
    {"POST", "/refuse", refuse_upload, HTTP_BODY_STREAM, 0},
    {"POST", "/paused", post_paused, HTTP_BODY_STREAM, 0},
    {"POST", "/answered-paused", answer_while_paused, HTTP_BODY_STREAM, 0},
    {"GET", "/keep", keep, HTTP_BODY_NONE, 0},
    {"GET", "/forget", forget, HTTP_BODY_NONE, 0},
    {"GET", "/big", get_big, HTTP_BODY_NONE, 0},
    {"GET", "/file", get_file, HTTP_BODY_NONE, 0},
    {0},
};

static struct fixture_server *start(const struct http_limits *limits, struct tls_context *tls)
{
	memset(&seen, 0, sizeof(seen));
	struct http_server_options o = {.routes = routes, .tls = tls};
	if (limits)
		o.limits = *limits;
	struct fixture_server *s = fixture_start(o);
	seen.pool = s->pool;
	return s;
}

static void drop_kept(void *arg _unused_)
{
	http_request_unref(TAKE_PTR(seen.kept));
}

static void sleep_ms(int ms)
{
	struct timespec t = {.tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000};
	(void)nanosleep(&t, NULL);
}

/* Waits up to 5 s for a counter of the handlers to reach a value. */
static bool reaches(_Atomic unsigned *counter, unsigned value)
{
	for (int i = 0; i < 1000 && atomic_load(counter) < value; i++)
		sleep_ms(5);
	return atomic_load(counter) >= value;
}

static void test_answers(void **state _unused_)
{
	static const struct {
		const char *request;
		int status;
		const char *body; /* a part of it */
		bool stays;	  /* the connection */
	} cases[] = {
	    {"GET /hello?q=a%20b HTTP/1.1\r\nHost: x\r\n\r\n", 200, "GET /hello a b", true},
	    {"GET /hello?q=%zz HTTP/1.1\r\nHost: x\r\n\r\n", 200, "GET /hello -", true},
	    {"GET /hello HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", 200, "GET", false},
	    {"GET /hello HTTP/1.0\r\n\r\n", 200, "GET", false},
	    {"\r\nGET /hello HTTP/1.1\r\nHost: x\r\n\r\n", 200, "GET", true},
	    {"GET http://x/hello HTTP/1.1\r\nHost: x\r\n\r\n", 200, "GET /hello", true},
	    {"GET /things/a%2Fb HTTP/1.1\r\nHost: x\r\n\r\n", 404,
	     "\"code\":\"unknown_thing\",\"detail\":\"no thing a/b\"", true},
	    {"GET /things/ HTTP/1.1\r\nHost: x\r\n\r\n", 404, "not-found", true},
	    {"GET /things/%00 HTTP/1.1\r\nHost: x\r\n\r\n", 400, "bad-request", true},
	    {"GET /files/a/b HTTP/1.1\r\nHost: x\r\n\r\n", 200, "GET /files/a/b", true},
	    {"GET /files/a/../b HTTP/1.1\r\nHost: x\r\n\r\n", 400, "bad-request", true},
	    {"GET /files/%2e%2e/b HTTP/1.1\r\nHost: x\r\n\r\n", 400, "bad-request", true},
	    {"GET /nothing HTTP/1.1\r\nHost: x\r\n\r\n", 404, "\"status\":404", true},
	    {"PUT /things/1 HTTP/1.1\r\nHost: x\r\n\r\n", 405, "GET, HEAD, DELETE", true},
	    {"GET /forget HTTP/1.1\r\nHost: x\r\n\r\n", 500, "internal", true},
	    {"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello", 200, "hello", true},
	    {"POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n",
	     200, "hello", true},
	    {"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 1001\r\n\r\n", 413, "too-large", false},
	    {"POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3e9\r\n" LONG_BODY, 413, "too-large",
	     false},
	    {"GET /hello HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc", 413, "too-large", false},
	    {"POST /refuse HTTP/1.1\r\nHost: x\r\nContent-Length: 500\r\n\r\nabc", 403, "denied", false},
	    {"POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\nabc", 400,
	     "bad-request", false},
	    {"POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", 400, "malformed chunk",
	     false},
	    {"BREW / HTTP/1.1\r\nHost: x\r\n\r\n", 501, "unsupported", false},
	    {"GET / HTTP/3.0\r\nHost: x\r\n\r\n", 505, "unsupported", false},
	    {"GET / HTTP/1.1\r\n\r\n", 400, "Host", false},
	    {"GET / HTTP/1.1\nHost: x\n\n", 400, "bad-request", false},
	};
	struct fixture_server *s = start(NULL, NULL);
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		char body[2048] = "", rest[16];
		struct raw c = raw_connect(s->port, NULL);
		raw_text(&c, cases[i].request);
		int status = raw_answer(&c, body, sizeof(body));
		if (status != cases[i].status || !strstr(body, cases[i].body))
			fail_msg("case %zu: %d %s", i, status, body);
		ssize_t after = raw_read(&c, rest, sizeof(rest), cases[i].stays ? 30 : 5000);
		if (after != (cases[i].stays ? -1 : 0))
			fail_msg("case %zu: connection %s", i, after == 0 ? "closed" : "open");
		raw_close(&c);
	}
	fixture_stop(s);
}

static void test_does_not_read_a_smuggled_request(void **state _unused_)
{
	static const char *const attacks[] = {
	    "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n",
	    "POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX: y\n\r\n",
	    "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nContent-Length: 40\r\n\r\n",
	    ("POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding:\x0b"
	     "chunked\r\n\r\n"),
	    "POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: identity\r\nContent-Length: 4\r\n\r\n",
	    "GET /hello HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\n",
	};
	struct fixture_server *s = start(NULL, NULL);
	for (size_t i = 0; i < ARRAY_SIZE(attacks); i++) {
		char answers[8192];
		struct raw c = raw_connect(s->port, NULL);
		raw_text(&c, attacks[i]);
		raw_text(&c, "GET /hello?q=smuggled HTTP/1.1\r\nHost: x\r\n\r\n");
		(void)raw_read_all(&c, answers, sizeof(answers), 5000);
		if (strstr(answers, "smuggled") || strncmp(answers, "HTTP/1.1 2", 10) == 0)
			fail_msg("attack %zu: %s", i, answers);
		raw_close(&c);
	}
	assert_int_equal(atomic_load(&seen.requests), 0);
	fixture_stop(s);
}

static void answer_kept(void *arg _unused_)
{
	struct http_request *r = TAKE_PTR(seen.kept);
	(void)http_respond(r, 200, "text/plain", "kept", 4);
	http_request_unref(r);
}

static void test_pipelined_requests_wait_their_turn(void **state _unused_)
{
	struct fixture_server *s = start(NULL, NULL);
	struct raw c = raw_connect(s->port, NULL);
	char body[128];
	raw_text(&c, "GET /keep HTTP/1.1\r\nHost: x\r\n\r\n"
		     "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\none"
		     "GET /hello?q=two HTTP/1.1\r\nHost: x\r\n\r\nGET /hello?q=thr");
	assert_true(reaches(&seen.requests, 1));
	assert_int_equal(raw_read(&c, body, sizeof(body), 50), -1);
	assert_int_equal(atomic_load(&seen.requests), 1);
	fixture_call(s, answer_kept, NULL);
	assert_int_equal(raw_answer(&c, body, sizeof(body)), 200);
	assert_string_equal(body, "kept");
	assert_int_equal(raw_answer(&c, body, sizeof(body)), 200);
	assert_string_equal(body, "one");
	assert_int_equal(raw_answer(&c, body, sizeof(body)), 200);
	assert_string_equal(body, "GET /hello two");
	raw_text(&c, "ee HTTP/1.1\r\nHost: x\r\n\r\n");
	assert_int_equal(raw_answer(&c, body, sizeof(body)), 200);
	assert_string_equal(body, "GET /hello three");
	raw_close(&c);
	fixture_stop(s);
}

static void test_a_paused_request_without_a_body_keeps_the_connection(void **state _unused_)
{
	struct fixture_server *s = start(NULL, NULL);
	struct raw c = raw_connect(s->port, NULL);
	for (int i = 0; i < 3; i++) {
		raw_text(&c, "POST /answered-paused HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n");
		assert_int_equal(raw_answer(&c, NULL, 0), 201);
	}
	raw_close(&c);
	fixture_stop(s);
}

static void test_many_pipelined_requests(void **state _unused_)
{
	struct fixture_server *s = start(NULL, NULL);
	struct raw c = raw_connect(s->port, NULL);
	for (int i = 0; i < 500; i++)
		raw_text(&c, "GET /hello HTTP/1.1\r\nHost: x\r\n\r\n");
	for (int i = 0; i < 500; i++)
		assert_int_equal(raw_answer(&c, NULL, 0), 200);
	raw_close(&c);
	fixture_stop(s);
}

static void test_half_closed_clients_are_answered(void **state _unused_)
{
	struct fixture_server *s = start(NULL, NULL);
	struct raw c = raw_connect(s->port, NULL);
	char text[2048];
	raw_text(&c, "GET /hello?q=1 HTTP/1.1\r\nHost: x\r\n\r\nGET /hello?q=2 HTTP/1.1\r\nHost: x\r\n\r\n");
	assert_int_equal(shutdown(c.fd, SHUT_WR), 0);
	(void)raw_read_all(&c, text, sizeof(text), 5000);
	assert_non_null(strstr(text, "GET /hello 1"));
	assert_non_null(strstr(text, "GET /hello 2"));
	raw_close(&c);
	fixture_stop(s);
}

static void test_continue_is_sent_when_the_body_is_wanted(void **state _unused_)
{
	struct fixture_server *s = start(NULL, NULL);
	char text[512];
	struct raw c = raw_connect(s->port, NULL);
	raw_text(&c, "POST /upload HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n");
	assert_int_equal(raw_answer(&c, NULL, 0), 100);
	raw_text(&c, "abc");
	assert_int_equal(raw_answer(&c, NULL, 0), 201);
	raw_close(&c);
	c = raw_connect(s->port, NULL);
	raw_text(&c, "POST /echo HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 3000\r\n\r\n");
	assert_int_equal(raw_answer(&c, text, sizeof(text)), 413);
	raw_close(&c);
	c = raw_connect(s->port, NULL);
	raw_text(&c, "POST /refuse HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 3000\r\n\r\n");
	assert_int_equal(raw_answer(&c, text, sizeof(text)), 403);
	raw_close(&c);
	fixture_stop(s);
}

static void test_stream_limit_is_kept(void **state _unused_)
{
	static char body[UPLOAD_LIMIT];
	memset(body, 'x', sizeof(body));
	struct fixture_server *s = start(NULL, NULL);
	struct raw c = raw_connect(s->port, NULL);
	raw_text(&c, "POST /upload HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n");
	raw_send(&c, body, sizeof(body));
	assert_int_equal(raw_answer(&c, NULL, 0), 201);
	assert_int_equal(atomic_load(&seen.body_bytes), UPLOAD_LIMIT);
	raw_text(&c, "POST /upload HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n186a1\r\n");
	raw_send(&c, body, sizeof(body));
	raw_text(&c, "x");
	assert_int_equal(raw_answer(&c, NULL, 0), 413);
	assert_true(reaches(&seen.aborted, 1));
	raw_close(&c);
	fixture_stop(s);
}

static void resume_kept(void *arg _unused_)
{
	http_request_resume(seen.kept);
}

static void test_paused_bodies_stop_the_sender(void **state _unused_)
{
	static char body[65536];
	struct fixture_server *s = start(NULL, NULL);
	struct raw c = raw_connect(s->port, NULL);
	raw_text(&c, "POST /paused HTTP/1.1\r\nHost: x\r\nContent-Length: 20000000\r\n\r\n");
	struct timeval soon = {.tv_usec = 200000};
	assert_int_equal(setsockopt(c.fd, SOL_SOCKET, SO_SNDTIMEO, &soon, sizeof(soon)), 0);
	size_t sent = 0;
	ssize_t n;
	while (sent < 20000000 && (n = send(c.fd, body, MIN(sizeof(body), 20000000 - sent), MSG_NOSIGNAL)) > 0)
		sent += (size_t)n;
	assert_true(sent < 19000000);
	assert_true(atomic_load(&seen.body_bytes) <= 16384);
	while (sent < 20000000 || atomic_load(&seen.ended) == 0) {
		fixture_call(s, resume_kept, NULL);
		n = sent < 20000000 ? send(c.fd, body, MIN(sizeof(body), 20000000 - sent), MSG_NOSIGNAL | MSG_DONTWAIT)
				    : 0;
		sent += n > 0 ? (size_t)n : 0;
		if (sent == 20000000 && raw_read(&c, body, 12, 0) > 0)
			break;
	}
	assert_int_equal(atomic_load(&seen.body_bytes), 20000000);
	raw_close(&c);
	fixture_call(s, drop_kept, NULL);
	fixture_stop(s);
}

static void test_streams_big_answers(void **state _unused_)
{
	struct fixture_server *s = start(NULL, NULL);
	char *all = malloc(BIG_BYTES + 65536);
	assert_non_null(all);
	for (int chunked = 0; chunked < 2; chunked++) {
		struct raw c = raw_connect(s->port, NULL);
		raw_text(&c, chunked ? "GET /big?chunked HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
				     : "GET /big HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
		size_t n = raw_read_all(&c, all, BIG_BYTES + 65536, 20000);
		assert_true(n > BIG_BYTES);
		if (chunked)
			assert_string_equal(all + n - 7, "\r\n0\r\n\r\n");
		else
			assert_int_equal((unsigned char)all[n - 1], (BIG_BYTES / 16384 - 1) & 0xff);
		raw_close(&c);
	}
	assert_true(reaches(&seen.ended, 2));
	free(all);
	fixture_stop(s);
}

static void test_output_waits_for_a_slow_reader(void **state _unused_)
{
	const struct http_limits limits = {.write_idle_ms = 400};
	struct fixture_server *s = start(&limits, NULL);
	struct raw c = raw_connect(s->port, NULL);
	int small = 4096;
	assert_int_equal(setsockopt(c.fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small)), 0);
	raw_text(&c, "GET /big HTTP/1.1\r\nHost: x\r\n\r\n");
	sleep_ms(200);
	assert_true(atomic_load(&seen.body_bytes) < BIG_BYTES);
	/* who takes nothing is cut off */
	assert_true(reaches(&seen.aborted, 1));
	assert_int_equal(atomic_load(&seen.ended), 0);
	raw_close(&c);
	fixture_stop(s);
}

static void test_slow_clients_are_told(void **state _unused_)
{
	const struct http_limits limits = {.head_ms = 300, .body_idle_ms = 300, .idle_ms = 300};
	struct fixture_server *s = start(&limits, NULL);
	char text[512];
	struct raw silent = raw_connect(s->port, NULL);
	struct raw head = raw_connect(s->port, NULL), body = raw_connect(s->port, NULL),
		   idle = raw_connect(s->port, NULL);
	raw_text(&head, "GET /hello HT");
	raw_text(&body, "POST /upload HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nabc");
	raw_text(&idle, "GET /hello HTTP/1.1\r\nHost: x\r\n\r\n");
	assert_int_equal(raw_answer(&idle, NULL, 0), 200);
	assert_int_equal(raw_answer(&head, NULL, 0), 408);
	assert_int_equal(raw_answer(&body, NULL, 0), 408);
	assert_int_equal(raw_read(&idle, text, sizeof(text), 5000), 0);
	assert_int_equal(raw_read(&silent, text, sizeof(text), 5000), 0);
	assert_true(reaches(&seen.aborted, 1));
	raw_close(&silent);
	raw_close(&head);
	raw_close(&body);
	raw_close(&idle);
	fixture_stop(s);
}

static void test_vanished_clients_are_safe(void **state _unused_)
{
	struct fixture_server *s = start(NULL, NULL);
	struct raw c = raw_connect(s->port, NULL);
	raw_text(&c, "GET /keep HTTP/1.1\r\nHost: x\r\n\r\n");
	assert_true(reaches(&seen.requests, 1));
	struct linger reset = {.l_onoff = 1};
	assert_int_equal(setsockopt(c.fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset)), 0);
	raw_close(&c);
	assert_true(reaches(&seen.aborted, 1));
	/* the handler answers all the same, later */
	fixture_call(s, answer_kept, NULL);
	c = raw_connect(s->port, NULL);
	raw_text(&c, "POST /upload HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nabc");
	raw_close(&c);
	assert_true(reaches(&seen.aborted, 2));
	fixture_stop(s);
}

static void test_connections_are_limited(void **state _unused_)
{
	const struct http_limits limits = {.connections_max = 2, .requests_max = 3};
	struct fixture_server *s = start(&limits, NULL);
	struct raw a = raw_connect(s->port, NULL), b = raw_connect(s->port, NULL);
	raw_text(&a, "GET /keep HTTP/1.1\r\nHost: x\r\n\r\n");
	assert_true(reaches(&seen.requests, 1));
	raw_text(&b, "GET /hello HTTP/1.1\r\nHost: x\r\n\r\n");
	assert_int_equal(raw_answer(&b, NULL, 0), 200);
	/* the idle one makes room */
	struct raw c = raw_connect(s->port, NULL);
	char text[64];
	assert_int_equal(raw_read(&b, text, sizeof(text), 5000), 0);
	/* nobody idle: the next waits until one leaves */
	raw_text(&c, "GET /he");
	struct raw d = raw_connect(s->port, NULL);
	raw_text(&d, "GET /hello HTTP/1.1\r\nHost: x\r\n\r\n");
	assert_int_equal(raw_read(&d, text, sizeof(text), 100), -1);
	raw_close(&c);
	assert_int_equal(raw_answer(&d, NULL, 0), 200);
	/* a connection has so many requests */
	raw_text(&d, "GET /hello HTTP/1.1\r\nHost: x\r\n\r\nGET /hello HTTP/1.1\r\nHost: x\r\n\r\n");
	assert_int_equal(raw_answer(&d, NULL, 0), 200);
	assert_int_equal(raw_answer(&d, NULL, 0), 200);
	assert_int_equal(raw_read(&d, text, sizeof(text), 5000), 0);
	fixture_call(s, answer_kept, NULL);
	raw_close(&a);
	raw_close(&b);
	raw_close(&d);
	fixture_stop(s);
}

static void test_drain_lets_requests_finish(void **state _unused_)
{
	struct fixture_server *s = start(NULL, NULL);
	struct raw idle = raw_connect(s->port, NULL), busy = raw_connect(s->port, NULL);
	raw_text(&idle, "GET /hello HTTP/1.1\r\nHost: x\r\n\r\n");
	assert_int_equal(raw_answer(&idle, NULL, 0), 200);
	raw_text(&busy, "GET /keep HTTP/1.1\r\nHost: x\r\n\r\n");
	assert_true(reaches(&seen.requests, 2));
	assert_false(fixture_drain(s, 100));
	char body[64];
	assert_int_equal(raw_read(&idle, body, sizeof(body), 5000), 0);
	fixture_call(s, answer_kept, NULL);
	assert_int_equal(raw_answer(&busy, body, sizeof(body)), 200);
	assert_string_equal(body, "kept");
	assert_int_equal(raw_read(&busy, body, sizeof(body), 5000), 0);
	raw_close(&idle);
	raw_close(&busy);
	for (int i = 0; i < 1000 && !atomic_load(&s->drained); i++)
		sleep_ms(5);
	assert_true(atomic_load(&s->drained));
	fixture_stop(s);
}

static void test_sends_files_and_ranges(void **state _unused_)
{
	struct fixture_server *s = start(NULL, NULL);
	static char content[1000000], got[1100000];
	for (size_t i = 0; i < sizeof(content); i++)
		content[i] = (char)(i * 7 % 251);
	(void)snprintf(seen.file, sizeof(seen.file), "/tmp/rushes-file-%d", (int)getpid());
	FILE *f = fopen(seen.file, "we");
	assert_non_null(f);
	assert_int_equal(fwrite(content, 1, sizeof(content), f), sizeof(content));
	assert_int_equal(fclose(f), 0);
	static const struct {
		const char *range;
		int status;
		size_t offset, length;
	} cases[] = {
	    {"", 200, 0, 1000000},
	    {"Range: bytes=10-19\r\n", 206, 10, 10},
	    {"Range: bytes=999990-\r\n", 206, 999990, 10},
	    {"Range: bytes=-10\r\n", 206, 999990, 10},
	    {"Range: bytes=-2000000\r\n", 206, 0, 1000000},
	    {"Range: bytes=999999-2000000\r\n", 206, 999999, 1},
	    {"Range: bytes=0-1,5-6\r\n", 200, 0, 1000000},
	    {"Range: lines=0-1\r\n", 200, 0, 1000000},
	    {"Range: bytes=5-1\r\n", 200, 0, 1000000},
	    {"Range: bytes=1000000-\r\n", 416, 0, 0},
	    {"Range: bytes=-0\r\n", 416, 0, 0},
	};
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		char request[256];
		(void)snprintf(request, sizeof(request), "GET /file HTTP/1.1\r\nHost: x\r\nConnection: close\r\n%s\r\n",
			       cases[i].range);
		struct raw c = raw_connect(s->port, NULL);
		raw_text(&c, request);
		size_t n = raw_read_all(&c, got, sizeof(got), 5000);
		assert_int_equal(strtol(got + 9, NULL, 10), cases[i].status);
		if (cases[i].status != 416)
			assert_memory_equal(got + n - cases[i].length, content + cases[i].offset, cases[i].length);
		raw_close(&c);
	}
	assert_int_equal(unlink(seen.file), 0);
	fixture_stop(s);
}

static void test_streams_over_tls(void **state _unused_)
{
	char *folder = fixture_certificates();
	_cleanup_(freep) char *certificate = fixture_path(folder, "server.pem"),
			      *key = fixture_path(folder, "server.key");
	struct tls_context *server = NULL;
	assert_int_equal(tls_server_new(&(struct tls_settings){certificate, key, NULL}, &server, NULL), 0);
	struct fixture_server *s = start(NULL, server);
	struct tls_context *tls = fixture_client_tls(folder, NULL, "ca.pem");
	static char body[UPLOAD_LIMIT];
	struct raw c = raw_connect(s->port, tls);
	raw_text(&c, "POST /upload HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n");
	raw_send(&c, body, sizeof(body));
	assert_int_equal(raw_answer(&c, NULL, 0), 201);
	raw_text(&c, "GET /big HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
	char *all = malloc(BIG_BYTES + 65536);
	assert_non_null(all);
	assert_true(raw_read_all(&c, all, BIG_BYTES + 65536, 20000) > BIG_BYTES);
	free(all);
	raw_close(&c);
	/* plain HTTP to a TLS port ends quickly and harms nobody */
	c = raw_connect(s->port, NULL);
	raw_text(&c, "GET / HTTP/1.1\r\nHost: x\r\n\r\n");
	char text[64];
	while (raw_read(&c, text, sizeof(text), 5000) > 0)
		;
	raw_close(&c);
	fixture_stop(s);
	tls_free(server);
	tls_free(tls);
	fixture_remove(folder);
}

static void test_plain_http_stays_on_loopback(void **state _unused_)
{
	struct loop *l = NULL;
	struct http_server *s = NULL;
	struct error e = {0};
	assert_int_equal(loop_new(&l, &e), 0);
	const struct http_server_options o = {.address = "0.0.0.0:0", .routes = routes};
	assert_int_equal(http_server_new(l, &o, &s, &e), ERR_FATAL);
	assert_non_null(strstr(e.text, "loopback"));
	loop_free(l);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_answers),
	    cmocka_unit_test(test_does_not_read_a_smuggled_request),
	    cmocka_unit_test(test_pipelined_requests_wait_their_turn),
	    cmocka_unit_test(test_a_paused_request_without_a_body_keeps_the_connection),
	    cmocka_unit_test(test_many_pipelined_requests),
	    cmocka_unit_test(test_half_closed_clients_are_answered),
	    cmocka_unit_test(test_continue_is_sent_when_the_body_is_wanted),
	    cmocka_unit_test(test_stream_limit_is_kept),
	    cmocka_unit_test(test_paused_bodies_stop_the_sender),
	    cmocka_unit_test(test_streams_big_answers),
	    cmocka_unit_test(test_output_waits_for_a_slow_reader),
	    cmocka_unit_test(test_slow_clients_are_told),
	    cmocka_unit_test(test_vanished_clients_are_safe),
	    cmocka_unit_test(test_connections_are_limited),
	    cmocka_unit_test(test_drain_lets_requests_finish),
	    cmocka_unit_test(test_sends_files_and_ranges),
	    cmocka_unit_test(test_streams_over_tls),
	    cmocka_unit_test(test_plain_http_stays_on_loopback),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
