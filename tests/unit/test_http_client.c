/* with: tests/unit/net_fixture.c */
#include "net/client.h"
#include "net_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#define BIG_BYTES ((size_t)6 * 1024 * 1024)

static void sleep_ms(int ms)
{
	struct timespec t = {.tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000};
	(void)nanosleep(&t, NULL);
}

/* Byte i of every stream. */
static unsigned char pattern(size_t i)
{
	return (unsigned char)(i * 7 % 251);
}

static void get_hello(struct http_request *r, void *arg _unused_)
{
	const char *trace = http_request_header(r, "traceparent"), *x = http_request_header(r, "x-test");
	char text[256];
	int n = snprintf(text, sizeof(text), "%s %s %s", http_request_method(r), trace ? trace : "-", x ? x : "-");
	(void)http_response_header(r, "X-Answer", "  forty two ");
	(void)http_respond(r, 200, "text/plain", text, (size_t)n);
}

static void get_status(struct http_request *r, void *arg _unused_)
{
	int status = (int)strtol(http_request_parameter(r, "status"), NULL, 10);
	if (status == 302)
		(void)http_response_header(r, "Location", "/hello");
	(void)http_respond_problem(r, status, "as_asked", "status %d", status);
}

struct producer {
	size_t made, cut_at;
};

static _Atomic size_t produced;

static void produce(struct http_request *r, void *arg)
{
	static unsigned char piece[8192];
	struct producer *p = arg;
	while (p->made < BIG_BYTES && http_response_room(r) >= sizeof(piece)) {
		for (size_t i = 0; i < sizeof(piece); i++)
			piece[i] = pattern(p->made + i);
		assert_int_equal(http_response_write(r, piece, sizeof(piece)), 0);
		p->made += sizeof(piece);
		atomic_store(&produced, p->made);
		if (p->cut_at && p->made >= p->cut_at) {
			http_response_abort(r);
			return;
		}
	}
	if (p->made == BIG_BYTES)
		(void)http_response_end(r);
}

static void produced_end(struct http_request *r _unused_, bool complete _unused_, void *arg)
{
	free(arg);
}

static void get_big(struct http_request *r, void *arg _unused_)
{
	static const struct http_request_callbacks cb = {.on_writable = produce, .on_end = produced_end};
	struct producer *p = calloc(1, sizeof(*p));
	assert_non_null(p);
	p->cut_at = http_request_query(r, "cut") ? BIG_BYTES / 2 : 0;
	http_request_set_callbacks(r, &cb, p);
	(void)http_response_start(r, 200, "application/octet-stream",
				  http_request_query(r, "chunked") ? -1 : (int64_t)BIG_BYTES);
}

struct upload {
	size_t n;
	bool wrong;
};

static void upload_piece(struct http_request *r _unused_, const void *data, size_t n, void *arg)
{
	struct upload *u = arg;
	for (size_t i = 0; i < n; i++)
		u->wrong = u->wrong || ((const unsigned char *)data)[i] != pattern(u->n + i);
	u->n += n;
}

static void upload_done(struct http_request *r, void *arg)
{
	const struct upload *u = arg;
	char text[64];
	int n = snprintf(text, sizeof(text), "%zu %s", u->n, u->wrong ? "wrong" : "right");
	(void)http_respond(r, 200, "text/plain", text, (size_t)n);
}

static void put_upload(struct http_request *r, void *arg _unused_)
{
	static const struct http_request_callbacks cb = {.on_body = upload_piece,
							 .on_body_end = upload_done,
							 .on_end = produced_end};
	http_request_set_callbacks(r, &cb, calloc(1, sizeof(struct upload)));
}

static void get_never(struct http_request *r, void *arg _unused_)
{
	/* an empty callback says that somebody will answer */
	static const struct http_request_callbacks cb = {.on_end = produced_end};
	http_request_set_callbacks(r, &cb, NULL);
}

static const struct http_route routes[] = {
    {"GET", "/hello", get_hello, HTTP_BODY_NONE, 0}, {"GET", "/status/:status", get_status, HTTP_BODY_NONE, 0},
    {"GET", "/big", get_big, HTTP_BODY_NONE, 0},     {"PUT", "/upload", put_upload, HTTP_BODY_STREAM, 0},
    {"GET", "/never", get_never, HTTP_BODY_NONE, 0}, {0},
};

struct world {
	char *folder;
	struct tls_context *server_tls, *client_tls, *other_tls;
	struct fixture_server *server;
	struct http_client *client, *distrusting;
};

static struct world *w;

static struct tls_context *context(bool server, const char *name, const char *ca)
{
	char certificate[64], key[64];
	(void)snprintf(certificate, sizeof(certificate), "%s.pem", name);
	(void)snprintf(key, sizeof(key), "%s.key", name);
	_cleanup_(freep) char *c = fixture_path(w->folder, certificate), *k = fixture_path(w->folder, key);
	_cleanup_(freep) char *a = fixture_path(w->folder, ca);
	const struct tls_settings settings = {c, k, a};
	struct tls_context *t = NULL;
	int r = server ? tls_server_new(&settings, &t, NULL) : tls_client_new(&settings, &t, NULL);
	assert_int_equal(r, 0);
	return t;
}

static int setup(void **state _unused_)
{
	w = calloc(1, sizeof(*w));
	assert_non_null(w);
	w->folder = fixture_certificates();
	w->server_tls = context(true, "server", "ca.pem");
	w->client_tls = context(false, "client", "ca.pem");
	w->other_tls = context(false, "client", "other-ca.pem");
	w->server = fixture_start((struct http_server_options){.routes = routes, .tls = w->server_tls});
	const struct http_client_options good = {.tls = w->client_tls, .plain_loopback = true};
	const struct http_client_options other = {.tls = w->other_tls};
	assert_int_equal(http_client_new(w->server->loop, &good, &w->client, NULL), 0);
	assert_int_equal(http_client_new(w->server->loop, &other, &w->distrusting, NULL), 0);
	return 0;
}

static void free_clients(void *arg _unused_)
{
	http_client_free(w->client);
	http_client_free(w->distrusting);
}

static int teardown(void **state _unused_)
{
	fixture_call(w->server, free_clients, NULL);
	fixture_stop(w->server);
	tls_free(w->server_tls);
	tls_free(w->client_tls);
	tls_free(w->other_tls);
	fixture_remove(w->folder);
	free(w);
	return 0;
}

static const char *url_of(const char *path)
{
	static char url[256];
	(void)snprintf(url, sizeof(url), "https://localhost:%u%s", w->server->port, path);
	return url;
}

static void test_asks_and_tells(void **state _unused_)
{
	struct trace trace = trace_new();
	char traceparent[TRACEPARENT_BYTES], expected[256], value[32];
	trace_format(&trace, traceparent);
	(void)snprintf(expected, sizeof(expected), "GET %s seen", traceparent);
	const struct http_client_header headers[] = {{"X-Test", "seen"}};
	struct http_client_request rq = {.url = url_of("/hello"), .headers = headers, .n_headers = 1, .trace = &trace};
	struct http_client_answer a = {0};
	struct error e = {0};
	assert_int_equal(http_client_perform(w->client, &rq, &a, &e), 0);
	assert_int_equal(a.status, 200);
	assert_string_equal(a.body.data, expected);
	assert_true(http_client_answer_header(&a, "x-answer", value, sizeof(value)));
	assert_string_equal(value, "forty two");
	assert_false(http_client_answer_header(&a, "x-answer", value, 5));
	assert_false(http_client_answer_header(&a, "x-other", value, sizeof(value)));
	http_client_answer_done(&a);
	rq.method = "HEAD";
	a = (struct http_client_answer){0};
	assert_int_equal(http_client_perform(w->client, &rq, &a, &e), 0);
	assert_int_equal(a.body_bytes, 0);
	http_client_answer_done(&a);
}

static void test_classes_of_statuses(void **state _unused_)
{
	static const struct {
		int status, class;
	} cases[] = {{400, ERR_REJECT},	  {401, ERR_DENIED},   {403, ERR_DENIED}, {404, ERR_NOTFOUND},
		     {409, ERR_CONFLICT}, {412, ERR_CONFLICT}, {429, ERR_RETRY},  {500, ERR_RETRY},
		     {501, ERR_REJECT},	  {503, ERR_RETRY},    {302, ERR_REJECT}};
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		char path[32];
		(void)snprintf(path, sizeof(path), "/status/%d", cases[i].status);
		const struct http_client_request rq = {.url = url_of(path)};
		struct http_client_answer a = {0};
		struct error e = {0};
		assert_int_equal(http_client_perform(w->client, &rq, &a, &e), cases[i].class);
		assert_int_equal(a.status, cases[i].status);
		assert_non_null(strstr(a.body.data, "as_asked"));
		assert_non_null(strstr(e.text, "localhost"));
		assert_null(strstr(e.text, "/status"));
		http_client_answer_done(&a);
	}
}

struct sink {
	size_t n;
	bool wrong, slow;
	size_t fail_at;
	size_t ahead_most; /* bytes the server made beyond what was taken */
	pthread_t thread;
};

static int take(void *arg, const void *data, size_t n, struct error *e)
{
	struct sink *s = arg;
	s->thread = pthread_self();
	for (size_t i = 0; i < n; i++)
		s->wrong = s->wrong || ((const unsigned char *)data)[i] != pattern(s->n + i);
	s->n += n;
	if (s->slow && s->n < BIG_BYTES / 8)
		sleep_ms(10);
	s->ahead_most = MAX(s->ahead_most, atomic_load(&produced) - s->n);
	if (s->fail_at && s->n >= s->fail_at)
		return error_set(e, ERR_FULL, "the disk is full");
	return 0;
}

static void test_streams_into_a_sink(void **state _unused_)
{
	static const char *const paths[] = {"/big", "/big?chunked"};
	for (size_t i = 0; i < ARRAY_SIZE(paths); i++) {
		struct sink s = {.slow = true};
		atomic_store(&produced, 0);
		const struct http_client_request rq = {.url = url_of(paths[i]), .sink = take, .arg = &s};
		struct http_client_answer a = {0};
		struct error e = {0};
		assert_int_equal(http_client_perform(w->client, &rq, &a, &e), 0);
		assert_int_equal(s.n, BIG_BYTES);
		assert_int_equal(a.body_bytes, BIG_BYTES);
		assert_false(s.wrong);
		assert_true(pthread_equal(s.thread, pthread_self()));
		http_client_answer_done(&a);
	}
}

static void test_ends_as_the_sink_says(void **state _unused_)
{
	struct sink s = {.fail_at = 100000};
	const struct http_client_request rq = {.url = url_of("/big"), .sink = take, .arg = &s};
	struct http_client_answer a = {0};
	struct error e = {0};
	assert_int_equal(http_client_perform(w->client, &rq, &a, &e), ERR_FULL);
	assert_string_equal(e.text, "the disk is full");
	assert_true(s.n < BIG_BYTES);
	http_client_answer_done(&a);
}

static void test_cut_bodies_are_told(void **state _unused_)
{
	static const char *const paths[] = {"/big?cut", "/big?chunked&cut"};
	for (size_t i = 0; i < ARRAY_SIZE(paths); i++) {
		struct sink s = {0};
		const struct http_client_request rq = {.url = url_of(paths[i]), .sink = take, .arg = &s};
		struct http_client_answer a = {0};
		struct error e = {0};
		assert_int_equal(http_client_perform(w->client, &rq, &a, &e), ERR_RETRY);
		assert_int_equal(a.status, 200);
		assert_true(s.n < BIG_BYTES);
		http_client_answer_done(&a);
	}
}

struct source {
	size_t n, total, fail_at;
};

static ssize_t give(void *arg, void *buffer, size_t n, struct error *e)
{
	struct source *s = arg;
	n = MIN(n, s->total - s->n);
	for (size_t i = 0; i < n; i++)
		((unsigned char *)buffer)[i] = pattern(s->n + i);
	s->n += n;
	if (s->n < 600000)
		sleep_ms(20);
	if (s->fail_at && s->n >= s->fail_at)
		return error_set(e, ERR_CORRUPT, "the file is broken");
	return (ssize_t)n;
}

static void test_uploads_from_a_source(void **state _unused_)
{
	struct source s = {.total = 3000001};
	struct http_client_request rq = {
	    .method = "PUT", .url = url_of("/upload"), .source = give, .source_bytes = s.total, .arg = &s};
	struct http_client_answer a = {0};
	struct error e = {0};
	assert_int_equal(http_client_perform(w->client, &rq, &a, &e), 0);
	assert_string_equal(a.body.data, "3000001 right");
	http_client_answer_done(&a);
	s = (struct source){.total = 3000001, .fail_at = 1000000};
	a = (struct http_client_answer){0};
	assert_int_equal(http_client_perform(w->client, &rq, &a, &e), ERR_CORRUPT);
	assert_string_equal(e.text, "the file is broken");
	http_client_answer_done(&a);
	/* a body at once, and none */
	static unsigned char body[100000];
	for (size_t i = 0; i < sizeof(body); i++)
		body[i] = pattern(i);
	rq.source = NULL;
	rq.body = body;
	rq.body_bytes = sizeof(body);
	a = (struct http_client_answer){0};
	assert_int_equal(http_client_perform(w->client, &rq, &a, &e), 0);
	assert_string_equal(a.body.data, "100000 right");
	http_client_answer_done(&a);
	rq.body_bytes = 0;
	a = (struct http_client_answer){0};
	assert_int_equal(http_client_perform(w->client, &rq, &a, &e), 0);
	assert_string_equal(a.body.data, "0 right");
	http_client_answer_done(&a);
}

static void *set_soon(void *arg)
{
	sleep_ms(100);
	atomic_store((_Atomic bool *)arg, true);
	return NULL;
}

static void test_is_cancelled(void **state _unused_)
{
	_Atomic bool cancelled = false;
	const struct http_client_request rq = {.url = url_of("/never"), .cancelled = &cancelled};
	struct http_client_answer a = {0};
	struct error e = {0};
	pthread_t t;
	assert_int_equal(pthread_create(&t, NULL, set_soon, &cancelled), 0);
	assert_int_equal(http_client_perform(w->client, &rq, &a, &e), ERR_CANCELLED);
	assert_int_equal(pthread_join(t, NULL), 0);
	http_client_answer_done(&a);
}

static int outcome(struct http_client *c, struct http_client_request rq)
{
	struct http_client_answer a = {0};
	struct error e = {0};
	int r = http_client_perform(c, &rq, &a, &e);
	assert_int_equal(e.code, r);
	http_client_answer_done(&a);
	return r;
}

static void test_waits_are_limited(void **state _unused_)
{
	assert_int_equal(outcome(w->client, (struct http_client_request){.url = url_of("/never"), .total_ms = 300}),
			 ERR_RETRY);
	assert_int_equal(outcome(w->client, (struct http_client_request){.url = url_of("/never"), .stall_ms = 1000}),
			 ERR_RETRY);
	assert_int_equal(outcome(w->client, (struct http_client_request){.url = "https://127.0.0.1:1/"}), ERR_RETRY);
}

static void test_trusts_its_authorities_only(void **state _unused_)
{
	assert_int_equal(outcome(w->distrusting, (struct http_client_request){.url = url_of("/hello")}), ERR_FATAL);
}

static void test_refuses_urls(void **state _unused_)
{
	static const char *const bad[] = {"http://example.org/",
					  "file:///etc/passwd",
					  "ftp://localhost/",
					  "https://u:p@localhost/",
					  "http://127.0.0.1.example/",
					  "nonsense",
					  ""};
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		assert_int_equal(outcome(w->client, (struct http_client_request){.url = bad[i]}), ERR_REJECT);
	const struct http_client_header split[] = {{"X", "a\r\nY: b"}};
	assert_int_equal(
	    outcome(w->client, (struct http_client_request){.url = url_of("/hello"), .headers = split, .n_headers = 1}),
	    ERR_REJECT);
}

static void test_limits_answers(void **state _unused_)
{
	/* 6 MiB without a sink */
	assert_int_equal(outcome(w->client, (struct http_client_request){.url = url_of("/big")}), ERR_REJECT);
	struct sink s = {0};
	assert_int_equal(outcome(w->client, (struct http_client_request){.url = url_of("/big"),
									 .sink = take,
									 .arg = &s,
									 .answer_bytes_max = BIG_BYTES - 1}),
			 ERR_REJECT);
}

struct loop_side {
	struct http_exchange *exchange;
	_Atomic size_t n;
	_Atomic int pauses, ended, result;
};

static int pausing_body(struct http_exchange *x, const void *data _unused_, size_t n, void *arg)
{
	struct loop_side *l = arg;
	atomic_fetch_add(&l->n, n);
	atomic_fetch_add(&l->pauses, 1);
	http_exchange_pause(x);
	return 0;
}

static void loop_side_end(struct http_exchange *x _unused_, int result, struct http_client_answer *a _unused_,
			  const struct error *e _unused_, void *arg)
{
	struct loop_side *l = arg;
	l->exchange = NULL;
	atomic_store(&l->result, result);
	atomic_fetch_add(&l->ended, 1);
}

static void loop_side_start(void *arg)
{
	static const struct http_exchange_callbacks cb = {.on_body = pausing_body, .on_end = loop_side_end};
	struct loop_side *l = arg;
	const struct http_client_request rq = {.url = url_of("/big")};
	assert_int_equal(http_client_start(w->client, &rq, &cb, l, &l->exchange, NULL), 0);
}

static void loop_side_resume(void *arg)
{
	struct loop_side *l = arg;
	if (l->exchange)
		http_exchange_resume(l->exchange);
}

static void loop_side_cancel(void *arg)
{
	struct loop_side *l = arg;
	http_exchange_cancel(l->exchange);
	assert_non_null(l->exchange);
}

static void test_pauses_on_the_loop(void **state _unused_)
{
	struct loop_side l = {0};
	fixture_call(w->server, loop_side_start, &l);
	for (int i = 0; i < 1000 && atomic_load(&l.n) == 0; i++)
		sleep_ms(5);
	size_t before = atomic_load(&l.n);
	sleep_ms(50);
	assert_int_equal(atomic_load(&l.n), before);
	for (int i = 0; i < 5000 && atomic_load(&l.ended) == 0; i++) {
		fixture_call(w->server, loop_side_resume, &l);
		sleep_ms(1);
	}
	assert_int_equal(atomic_load(&l.ended), 1);
	assert_int_equal(atomic_load(&l.result), 0);
	assert_int_equal(atomic_load(&l.n), BIG_BYTES);
	l = (struct loop_side){0};
	fixture_call(w->server, loop_side_start, &l);
	fixture_call(w->server, loop_side_cancel, &l);
	for (int i = 0; i < 1000 && atomic_load(&l.ended) == 0; i++)
		sleep_ms(5);
	assert_int_equal(atomic_load(&l.result), ERR_CANCELLED);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_asks_and_tells),
	    cmocka_unit_test(test_classes_of_statuses),
	    cmocka_unit_test(test_streams_into_a_sink),
	    cmocka_unit_test(test_ends_as_the_sink_says),
	    cmocka_unit_test(test_cut_bodies_are_told),
	    cmocka_unit_test(test_uploads_from_a_source),
	    cmocka_unit_test(test_is_cancelled),
	    cmocka_unit_test(test_waits_are_limited),
	    cmocka_unit_test(test_trusts_its_authorities_only),
	    cmocka_unit_test(test_refuses_urls),
	    cmocka_unit_test(test_limits_answers),
	    cmocka_unit_test(test_pauses_on_the_loop),
	};
	return cmocka_run_group_tests(tests, setup, teardown);
}
