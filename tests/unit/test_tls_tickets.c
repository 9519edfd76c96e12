/* with: tests/unit/net_fixture.c */
/* A client that comes back need not shake hands in full, for a while, unless it has to prove who it is. */
#include "base/clock.h"
#include "net/tls_tickets.h"
#include "net_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#define START_US (INT64_C(1792648800) * 1000000)

struct pair {
	char *folder;
	struct tls_context *server, *client;
};

static struct pair pair_new(bool verifies_clients)
{
	struct pair p = {.folder = fixture_certificates()};
	_cleanup_(freep) char *certificate = fixture_path(p.folder, "server.pem"),
			      *key = fixture_path(p.folder, "server.key"), *ca = fixture_path(p.folder, "ca.pem");
	const struct tls_settings settings = {certificate, key, verifies_clients ? ca : NULL};
	assert_int_equal(tls_server_new(&settings, &p.server, NULL), 0);
	p.client = fixture_client_tls(p.folder, "client", "ca.pem");
	return p;
}

static void pair_free(struct pair *p)
{
	tls_free(p->server);
	tls_free(p->client);
	fixture_remove(p->folder);
}

/* One connection by `*session` (NULL: none), which becomes what the connection gave. Returns whether it was resumed. */
static bool connect_once(struct pair *p, int version, SSL_SESSION **session)
{
	int fds[2];
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds), 0);
	SSL *server = tls_accept(p->server, fds[0]), *client = tls_connect(p->client, fds[1], "localhost");
	assert_true(server && client);
	assert_int_equal(SSL_set_max_proto_version(client, version), 1);
	if (*session)
		assert_int_equal(SSL_set_session(client, *session), 1);
	for (int turn = 0; turn < 20 && !(SSL_is_init_finished(server) && SSL_is_init_finished(client)); turn++) {
		(void)SSL_do_handshake(client);
		(void)SSL_do_handshake(server);
	}
	assert_true(SSL_is_init_finished(server) && SSL_is_init_finished(client));
	/* the ticket of TLS 1.3 comes with the first bytes */
	char byte = 'x';
	assert_int_equal(SSL_write(server, &byte, 1), 1);
	assert_int_equal(SSL_read(client, &byte, 1), 1);
	bool resumed = SSL_session_reused(client);
	assert_int_equal(SSL_session_reused(server), resumed);
	SSL_SESSION_free(*session);
	*session = SSL_get1_session(client);
	/* without its end, OpenSSL would call the session broken */
	(void)SSL_shutdown(client);
	SSL_free(client);
	SSL_free(server);
	(void)close(fds[0]);
	(void)close(fds[1]);
	return resumed;
}

static void advance_ms(int64_t ms)
{
	clock_virtual_advance(ms * 1000);
}

static void test_a_client_resumes(void **state _unused_)
{
	static const int versions[] = {TLS1_2_VERSION, TLS1_3_VERSION};
	struct pair p = pair_new(false);
	for (size_t i = 0; i < ARRAY_SIZE(versions); i++) {
		SSL_SESSION *session = NULL;
		assert_false(connect_once(&p, versions[i], &session));
		for (int again = 0; again < 4; again++) {
			const SSL_SESSION *before = session;
			assert_true(connect_once(&p, versions[i], &session));
			/* a ticket of TLS 1.3 is used once */
			assert_int_equal(session != before, versions[i] == TLS1_3_VERSION);
		}
		assert_true(SSL_SESSION_get_ticket_lifetime_hint(session) <= TLS_TICKET_LIFETIME_S);
		SSL_SESSION_free(session);
	}
	pair_free(&p);
}

static void test_keys_rotate(void **state _unused_)
{
	clock_virtual_set(START_US);
	struct pair p = pair_new(false);
	SSL_SESSION *first = NULL, *later = NULL;
	assert_false(connect_once(&p, TLS1_3_VERSION, &first));
	assert_int_equal(SSL_SESSION_up_ref(first), 1);
	later = first;
	/* another key makes tickets, the one before still opens them, and gives a new one */
	advance_ms(TLS_TICKET_ROTATION_MS);
	assert_true(connect_once(&p, TLS1_3_VERSION, &later));
	/* the first key is gone, the second is not */
	advance_ms(TLS_TICKET_ROTATION_MS);
	assert_true(connect_once(&p, TLS1_3_VERSION, &later));
	assert_false(connect_once(&p, TLS1_3_VERSION, &first));
	/* nobody came for a long time: no key is left from then */
	advance_ms(2 * (int64_t)TLS_TICKET_ROTATION_MS);
	assert_false(connect_once(&p, TLS1_3_VERSION, &later));
	SSL_SESSION_free(first);
	SSL_SESSION_free(later);
	pair_free(&p);
	clock_virtual_off();
}

static void test_a_reload_begins_anew(void **state _unused_)
{
	struct pair p = pair_new(false);
	SSL_SESSION *session = NULL;
	assert_false(connect_once(&p, TLS1_3_VERSION, &session));
	assert_int_equal(tls_reload(p.server, NULL), 0);
	assert_false(connect_once(&p, TLS1_3_VERSION, &session));
	assert_true(connect_once(&p, TLS1_3_VERSION, &session));
	SSL_SESSION_free(session);
	pair_free(&p);
}

static void test_peers_prove_themselves_each_time(void **state _unused_)
{
	static const int versions[] = {TLS1_2_VERSION, TLS1_3_VERSION};
	struct pair p = pair_new(true);
	for (size_t i = 0; i < ARRAY_SIZE(versions); i++) {
		SSL_SESSION *session = NULL;
		assert_false(connect_once(&p, versions[i], &session));
		assert_false(connect_once(&p, versions[i], &session));
		SSL_SESSION_free(session);
	}
	pair_free(&p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_a_client_resumes),
	    cmocka_unit_test(test_keys_rotate),
	    cmocka_unit_test(test_a_reload_begins_anew),
	    cmocka_unit_test(test_peers_prove_themselves_each_time),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
