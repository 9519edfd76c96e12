/* The bus against a real JetStream: delivery, returns, healing of a consumer, a server that hangs. */
#include "base/clock.h"
#include "base/thread.h"
#include "bus/bus.h"

#include <assert.h>
#include <nats/nats.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <string.h>
/* after the headers it needs */
#include <cmocka.h>

#define RECEIVED_MAX 64

static pid_t server;

/* What a consumer got. */
struct box {
	pthread_mutex_t lock;
	pthread_cond_t wake;
	struct bus_delivery *got[RECEIVED_MAX];
	unsigned n;
};

static void on_receive(void *arg, struct bus_delivery *d)
{
	struct box *b = arg;
	(void)pthread_mutex_lock(&b->lock);
	assert(b->n < RECEIVED_MAX);
	b->got[b->n++] = d;
	(void)pthread_cond_signal(&b->wake);
	(void)pthread_mutex_unlock(&b->lock);
}

static struct box box = {.lock = PTHREAD_MUTEX_INITIALIZER};

/* The next delivery, or NULL after `ms`. */
static struct bus_delivery *receive(int64_t ms)
{
	int64_t deadline = clock_monotonic_us() + ms * 1000;
	(void)pthread_mutex_lock(&box.lock);
	while (box.n == 0 && clock_monotonic_us() < deadline)
		thread_wait(&box.wake, &box.lock, deadline);
	struct bus_delivery *d = box.n > 0 ? box.got[0] : NULL;
	if (d)
		memmove(&box.got[0], &box.got[1], --box.n * sizeof(box.got[0]));
	(void)pthread_mutex_unlock(&box.lock);
	return d;
}

static _Atomic int faults;

static void on_fault(void *arg _unused_, const struct error *e)
{
	if (e->code == ERR_FATAL)
		faults++;
}

static struct bus *open_as(const char *service, const char *certificate, const char *key)
{
	struct bus *b = NULL;
	struct error e = {0};
	struct bus_options o = {.url = getenv("TEST_NATS_URL"),
				.service = service,
				.certificate = getenv(certificate),
				.key = getenv(key),
				.ca = getenv("TEST_CA"),
				.fault = on_fault};
	assert_int_equal(bus_new(&o, &b, &e), 0);
	return b;
}

static struct bus *bus;

static int open_bus(void **state _unused_)
{
	thread_cond_init(&box.wake);
	bus = open_as("rushes-storage-pusher", "TEST_CERTIFICATE_STORAGE_PUSHER", "TEST_KEY_STORAGE_PUSHER");
	return 0;
}

static int close_bus(void **state _unused_)
{
	while (box.n > 0)
		bus_delivery_ack(box.got[--box.n]);
	bus_free(bus);
	return 0;
}

static struct bus_stats stats(void)
{
	struct bus_stats s;
	bus_stats(bus, &s);
	return s;
}

static void connected(void)
{
	for (int i = 0; i < 1000 && !stats().connected; i++)
		(void)usleep(10000);
	assert_true(stats().connected);
}

static struct bus_consumer *consume(unsigned want)
{
	struct bus_consumer *c = NULL;
	struct error e = {0};
	struct bus_consumer_options o = {.stream = BUS_STREAM_JOBS,
					 .durable = "push-test",
					 .filter = "jobs.push.test",
					 .ack_wait_ms = 2000,
					 .receive = on_receive,
					 .arg = &box};
	assert_int_equal(bus_consumer_new(bus, &o, &c, &e), 0);
	bus_consumer_want(c, want);
	return c;
}

static int publish_text(const char *id, const char *text, struct error *e)
{
	struct trace trace = trace_new();
	struct bus_message m = {.stream = BUS_STREAM_JOBS,
				.subject = "jobs.push.test",
				.id = id,
				.trace = &trace,
				.body = text,
				.body_bytes = strlen(text)};
	return bus_publish(bus, &m, e);
}

static void publish(const char *id, const char *text)
{
	struct error e = {0};
	int r = publish_text(id, text, &e);
	if (r < 0)
		print_error("%s\n", e.text);
	assert_int_equal(r, 0);
}

static void expect(const char *text)
{
	struct bus_delivery *d = receive(10000);
	assert_non_null(d);
	assert_string_equal(d->body, text);
	assert_string_equal(d->subject, "jobs.push.test");
	assert_int_equal(strlen(d->trace.id), 32);
	bus_delivery_ack(d);
}

static void the_stream_is_made_by_who_publishes_first(void **state _unused_)
{
	connected();
	publish("first.1", "one");
	publish("first.1", "one"); /* the same again: stored once */
	struct bus_consumer *c = consume(4);
	expect("one");
	assert_null(receive(300));
	bus_consumer_free(c);
}

static void no_more_comes_than_is_wanted(void **state _unused_)
{
	connected();
	struct bus_consumer *c = consume(2);
	publish("want.1", "a");
	publish("want.2", "b");
	publish("want.3", "c");
	expect("a");
	expect("b");
	assert_null(receive(500));
	bus_consumer_want(c, 1);
	expect("c");
	bus_consumer_free(c);
}

static void what_is_returned_comes_again(void **state _unused_)
{
	connected();
	struct bus_consumer *c = consume(5);
	publish("back.1", "again");
	struct bus_delivery *d = receive(5000);
	assert_non_null(d);
	assert_int_equal(d->deliveries, 1);
	int64_t begin = clock_monotonic_us();
	bus_delivery_return(d, 400);
	d = receive(5000);
	assert_non_null(d);
	assert_in_range(clock_monotonic_us() - begin, 300000, 2000000);
	assert_int_equal(d->deliveries, 2);
	bus_delivery_ack(d);
	assert_null(receive(300));
	bus_consumer_free(c);
}

static void posted_hints_arrive(void **state _unused_)
{
	connected();
	struct bus_consumer *c = consume(1);
	struct bus_message m = {.stream = BUS_STREAM_JOBS, .subject = "jobs.push.test", .id = "post.1", .body = "p"};
	m.body_bytes = 1;
	assert_true(bus_post(bus, &m));
	struct bus_delivery *d = receive(5000);
	assert_non_null(d);
	assert_string_equal(d->trace.id, "");
	bus_delivery_ack(d);
	bus_consumer_free(c);
}

static void nothing_is_stranded_when_a_consumer_ends(void **state _unused_)
{
	connected();
	struct bus_consumer *c = consume(10);
	for (int i = 0; i < 10; i++) {
		char id[32];
		(void)snprintf(id, sizeof(id), "end.%d", i);
		publish(id, id);
	}
	bus_consumer_free(c);
	unsigned n = 0;
	while (box.n > 0) {
		bus_delivery_ack(receive(0));
		n++;
	}
	c = consume(10);
	while (n < 10) {
		struct bus_delivery *d = receive(5000);
		assert_non_null(d);
		bus_delivery_ack(d);
		n++;
	}
	bus_consumer_free(c);
}

static void delete_consumer(void)
{
	natsOptions *o = NULL;
	natsConnection *nc = NULL;
	jsCtx *js = NULL;
	assert_int_equal(natsOptions_Create(&o), NATS_OK);
	assert_int_equal(natsOptions_SetURL(o, getenv("TEST_NATS_URL")), NATS_OK);
	assert_int_equal(natsOptions_SetSecure(o, true), NATS_OK);
	assert_int_equal(natsOptions_LoadCATrustedCertificates(o, getenv("TEST_CA")), NATS_OK);
	assert_int_equal(natsOptions_LoadCertificatesChain(o, getenv("TEST_CERTIFICATE_STORAGE_PUSHER"),
							   getenv("TEST_KEY_STORAGE_PUSHER")),
			 NATS_OK);
	assert_int_equal(natsOptions_SetCustomInboxPrefix(o, "_INBOX.rushes-storage-pusher"), NATS_OK);
	assert_int_equal(natsConnection_Connect(&nc, o), NATS_OK);
	assert_int_equal(natsConnection_JetStream(&js, nc, NULL), NATS_OK);
	assert_int_equal(js_DeleteConsumer(js, "JOBS", "push-test", NULL, NULL), NATS_OK);
	jsCtx_Destroy(js);
	natsConnection_Destroy(nc);
	natsOptions_Destroy(o);
}

static void a_deleted_consumer_is_made_again(void **state _unused_)
{
	connected();
	struct bus_consumer *c = consume(3);
	publish("heal.1", "before");
	expect("before");
	delete_consumer();
	publish("heal.2", "after");
	expect("after");
	bus_consumer_free(c);
}

static void a_hanging_server_fails_fast_and_is_healed(void **state _unused_)
{
	connected();
	struct bus_consumer *c = consume(3);
	publish("hang.1", "before");
	expect("before");
	assert_int_equal(kill(server, SIGSTOP), 0);
	struct error e = {0};
	int64_t begin = clock_monotonic_us();
	assert_int_equal(publish_text("hang.2", "lost or late", &e), ERR_RETRY);
	assert_in_range(clock_monotonic_us() - begin, 0, 4000000);
	/* long enough to be found dead by pings */
	for (int i = 0; i < 1500 && stats().connected; i++)
		(void)usleep(10000);
	assert_false(stats().connected);
	assert_int_equal(publish_text("hang.3", "refused at once", &e), ERR_RETRY);
	assert_int_equal(kill(server, SIGCONT), 0);
	connected();
	publish("hang.4", "after");
	bool found = false;
	for (int i = 0; i < 3 && !found; i++) {
		struct bus_delivery *d = receive(10000);
		assert_non_null(d);
		found = strcmp(d->body, "after") == 0;
		bus_delivery_ack(d);
	}
	assert_true(found);
	bus_consumer_free(c);
}

static void renewed_certificates_mean_a_new_connection(void **state _unused_)
{
	connected();
	struct bus_consumer *c = consume(2);
	publish("renew.1", "before");
	expect("before");
	bus_renew(bus);
	for (int i = 0; i < 500 && stats().connects < 2; i++)
		(void)usleep(10000);
	assert_int_equal(stats().connects, 2);
	publish("renew.2", "after");
	expect("after");
	bus_consumer_free(c);
}

static void what_is_not_permitted_is_a_fault(void **state _unused_)
{
	connected();
	struct error e = {0};
	struct bus_message m = {.stream = BUS_STREAM_JOBS, .subject = "jobs.convert.eu1.x", .id = "f", .body = "x"};
	m.body_bytes = 1;
	assert_int_equal(faults, 0);
	assert_int_equal(bus_publish(bus, &m, &e), ERR_RETRY);
	for (int i = 0; i < 500 && faults == 0; i++)
		(void)usleep(10000);
	assert_int_equal(faults, 1);
}

static void a_broker_in_the_clear_is_refused(void **state _unused_)
{
	struct bus *b = NULL;
	struct error e = {0};
	struct bus_options o = {.url = "nats://localhost:4222", .service = "x"};
	assert_int_equal(bus_new(&o, &b, &e), ERR_REJECT);
}

/* The last: nothing starts the server again. */
static void an_absent_broker_stops_nobody(void **state _unused_)
{
	connected();
	struct bus_consumer *c = consume(1);
	assert_int_equal(kill(server, SIGKILL), 0);
	for (int i = 0; i < 500 && stats().connected; i++)
		(void)usleep(10000);
	struct error e = {0};
	int64_t begin = clock_monotonic_us();
	assert_int_equal(publish_text("dead.1", "x", &e), ERR_RETRY);
	assert_in_range(clock_monotonic_us() - begin, 0, 1500000);
	struct bus_message m = {.stream = BUS_STREAM_JOBS, .subject = "jobs.push.test", .id = "d", .body = "x"};
	m.body_bytes = 1;
	begin = clock_monotonic_us();
	assert_true(bus_post(bus, &m));
	assert_in_range(clock_monotonic_us() - begin, 0, 100000);
	bus_consumer_free(c);
	/* and at start */
	struct bus *absent = open_as("rushes-janitor", "TEST_CERTIFICATE_JANITOR", "TEST_KEY_JANITOR");
	(void)usleep(300000);
	bus_free(absent);
}

int main(void)
{
	const char *pid = getenv("TEST_NATS_PID");
	if (!pid) {
		(void)fprintf(stderr, "TEST_NATS_PID is not set: started by modules.test.mjs\n");
		return 1;
	}
	server = (pid_t)strtol(pid, NULL, 10);
	(void)signal(SIGPIPE, SIG_IGN);
#define TEST(name) cmocka_unit_test_setup_teardown(name, open_bus, close_bus)
	const struct CMUnitTest tests[] = {
	    TEST(the_stream_is_made_by_who_publishes_first),
	    TEST(no_more_comes_than_is_wanted),
	    TEST(what_is_returned_comes_again),
	    TEST(posted_hints_arrive),
	    TEST(nothing_is_stranded_when_a_consumer_ends),
	    TEST(a_deleted_consumer_is_made_again),
	    TEST(a_hanging_server_fails_fast_and_is_healed),
	    TEST(renewed_certificates_mean_a_new_connection),
	    TEST(what_is_not_permitted_is_a_fault),
	    cmocka_unit_test(a_broker_in_the_clear_is_refused),
	    TEST(an_absent_broker_stops_nobody),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
