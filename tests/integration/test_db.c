/* The PostgreSQL pool and the migrations against a real server. */
#include "base/clock.h"
#include "base/thread.h"
#include "store/db.h"
#include "store/migrate.h"

#include <arpa/inet.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
/* after the headers it needs */
#include <cmocka.h>

static const char *superuser;

static struct db_pool *open_pool(struct db_pool_options o)
{
	struct db_pool *p = NULL;
	struct error e = {0};
	if (!o.conninfo)
		o.conninfo = superuser;
	assert_int_equal(db_pool_new(&o, &p, &e), 0);
	return p;
}

static const struct db_statement echo = {"echo",
					 "SELECT $1::text, $2::bigint, $3::boolean, $4::bytea, $5::uuid, null::text",
					 5};

static void values_come_back(void **state _unused_)
{
	_cleanup_(db_pool_freep) struct db_pool *p = open_pool((struct db_pool_options){0});
	_cleanup_(db_result_freep) struct db_result *r = NULL;
	struct error e = {0};
	char number[DB_INT_BYTES], hex[DB_BYTEA_BYTES(4)], id_text[UUID_TEXT_BYTES];
	struct uuid id = uuid_v7(), back;
	uuid_format(&id, id_text);
	const char *params[] = {"it's \"text\"", db_param_int(-5000000000, number), db_param_bool(true),
				db_param_bytea("\x00\x01\xfe\xff", 4, hex), id_text};
	assert_int_equal(db_run(p, &echo, params, &r, &e), 0);
	assert_int_equal(db_rows(r), 1);
	assert_string_equal(db_text(r, 0, 0), "it's \"text\"");
	assert_int_equal(db_int(r, 0, 1), -5000000000);
	assert_true(db_bool(r, 0, 2));
	uint8_t bytes[4];
	size_t n = 0;
	assert_int_equal(db_bytea(r, 0, 3, bytes, sizeof(bytes), &n, &e), 0);
	assert_int_equal(n, 4);
	assert_memory_equal(bytes, "\x00\x01\xfe\xff", 4);
	assert_int_equal(db_bytea(r, 0, 3, bytes, 3, &n, &e), ERR_CORRUPT);
	assert_true(db_uuid(r, 0, 4, &back));
	assert_true(uuid_equal(&id, &back));
	assert_true(db_null(r, 0, 5));
	assert_null(db_text(r, 0, 5));
}

static void errors_carry_class_and_state_but_no_value(void **state _unused_)
{
	static const struct db_statement refuse = {"refuse", "SELECT rushes.refuse($1, 'the job is fenced')", 1};
	static const struct db_statement as_uuid = {"as_uuid", "SELECT $1::uuid", 1};
	_cleanup_(db_pool_freep) struct db_pool *p = open_pool((struct db_pool_options){0});
	_cleanup_(db_releasep) struct db *d = NULL;
	struct error e = {0};
	assert_int_equal(db_acquire(p, &d, &e), 0);
	assert_int_equal(db_query(d, &refuse, (const char *[]){"RU001"}, NULL, &e), ERR_CONFLICT);
	assert_string_equal(db_sqlstate(d), "RU001");
	assert_non_null(strstr(e.text, "the job is fenced"));
	assert_int_equal(db_query(d, &refuse, (const char *[]){"RU004"}, NULL, &e), ERR_CANCELLED);
	assert_int_equal(db_query(d, &as_uuid, (const char *[]){"a-secret-value"}, NULL, &e), ERR_REJECT);
	assert_null(strstr(e.text, "a-secret-value"));
	assert_non_null(strstr(e.text, "22P02"));
	/* the connection is as good as before */
	assert_int_equal(db_query(d, &as_uuid, (const char *[]){NULL}, NULL, &e), 0);
}

static const struct db_statement insert = {"insert", "INSERT INTO test_tx VALUES ($1::integer)", 1};
static const struct db_statement count = {"count", "SELECT count(*) FROM test_tx", 0};

static int64_t counted(struct db *d)
{
	_cleanup_(db_result_freep) struct db_result *r = NULL;
	struct error e = {0};
	assert_int_equal(db_query(d, &count, NULL, &r, &e), 0);
	return db_int(r, 0, 0);
}

static void a_transaction_ends_with_its_scope(void **state _unused_)
{
	static const struct db_statement make = {"make", "CREATE TABLE test_tx (n integer PRIMARY KEY)", 0};
	_cleanup_(db_pool_freep) struct db_pool *p = open_pool((struct db_pool_options){0});
	_cleanup_(db_releasep) struct db *d = NULL;
	struct error e = {0};
	assert_int_equal(db_acquire(p, &d, &e), 0);
	assert_int_equal(db_query(d, &make, NULL, NULL, &e), 0);
	{
		_cleanup_(db_tx_end) struct db_tx tx = {0};
		assert_int_equal(db_tx_begin(d, &tx, &e), 0);
		assert_int_equal(db_query(d, &insert, (const char *[]){"1"}, NULL, &e), 0);
		assert_int_equal(counted(d), 1);
	}
	assert_int_equal(counted(d), 0);
	{
		_cleanup_(db_tx_end) struct db_tx tx = {0};
		assert_int_equal(db_tx_begin(d, &tx, &e), 0);
		assert_int_equal(db_query(d, &insert, (const char *[]){"1"}, NULL, &e), 0);
		assert_int_equal(db_tx_commit(&tx, &e), 0);
	}
	assert_int_equal(counted(d), 1);
	{
		_cleanup_(db_tx_end) struct db_tx tx = {0};
		assert_int_equal(db_tx_begin(d, &tx, &e), 0);
		assert_int_equal(db_query(d, &insert, (const char *[]){"2"}, NULL, &e), 0);
		assert_int_equal(db_query(d, &insert, (const char *[]){"1"}, NULL, &e), ERR_CONFLICT);
		assert_int_equal(db_tx_commit(&tx, &e), ERR_FATAL); /* it was rolled back, and says so */
	}
	assert_int_equal(counted(d), 1);
}

static void a_transaction_left_open_goes_when_the_connection_comes_back(void **state _unused_)
{
	_cleanup_(db_pool_freep) struct db_pool *p = open_pool((struct db_pool_options){.connections = 1});
	struct error e = {0};
	struct db *d = NULL;
	struct db_tx tx = {0};
	assert_int_equal(db_acquire(p, &d, &e), 0);
	assert_int_equal(db_tx_begin(d, &tx, &e), 0);
	assert_int_equal(db_query(d, &insert, (const char *[]){"3"}, NULL, &e), 0);
	db_release(d);
	assert_int_equal(db_acquire(p, &d, &e), 0);
	assert_int_equal(counted(d), 1);
	db_release(d);
}

static int64_t backend_of(struct db *d)
{
	static const struct db_statement st = {"backend", "SELECT pg_backend_pid()", 0};
	_cleanup_(db_result_freep) struct db_result *r = NULL;
	struct error e = {0};
	assert_int_equal(db_query(d, &st, NULL, &r, &e), 0);
	return db_int(r, 0, 0);
}

static void terminate(struct db_pool *p, int64_t backend)
{
	static const struct db_statement st = {"terminate", "SELECT pg_terminate_backend($1::integer, 5000)", 1};
	char text[DB_INT_BYTES];
	struct error e = {0};
	assert_int_equal(db_run(p, &st, (const char *[]){db_param_int(backend, text)}, NULL, &e), 0);
}

static void a_lost_connection_is_replaced(void **state _unused_)
{
	_cleanup_(db_pool_freep) struct db_pool *p = open_pool((struct db_pool_options){.connections = 1});
	_cleanup_(db_pool_freep) struct db_pool *killer = open_pool((struct db_pool_options){.connections = 1});
	struct error e = {0};
	struct db *d = NULL;
	/* in use: the statement fails, the next lease works */
	assert_int_equal(db_acquire(p, &d, &e), 0);
	terminate(killer, backend_of(d));
	assert_int_equal(db_query(d, &count, NULL, NULL, &e), ERR_RETRY);
	db_release(d);
	assert_int_equal(db_acquire(p, &d, &e), 0);
	int64_t second = backend_of(d);
	/* idle: nobody notices */
	db_release(d);
	terminate(killer, second);
	assert_int_equal(db_acquire(p, &d, &e), 0);
	assert_int_not_equal(backend_of(d), second);
	db_release(d);
	struct db_pool_stats stats;
	db_pool_stats(p, &stats);
	assert_int_equal(stats.connects, 3);
	assert_int_equal(stats.leased, 0);
}

static void a_slow_statement_ends_at_the_clients_limit(void **state _unused_)
{
	static const struct db_statement sleep10 = {"sleep10", "SELECT pg_sleep(10)", 0};
	_cleanup_(db_pool_freep) struct db_pool *p =
	    open_pool((struct db_pool_options){.connections = 1, .statement_ms = 300});
	struct error e = {0};
	int64_t begin = clock_monotonic_us();
	assert_int_equal(db_run(p, &sleep10, NULL, NULL, &e), ERR_RETRY);
	assert_in_range(clock_monotonic_us() - begin, 250000, 3000000);
	assert_int_equal(db_run(p, &count, NULL, NULL, &e), 0);
	/* in a transaction the server ends it before, and says so */
	struct db *d = NULL;
	struct db_tx tx = {0};
	assert_int_equal(db_acquire(p, &d, &e), 0);
	assert_int_equal(db_tx_begin(d, &tx, &e), 0);
	assert_int_equal(db_query(d, &sleep10, NULL, NULL, &e), ERR_RETRY);
	assert_string_equal(db_sqlstate(d), "57014");
	db_tx_end(&tx);
	db_release(d);
}

static void an_exhausted_pool_says_so_in_time(void **state _unused_)
{
	_cleanup_(db_pool_freep) struct db_pool *p =
	    open_pool((struct db_pool_options){.connections = 1, .acquire_ms = 200});
	struct error e = {0};
	struct db *d = NULL, *second = NULL;
	assert_int_equal(db_acquire(p, &d, &e), 0);
	int64_t begin = clock_monotonic_us();
	assert_int_equal(db_acquire(p, &second, &e), ERR_RETRY);
	assert_in_range(clock_monotonic_us() - begin, 190000, 2000000);
	assert_non_null(strstr(e.text, "in use"));
	db_release(d);
}

static void *release_later(void *arg)
{
	(void)usleep(100000);
	db_release(arg);
	return NULL;
}

static void a_waiter_gets_what_comes_back(void **state _unused_)
{
	_cleanup_(db_pool_freep) struct db_pool *p = open_pool((struct db_pool_options){.connections = 1});
	struct error e = {0};
	struct db *d = NULL;
	pthread_t thread;
	assert_int_equal(db_acquire(p, &d, &e), 0);
	assert_int_equal(thread_start(&thread, "release", release_later, d, &e), 0);
	struct db *second = NULL;
	assert_int_equal(db_acquire(p, &second, &e), 0);
	assert_int_equal(pthread_join(thread, NULL), 0);
	db_release(second);
}

static void an_unreachable_server_is_named(void **state _unused_)
{
	_cleanup_(db_pool_freep) struct db_pool *p =
	    open_pool((struct db_pool_options){.conninfo = "host=/nonexistent dbname=x", .acquire_ms = 500});
	struct error e = {0};
	struct db *d = NULL;
	assert_int_equal(db_acquire(p, &d, &e), ERR_RETRY);
	assert_non_null(strstr(e.text, "/nonexistent"));
	struct db_pool_stats stats;
	db_pool_stats(p, &stats);
	assert_false(stats.reachable);
	/* 0, 0.1, 0.3 s: with the backoff, not in a tight loop */
	assert_in_range(stats.connect_failures, 2, 4);
}

/* A server that stands still: the kernel takes connections for it, nobody answers. */
static int listen_silently(char *ret_conninfo, size_t n)
{
	struct sockaddr_in to = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t size = sizeof(to);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_true(fd >= 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&to, size), 0);
	assert_int_equal(listen(fd, 64), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&to, &size), 0);
	(void)snprintf(ret_conninfo, n, "host=localhost hostaddr=127.0.0.1 port=%d dbname=x", ntohs(to.sin_port));
	return fd;
}

static void *acquire_in_vain(void *arg)
{
	struct error e = {0};
	struct db *d = NULL;
	assert_int_equal(db_acquire(arg, &d, &e), ERR_RETRY);
	return NULL;
}

static void a_silent_server_is_not_waited_for(void **state _unused_)
{
	char conninfo[128];
	_cleanup_(closep) int fd = listen_silently(conninfo, sizeof(conninfo));
	_cleanup_(db_pool_freep) struct db_pool *p = open_pool((struct db_pool_options){
	    .conninfo = conninfo, .acquire_ms = 60000, .connect_ms = 2000, .silent_ms = 300, .fails_fast = true});
	struct error e = {0};
	struct db *d = NULL;
	pthread_t prober;
	assert_false(db_pool_is_silent(p));
	assert_int_equal(thread_start(&prober, "prober", acquire_in_vain, p, &e), 0);
	for (int i = 0; i < 1000 && !db_pool_is_silent(p); i++)
		(void)usleep(10000);
	assert_true(db_pool_is_silent(p));
	/* one tries to connect; whoever comes meanwhile is told at once */
	int64_t begin = clock_monotonic_us();
	assert_int_equal(db_acquire(p, &d, &e), ERR_RETRY);
	assert_in_range(clock_monotonic_us() - begin, 0, 1000000);
	assert_non_null(strstr(e.text, "answered nobody"));
	assert_int_equal(pthread_join(prober, NULL), 0);
	/* when nobody asks any more it is not known */
	for (int i = 0; i < 1000 && db_pool_is_silent(p); i++)
		(void)usleep(10000);
	assert_false(db_pool_is_silent(p));
}

static void *sleep_in_it(void *arg)
{
	static const struct db_statement sleep2 = {"sleep2", "SELECT pg_sleep(1.2)", 0};
	struct error e = {0};
	assert_int_equal(db_run(arg, &sleep2, NULL, NULL, &e), 0);
	return NULL;
}

static void a_slow_statement_is_no_silence(void **state _unused_)
{
	_cleanup_(db_pool_freep) struct db_pool *p =
	    open_pool((struct db_pool_options){.silent_ms = 500, .fails_fast = true});
	struct error e = {0};
	pthread_t sleeper;
	assert_int_equal(thread_start(&sleeper, "sleeper", sleep_in_it, p, &e), 0);
	bool was_silent = false;
	for (int i = 0; i < 10; i++) {
		assert_int_equal(db_run(p, &count, NULL, NULL, &e), 0);
		was_silent |= db_pool_is_silent(p);
		(void)usleep(100000);
	}
	assert_false(was_silent);
	/* alone it looks like one, until a new connection is answered */
	assert_int_equal(pthread_join(sleeper, NULL), 0);
	assert_int_equal(thread_start(&sleeper, "sleeper", sleep_in_it, p, &e), 0);
	for (int i = 0; i < 1000 && !db_pool_is_silent(p); i++)
		(void)usleep(10000);
	assert_int_equal(db_run(p, &count, NULL, NULL, &e), 0);
	assert_false(db_pool_is_silent(p));
	assert_int_equal(pthread_join(sleeper, NULL), 0);
}

static void renewed_connections_are_new(void **state _unused_)
{
	_cleanup_(db_pool_freep) struct db_pool *p = open_pool((struct db_pool_options){.connections = 1});
	struct error e = {0};
	struct db *d = NULL;
	assert_int_equal(db_acquire(p, &d, &e), 0);
	int64_t first = backend_of(d);
	db_pool_renew(p);
	assert_int_equal(backend_of(d), first); /* not under its user's feet */
	db_release(d);
	assert_int_equal(db_acquire(p, &d, &e), 0);
	assert_int_not_equal(backend_of(d), first);
	db_release(d);
}

static void services_see_their_functions_only(void **state _unused_)
{
	static const struct db_statement job = {"read_job", "SELECT count(*) FROM rushes.job", 0};
	static const struct db_statement gate = {"gate", "SELECT state FROM rushes.service_gate()", 0};
	_cleanup_(db_pool_freep) struct db_pool *p =
	    open_pool((struct db_pool_options){.conninfo = getenv("TEST_DATABASE_STORAGE_PUSHER")});
	struct error e = {0};
	assert_int_equal(db_run(p, &gate, NULL, NULL, &e), 0);
	assert_int_equal(db_run(p, &job, NULL, NULL, &e), ERR_DENIED);
	assert_int_equal(schema_version_check(p, &e), 0);
}

/* Migrations, in a database and a folder of their own. */

static char folder[64];
static char *target;

static void put(const char *name, const char *text)
{
	char path[160];
	(void)snprintf(path, sizeof(path), "%s/%s", folder, name);
	_cleanup_(fclosep) FILE *f = fopen(path, "w");
	assert_non_null(f);
	assert_true(fputs(text, f) >= 0);
}

static void drop(const char *name)
{
	char path[160];
	(void)snprintf(path, sizeof(path), "%s/%s", folder, name);
	assert_int_equal(unlink(path), 0);
}

struct seen {
	int applied, before;
};

static void on_step(void *arg, const struct migrate_step *step)
{
	struct seen *s = arg;
	s->applied += !step->applied_before;
	s->before += step->applied_before;
}

static int migrate(struct seen *ret, struct error *e)
{
	*ret = (struct seen){0};
	return migrate_run(target, folder, on_step, ret, e);
}

static void migrations_are_applied_once_and_never_change(void **state _unused_)
{
	static const struct db_statement make = {"make_database", "CREATE DATABASE migrations", 0};
	_cleanup_(db_pool_freep) struct db_pool *p = open_pool((struct db_pool_options){0});
	struct error e = {0};
	struct seen seen;
	assert_int_equal(db_run(p, &make, NULL, NULL, &e), 0);
	(void)snprintf(folder, sizeof(folder), "/tmp/rushes-migrate-XXXXXX");
	assert_non_null(mkdtemp(folder));
	assert_true(asprintf(&target, "%s dbname=migrations", superuser) > 0);

	_cleanup_(db_pool_freep) struct db_pool *q = open_pool((struct db_pool_options){.conninfo = target});
	assert_int_equal(schema_version_check(q, &e), ERR_FATAL); /* no schema yet */
	assert_int_equal(migrate(&seen, &e), ERR_NOTFOUND);	  /* an empty folder */

	put("0001_first.sql", "CREATE TABLE first (n integer);\nINSERT INTO first VALUES (1);\n");
	put("0002_second.sql", "ALTER TABLE first ADD m integer;\n");
	assert_int_equal(migrate(&seen, &e), 0);
	assert_int_equal(seen.applied, 2);
	assert_int_equal(migrate(&seen, &e), 0);
	assert_int_equal(seen.applied, 0);
	assert_int_equal(seen.before, 2);
	assert_int_equal(schema_version_check(q, &e), 0);

	/* a broken one leaves nothing of itself */
	put("0003_broken.sql", "CREATE TABLE third (n integer);\nSELECT 1/0;\n");
	assert_int_equal(migrate(&seen, &e), ERR_REJECT);
	put("0003_broken.sql", "CREATE TABLE third (n integer);\n");
	assert_int_equal(migrate(&seen, &e), 0);
	assert_int_equal(seen.applied, 1);

	put("0001_first.sql", "CREATE TABLE first (n bigint);\n");
	assert_int_equal(migrate(&seen, &e), ERR_CONFLICT);
	assert_non_null(strstr(e.text, "changed"));
	put("0001_first.sql", "CREATE TABLE first (n integer);\nINSERT INTO first VALUES (1);\n");
	drop("0003_broken.sql");
	assert_int_equal(migrate(&seen, &e), ERR_CONFLICT);
	assert_non_null(strstr(e.text, "no file"));
	put("0003_broken.sql", "CREATE TABLE third (n integer);\n");
	put("0005_fifth.sql", "SELECT 1;\n");
	assert_int_equal(migrate(&seen, &e), 0);
	put("0004_late.sql", "SELECT 1;\n");
	assert_int_equal(migrate(&seen, &e), ERR_CONFLICT);
	assert_non_null(strstr(e.text, "never applied"));
	drop("0004_late.sql");
	put("nonsense.sql", "SELECT 1;\n");
	assert_int_equal(migrate(&seen, &e), ERR_REJECT);
	drop("nonsense.sql");
	put("0006_commits.sql", "CREATE TABLE sixth (n integer); COMMIT;\n");
	assert_int_equal(migrate(&seen, &e), ERR_FATAL);
	static const char *const names[] = {"0001_first.sql", "0002_second.sql", "0003_broken.sql", "0005_fifth.sql",
					    "0006_commits.sql"};
	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		drop(names[i]);
	assert_int_equal(rmdir(folder), 0);
	free(target);
}

int main(void)
{
	superuser = getenv("TEST_SUPERUSER_DATABASE");
	if (!superuser) {
		(void)fprintf(stderr, "TEST_SUPERUSER_DATABASE is not set: started by modules.test.mjs\n");
		return 1;
	}
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(values_come_back),
	    cmocka_unit_test(errors_carry_class_and_state_but_no_value),
	    cmocka_unit_test(a_transaction_ends_with_its_scope),
	    cmocka_unit_test(a_transaction_left_open_goes_when_the_connection_comes_back),
	    cmocka_unit_test(a_lost_connection_is_replaced),
	    cmocka_unit_test(a_slow_statement_ends_at_the_clients_limit),
	    cmocka_unit_test(an_exhausted_pool_says_so_in_time),
	    cmocka_unit_test(a_waiter_gets_what_comes_back),
	    cmocka_unit_test(an_unreachable_server_is_named),
	    cmocka_unit_test(a_silent_server_is_not_waited_for),
	    cmocka_unit_test(a_slow_statement_is_no_silence),
	    cmocka_unit_test(renewed_connections_are_new),
	    cmocka_unit_test(services_see_their_functions_only),
	    cmocka_unit_test(migrations_are_applied_once_and_never_change),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
