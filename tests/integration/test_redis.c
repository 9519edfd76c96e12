/* with: services/ingest/gate.c */
/* The Redis client against a real server: answers, limits, a server that hangs and one that is gone. */
#include "../../services/ingest/gate.h"
#include "base/clock.h"
#include "store/redis.h"

#include <hiredis/hiredis.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <string.h>
/* after the headers it needs */
#include <cmocka.h>

#define WAIT_MS 5000

static pid_t server;

struct fixture {
	struct loop *loop;
	struct redis *redis;
	struct loop_timer *limit;
	bool timed_out;
	unsigned waiting; /* callbacks that have to come */
	/* of the last ones */
	enum redis_outcome outcome;
	char text[64];
	bool is_hit, allowed;
	int64_t wait_ms;
	unsigned n_allowed;
};

static void on_limit(void *arg)
{
	struct fixture *f = arg;
	f->timed_out = true;
	loop_stop(f->loop);
}

static void called(struct fixture *f)
{
	if (--f->waiting == 0)
		loop_stop(f->loop);
}

/* Runs the loop until all callbacks came. */
static void run(struct fixture *f)
{
	loop_timer_set(f->limit, WAIT_MS);
	loop_run(f->loop);
	loop_timer_cancel(f->limit);
	assert_false(f->timed_out);
}

static void on_pause(void *arg)
{
	called(arg);
}

static void run_for(struct fixture *f, int64_t ms)
{
	struct loop_timer *t = NULL;
	assert_int_equal(loop_timer_new(f->loop, on_pause, f, &t), 0);
	loop_timer_set(t, ms);
	f->waiting = 1;
	run(f);
	loop_timer_free(t);
}

static struct redis_stats stats(struct fixture *f)
{
	struct redis_stats s;
	redis_stats(f->redis, &s);
	return s;
}

static void connected(struct fixture *f)
{
	for (int i = 0; i < 400 && !stats(f).connected; i++)
		run_for(f, 10);
	assert_true(stats(f).connected);
}

static void on_reply(void *arg, enum redis_outcome outcome, const struct redisReply *reply)
{
	struct fixture *f = arg;
	f->outcome = outcome;
	(void)snprintf(f->text, sizeof(f->text), "%s", reply && reply->str ? reply->str : "");
	called(f);
}

static void on_cached(void *arg, const void *data, size_t n)
{
	struct fixture *f = arg;
	f->is_hit = data;
	(void)snprintf(f->text, sizeof(f->text), "%.*s", (int)n, data ? (const char *)data : "");
	called(f);
}

static void on_taken(void *arg, bool allowed, int64_t wait_ms)
{
	struct fixture *f = arg;
	f->allowed = allowed;
	f->wait_ms = wait_ms;
	f->n_allowed += allowed;
	called(f);
}

static int open_client(void **state)
{
	static struct fixture f;
	struct error e = {0};
	f = (struct fixture){0};
	assert_int_equal(loop_new(&f.loop, &e), 0);
	assert_int_equal(loop_timer_new(f.loop, on_limit, &f, &f.limit), 0);
	struct redis_options o = {.address = getenv("TEST_REDIS"),
				  .user = "rushes-linkgen",
				  .password_file = getenv("TEST_REDIS_PASSWORD_FILE_LINKGEN"),
				  .certificate = getenv("TEST_CERTIFICATE_LINKGEN"),
				  .key = getenv("TEST_KEY_LINKGEN"),
				  .ca = getenv("TEST_CA")};
	assert_int_equal(redis_new(f.loop, &o, &f.redis, &e), 0);
	*state = &f;
	return 0;
}

static int close_client(void **state)
{
	struct fixture *f = *state;
	redis_free(f->redis);
	loop_timer_free(f->limit);
	loop_free(f->loop);
	return 0;
}

static void command(struct fixture *f, const char *name)
{
	f->waiting = 1;
	redis_command(f->redis, 1, &name, NULL, on_reply, f);
	assert_int_equal(f->waiting, 1); /* never from within the call */
	run(f);
}

static void it_answers_refuses_and_is_unknown_before_it_is_connected(void **state)
{
	struct fixture *f = *state;
	command(f, "PING");
	assert_int_equal(f->outcome, REDIS_UNKNOWN);
	connected(f);
	command(f, "PING");
	assert_int_equal(f->outcome, REDIS_ANSWERED);
	assert_string_equal(f->text, "PONG");
	command(f, "FLUSHALL"); /* not among the rights of a service */
	assert_int_equal(f->outcome, REDIS_REFUSED);
}

static void a_cached_value_comes_back_until_it_runs_out(void **state)
{
	struct fixture *f = *state;
	connected(f);
	redis_cache_set(f->redis, "page", "va\0lue", 6, 150);
	f->waiting = 1;
	redis_cache_get(f->redis, "page", on_cached, f);
	run(f);
	assert_true(f->is_hit);
	assert_string_equal(f->text, "va");
	run_for(f, 250);
	f->waiting = 1;
	redis_cache_get(f->redis, "page", on_cached, f);
	run(f);
	assert_false(f->is_hit);
	redis_cache_set(f->redis, "page", "x", 1, 60000);
	redis_cache_drop(f->redis, "page");
	f->waiting = 1;
	redis_cache_get(f->redis, "page", on_cached, f);
	run(f);
	assert_false(f->is_hit);
}

static const struct redis_limit five = {.name = "test-five", .rate_per_minute = 60, .burst = 5, .instances = 1};
static const struct redis_limit shared = {.name = "test-shared", .rate_per_minute = 60, .burst = 3, .instances = 2};

static void a_limit_lets_a_burst_through(void **state)
{
	struct fixture *f = *state;
	connected(f);
	f->waiting = 8;
	for (int i = 0; i < 8; i++)
		redis_limit_take(f->redis, &five, "192.0.2.1", on_taken, f);
	run(f);
	assert_int_equal(f->n_allowed, 5);
	assert_false(f->allowed);
	assert_in_range(f->wait_ms, 500, 1000);
	assert_int_equal(stats(f).limits_local, 0);
	f->waiting = 1;
	redis_limit_take(f->redis, &five, "192.0.2.2", on_taken, f);
	run(f);
	assert_true(f->allowed);
}

static unsigned admitted(struct gate *g, unsigned tries)
{
	unsigned n = 0;
	for (unsigned i = 0; i < tries; i++)
		n += gate_admit(g, UINT64_C(0xffffc0000207));
	return n;
}

static void nodes_share_the_rate_of_an_address(void **state)
{
	struct fixture *f = *state;
	struct error e = {0};
	struct gate *one = NULL, *other = NULL;
	const struct gate_options o = {.redis = f->redis, .rate_per_s = 1, .burst = 20};
	assert_int_equal(gate_new(&o, &one, &e), 0);
	assert_int_equal(gate_new(&o, &other, &e), 0);
	connected(f);
	assert_int_equal(admitted(one, 20), 20);
	/* the other node learns by its first connection that there is nothing left */
	assert_int_equal(admitted(other, 1), 1);
	run_for(f, 300);
	assert_int_equal(admitted(other, 5), 0);
	/* without Redis it goes by its own bucket alone */
	assert_int_equal(kill(server, SIGSTOP), 0);
	run_for(f, 1500);
	assert_in_range(admitted(other, 30), 19, 22);
	assert_int_equal(stats(f).limits_local, 0);
	assert_int_equal(kill(server, SIGCONT), 0);
	redis_free(f->redis);
	f->redis = NULL;
	gate_free(one);
	gate_free(other);
}

static void a_hanging_server_costs_the_time_limit_only(void **state)
{
	struct fixture *f = *state;
	connected(f);
	assert_int_equal(kill(server, SIGSTOP), 0);
	int64_t begin = clock_monotonic_us();
	command(f, "PING");
	assert_int_equal(f->outcome, REDIS_UNKNOWN);
	assert_in_range(clock_monotonic_us() - begin, 90000, 1000000);
	f->waiting = 8;
	f->n_allowed = 0;
	for (int i = 0; i < 8; i++)
		redis_limit_take(f->redis, &shared, "192.0.2.3", on_taken, f);
	run(f);
	assert_int_equal(f->n_allowed, 3);
	assert_int_equal(stats(f).limits_local, 8);
	/* given up and made again, when it hangs on */
	run_for(f, 1500);
	assert_false(stats(f).connected);
	assert_int_equal(kill(server, SIGCONT), 0);
	connected(f);
	command(f, "PING");
	assert_int_equal(f->outcome, REDIS_ANSWERED);
}

static void a_short_hang_does_not_cost_the_connection(void **state)
{
	struct fixture *f = *state;
	connected(f);
	assert_int_equal(kill(server, SIGSTOP), 0);
	command(f, "PING");
	assert_int_equal(f->outcome, REDIS_UNKNOWN);
	assert_int_equal(kill(server, SIGCONT), 0);
	run_for(f, 100);
	/* the late answer met nobody, the next one its own command */
	f->waiting = 1;
	redis_cache_get(f->redis, "none", on_cached, f);
	run(f);
	assert_false(f->is_hit);
	assert_int_equal(stats(f).connects, 1);
}

static void calls_end_when_the_client_does(void **state)
{
	struct fixture *f = *state;
	connected(f);
	const char *name = "PING";
	f->waiting = 3;
	redis_command(f->redis, 1, &name, NULL, on_reply, f);
	redis_renew(f->redis); /* ends the first */
	redis_command(f->redis, 1, &name, NULL, on_reply, f);
	redis_limit_take(f->redis, &five, "192.0.2.9", on_taken, f);
	redis_free(f->redis);
	f->redis = NULL;
	run(f);
	assert_int_equal(f->outcome, REDIS_UNKNOWN);
}

/* The last: nothing starts the server again. */
static void a_dead_server_is_decided_without(void **state)
{
	struct fixture *f = *state;
	connected(f);
	assert_int_equal(kill(server, SIGKILL), 0);
	for (int i = 0; i < 400 && stats(f).connected; i++)
		run_for(f, 10);
	assert_false(stats(f).connected);
	f->waiting = 4;
	f->n_allowed = 0;
	for (int i = 0; i < 4; i++)
		redis_limit_take(f->redis, &shared, "192.0.2.4", on_taken, f);
	run(f);
	assert_int_equal(f->n_allowed, 3);
	f->waiting = 1;
	redis_cache_get(f->redis, "page", on_cached, f);
	run(f);
	assert_false(f->is_hit);
}

int main(void)
{
	const char *pid = getenv("TEST_REDIS_PID");
	if (!pid) {
		(void)fprintf(stderr, "TEST_REDIS_PID is not set: started by modules.test.mjs\n");
		return 1;
	}
	server = (pid_t)strtol(pid, NULL, 10);
	(void)signal(SIGPIPE, SIG_IGN);
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(it_answers_refuses_and_is_unknown_before_it_is_connected, open_client,
					    close_client),
	    cmocka_unit_test_setup_teardown(a_cached_value_comes_back_until_it_runs_out, open_client, close_client),
	    cmocka_unit_test_setup_teardown(a_limit_lets_a_burst_through, open_client, close_client),
	    cmocka_unit_test_setup_teardown(nodes_share_the_rate_of_an_address, open_client, close_client),
	    cmocka_unit_test_setup_teardown(a_hanging_server_costs_the_time_limit_only, open_client, close_client),
	    cmocka_unit_test_setup_teardown(a_short_hang_does_not_cost_the_connection, open_client, close_client),
	    cmocka_unit_test_setup_teardown(calls_end_when_the_client_does, open_client, close_client),
	    cmocka_unit_test_setup_teardown(a_dead_server_is_decided_without, open_client, close_client),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
