/* with: tests/unit/net_fixture.c */
/* Peers prove who they are by their certificates, and a bad reload keeps the old ones. */
#include "net_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

static void get_peer(struct http_request *r, void *arg _unused_)
{
	const struct tls_identity *id = http_request_peer(r);
	char text[256] = "none";
	if (id)
		(void)snprintf(text, sizeof(text), "%s/%s/%s", id->region, id->service, id->name);
	(void)http_respond(r, 200, "text/plain", text, strlen(text));
}

static const struct http_route routes[] = {
    {"GET", "/peer", get_peer, HTTP_BODY_NONE, 0},
    {0},
};

static int ask_peer(uint16_t port, struct tls_context *tls, char *body, size_t n)
{
	struct raw c = raw_connect(port, tls);
	if (c.fd < 0)
		return -1;
	raw_text(&c, "GET /peer HTTP/1.1\r\nHost: localhost\r\n\r\n");
	int status = raw_answer(&c, body, n);
	raw_close(&c);
	return status;
}

static void test_peers_prove_who_they_are(void **state _unused_)
{
	char *folder = fixture_certificates();
	_cleanup_(freep) char *certificate = fixture_path(folder, "server.pem"),
			      *key = fixture_path(folder, "server.key");
	_cleanup_(freep) char *ca = fixture_path(folder, "ca.pem");
	struct tls_context *server = NULL;
	assert_int_equal(tls_server_new(&(struct tls_settings){certificate, key, ca}, &server, NULL), 0);
	assert_true(tls_expires(server) > time(NULL) + 80000);
	struct fixture_server *s = fixture_start((struct http_server_options){.routes = routes, .tls = server});
	struct tls_context *good = fixture_client_tls(folder, "client", "ca.pem"),
			   *nobody = fixture_client_tls(folder, NULL, "ca.pem");
	struct tls_context *stranger = fixture_client_tls(folder, "stranger", "ca.pem");
	struct tls_context *other = fixture_client_tls(folder, "client", "other-ca.pem");
	char body[256];
	assert_int_equal(ask_peer(s->port, good, body, sizeof(body)), 200);
	assert_string_equal(body, "eu1/transcoder/node-1");
	assert_int_equal(ask_peer(s->port, stranger, body, sizeof(body)), 200);
	assert_string_equal(body, "none");
	assert_true(ask_peer(s->port, nobody, body, sizeof(body)) <= 0);
	assert_int_equal(ask_peer(s->port, other, body, sizeof(body)), -1);
	/* a bad file keeps what was there */
	struct error e = {0};
	FILE *f = fopen(key, "we");
	assert_non_null(f);
	assert_int_equal(fclose(f), 0);
	assert_int_equal(tls_reload(server, &e), ERR_FATAL);
	assert_non_null(strstr(e.text, "server.key"));
	assert_int_equal(ask_peer(s->port, good, body, sizeof(body)), 200);
	fixture_stop(s);
	tls_free(server);
	tls_free(good);
	tls_free(nobody);
	tls_free(stranger);
	tls_free(other);
	fixture_remove(folder);
}

static void test_identities(void **state _unused_)
{
	static const char *const bad[] = {"rushes://eu1/ingest",     "rushes://eu1/ingest/",	"rushes:///ingest/a",
					  "http://eu1/ingest/a",     "rushes://eu1/ingest/a/b", "rushes://EU1/ingest/a",
					  "rushes://eu1/ingest/a?b", "rushes://eu1/ing est/a",	""};
	struct tls_identity id;
	const char *good = "rushes://eu1/storage-pusher/018f-a.b";
	assert_true(tls_identity_parse(good, strlen(good), &id));
	assert_string_equal(id.service, "storage-pusher");
	assert_string_equal(id.name, "018f-a.b");
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		assert_false(tls_identity_parse(bad[i], strlen(bad[i]), &id));
	assert_false(tls_identity_parse("rushes://eu1/ingest/a\0b", 23, &id));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_peers_prove_who_they_are),
	    cmocka_unit_test(test_identities),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
