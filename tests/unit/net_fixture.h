/* Certificates, a server on its own thread and raw clients, for the tests of libcommon/net. */
#ifndef RUSHES_TESTS_NET_FIXTURE_H
#define RUSHES_TESTS_NET_FIXTURE_H

#include "net/http.h"

#include <pthread.h>
#include <stdatomic.h>

/* Makes a folder with ca.pem and, signed by it, <name>.pem and <name>.key for "server" (DNS:localhost, IP:127.0.0.1),
 * "client" (URI rushes://eu1/transcoder/node-1), "stranger" (no URI); and "other-ca.pem". Aborts on failure. */
char *fixture_certificates(void);
void fixture_remove(char *folder);
/* "<folder>/<file>", to be freed. */
char *fixture_path(const char *folder, const char *file);

struct fixture_server {
	struct loop *loop;
	struct pool *pool;
	struct http_server *http;
	pthread_t thread;
	uint16_t port;
	_Atomic bool drained;
};

/* Starts a server on a free loopback port; options' address is filled in. */
struct fixture_server *fixture_start(struct http_server_options o);
void fixture_stop(struct fixture_server *s);
/* Drains and waits for the end of it, up to 10 s. False when it does not come. */
bool fixture_drain(struct fixture_server *s, int wait_ms);
/* Runs fn(arg) on the server's loop and waits for it. */
void fixture_call(struct fixture_server *s, loop_function *fn, void *arg);

/* A blocking client. Reads give up after 10 s. */
struct raw {
	int fd;
	SSL *ssl;
};

struct raw raw_connect(uint16_t port, struct tls_context *tls); /* tls NULL: plain; aborts unless connected */
void raw_send(struct raw *c, const void *data, size_t n);
void raw_text(struct raw *c, const char *text);
/* Up to n bytes: their number, 0 at an orderly or abrupt end, -1 after `wait_ms` of nothing. */
ssize_t raw_read(struct raw *c, void *data, size_t n, int wait_ms);
/* Everything until the end, or until `wait_ms` of nothing; ended by a NUL. */
size_t raw_read_all(struct raw *c, char *data, size_t n, int wait_ms);
/* Reads one answer with a content length: its status, 0 when the connection ended. `body` may be NULL. */
int raw_answer(struct raw *c, char *body, size_t n);
void raw_close(struct raw *c);

/* A client's context with the identity `name` of fixture_certificates(), or none for NULL, that trusts the file `ca`.
 * The caller's. */
struct tls_context *fixture_client_tls(const char *folder, const char *name, const char *ca);

#endif
