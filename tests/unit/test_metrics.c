#include "base/metrics.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

static char *printed(struct metrics *m)
{
	struct buffer b;
	buffer_init(&b, MIB);
	assert_int_equal(metrics_print(m, &b), 0);
	return buffer_take(&b);
}

static double answer(void *arg)
{
	return *(int *)arg + 0.5;
}

static void test_prints_all_kinds(void **state _unused_)
{
	static const char *const labels[] = {"method", "status", NULL};
	static const double bounds[] = {0.1, 1, 10};
	_cleanup_(metrics_freep) struct metrics *m = NULL;
	assert_int_equal(metrics_new(&m, NULL), 0);
	struct metric *requests = metrics_counter(m, "requests_total", "Requests", labels);
	metric_count(requests, "GET", "200");
	metric_count(requests, "GET", "200");
	metric_count(requests, "PO\"S\\T\n", "500");
	metric_set(metric_series(metrics_gauge(m, "depth", "Depth", NULL), NULL), -2.25);
	struct metric_series *h = metric_series(metrics_histogram(m, "seconds", "Seconds", NULL, bounds, 3), NULL);
	metric_observe(h, 0.1);
	metric_observe(h, 0.5);
	metric_observe(h, 100);
	int value = 41;
	metrics_gauge_function(m, "asked", "Asked for", answer, &value);
	assert_ptr_equal(requests, metrics_counter(m, "requests_total", "Requests", labels));
	_cleanup_(freep) char *text = printed(m);
	assert_string_equal(text, "# HELP requests_total Requests\n# TYPE requests_total counter\n"
				  "requests_total{method=\"PO\\\"S\\\\T\\n\",status=\"500\"} 1\n"
				  "requests_total{method=\"GET\",status=\"200\"} 2\n"
				  "# HELP depth Depth\n# TYPE depth gauge\ndepth -2.25\n"
				  "# HELP seconds Seconds\n# TYPE seconds histogram\n"
				  "seconds_bucket{le=\"0.1\"} 1\nseconds_bucket{le=\"1\"} 2\n"
				  "seconds_bucket{le=\"10\"} 2\nseconds_bucket{le=\"+Inf\"} 3\n"
				  "seconds_sum 100.59999999999999\nseconds_count 3\n"
				  "# HELP asked Asked for\n# TYPE asked gauge\nasked 41.5\n");
}

static void test_bounds_the_rows(void **state _unused_)
{
	static const char *const labels[] = {"id", NULL};
	_cleanup_(metrics_freep) struct metrics *m = NULL;
	assert_int_equal(metrics_new(&m, NULL), 0);
	struct metric *f = metrics_counter(m, "things_total", "Things", labels);
	for (int i = 0; i < 2 * METRIC_SERIES_MAX; i++) {
		char id[16];
		(void)snprintf(id, sizeof(id), "%d", i);
		metric_count(f, id);
	}
	_cleanup_(freep) char *text = printed(m);
	size_t lines = 0;
	for (const char *p = text; *p; p++)
		lines += *p == '\n';
	assert_int_equal(lines, 2 + METRIC_SERIES_MAX + 1);
	char expected[64];
	(void)snprintf(expected, sizeof(expected), "things_total{id=\"other\"} %d\n", METRIC_SERIES_MAX);
	assert_non_null(strstr(text, expected));
}

static void *count_many(void *arg)
{
	for (int i = 0; i < 100000; i++)
		metric_count((struct metric *)arg, "x");
	return NULL;
}

static void test_counts_from_threads(void **state _unused_)
{
	static const char *const labels[] = {"k", NULL};
	_cleanup_(metrics_freep) struct metrics *m = NULL;
	assert_int_equal(metrics_new(&m, NULL), 0);
	struct metric *f = metrics_counter(m, "many_total", "Many", labels);
	pthread_t threads[4];
	for (size_t i = 0; i < ARRAY_SIZE(threads); i++)
		assert_int_equal(pthread_create(&threads[i], NULL, count_many, f), 0);
	for (size_t i = 0; i < ARRAY_SIZE(threads); i++)
		assert_int_equal(pthread_join(threads[i], NULL), 0);
	_cleanup_(freep) char *text = printed(m);
	assert_non_null(strstr(text, "many_total{k=\"x\"} 400000\n"));
}

static void test_nobody_watches(void **state _unused_)
{
	struct metric *f = metrics_counter(NULL, "a", "b", NULL);
	assert_null(f);
	metric_count(f, "x");
	metric_set(metric_series(f, NULL), 1);
	metric_observe(NULL, 1);
	struct buffer b;
	buffer_init(&b, 10);
	assert_int_equal(metrics_print(NULL, &b), 0);
	assert_int_equal(b.size, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_prints_all_kinds),
	    cmocka_unit_test(test_bounds_the_rows),
	    cmocka_unit_test(test_counts_from_threads),
	    cmocka_unit_test(test_nobody_watches),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
