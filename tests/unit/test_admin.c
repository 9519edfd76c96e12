/* with: tests/unit/net_fixture.c */
#include "net/admin.h"
#include "net_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

static _Atomic bool is_ready;

static bool ready(void *arg _unused_, const char **ret_reason)
{
	*ret_reason = "database";
	return atomic_load(&is_ready);
}

static json_t *state_part(void *arg)
{
	return json_pack("{s:i}", "held", *(int *)arg);
}

static json_t *nothing(void *arg _unused_)
{
	return NULL;
}

static void *run(void *arg)
{
	loop_run(arg);
	return NULL;
}

static int ask(uint16_t port, const char *path, char *body, size_t n)
{
	char request[128];
	(void)snprintf(request, sizeof(request), "GET %s HTTP/1.1\r\nHost: x\r\n\r\n", path);
	struct raw c = raw_connect(port, NULL);
	raw_text(&c, request);
	int status = raw_answer(&c, body, n);
	raw_close(&c);
	return status;
}

static void test_tells_how_the_service_is(void **state _unused_)
{
	struct loop *l = NULL;
	struct metrics *m = NULL;
	struct admin *a = NULL;
	char body[8192];
	int held = 7;
	assert_int_equal(loop_new(&l, NULL), 0);
	assert_int_equal(metrics_new(&m, NULL), 0);
	metric_add(metric_series(metrics_counter(m, "rushes_tests_total", "Tests", NULL), NULL), 3);
	const struct admin_options o = {.address = "127.0.0.1:0", .metrics = m, .ready = ready};
	assert_int_equal(admin_new(l, &o, &a, NULL), 0);
	admin_add_state(a, "jobs", state_part, &held);
	admin_add_state(a, "none", nothing, NULL);
	uint16_t port = admin_port(a);
	pthread_t t;
	assert_int_equal(pthread_create(&t, NULL, run, l), 0);

	assert_int_equal(ask(port, "/healthz", body, sizeof(body)), 200);
	assert_int_equal(ask(port, "/readyz", body, sizeof(body)), 503);
	assert_string_equal(body, "database\n");
	atomic_store(&is_ready, true);
	assert_int_equal(ask(port, "/readyz", body, sizeof(body)), 200);
	assert_int_equal(ask(port, "/metrics", body, sizeof(body)), 200);
	assert_non_null(strstr(body, "rushes_tests_total 3\n"));
	assert_non_null(strstr(body, "rushes_http_requests_total{server=\"admin\",status=\"503\"} 1\n"));
	assert_int_equal(ask(port, "/debug/state", body, sizeof(body)), 200);
	assert_non_null(strstr(body, "\"jobs\":{\"held\":7}"));
	assert_non_null(strstr(body, "\"none\":null"));
	assert_non_null(strstr(body, "\"connections\":"));
	assert_int_equal(ask(port, "/", body, sizeof(body)), 404);

	loop_stop(l);
	assert_int_equal(pthread_join(t, NULL), 0);
	admin_free(a);
	loop_free(l);
	metrics_free(m);
}

static void test_stays_on_loopback(void **state _unused_)
{
	struct loop *l = NULL;
	struct admin *a = NULL;
	struct error e = {0};
	assert_int_equal(loop_new(&l, NULL), 0);
	const struct admin_options o = {.address = "0.0.0.0:0"};
	assert_int_equal(admin_new(l, &o, &a, &e), ERR_FATAL);
	loop_free(l);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_tells_how_the_service_is),
	    cmocka_unit_test(test_stays_on_loopback),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
