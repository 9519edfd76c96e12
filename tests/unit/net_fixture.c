#include "net_fixture.h"

#include <arpa/inet.h>
#include <assert.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <poll.h>
#include <pthread.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

static void must(bool ok)
{
	if (ok)
		return;
	ERR_print_errors_fp(stderr);
	abort();
}

char *fixture_path(const char *folder, const char *file)
{
	char *path = NULL;
	must(asprintf(&path, "%s/%s", folder, file) > 0);
	return path;
}

static FILE *create(const char *folder, const char *name, const char *suffix)
{
	char path[512];
	(void)snprintf(path, sizeof(path), "%s/%s%s", folder, name, suffix);
	FILE *f = fopen(path, "we");
	must(f);
	return f;
}

static void add_extension(X509 *cert, X509 *issuer, int nid, const char *value)
{
	X509V3_CTX ctx;
	X509V3_set_ctx(&ctx, issuer, cert, NULL, NULL, 0);
	X509_EXTENSION *ext = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
	must(ext && X509_add_ext(cert, ext, -1) == 1);
	X509_EXTENSION_free(ext);
}

struct identity {
	X509 *cert;
	EVP_PKEY *key;
};

/* `by` NULL: signs itself, an authority. */
static struct identity issue(const char *folder, const char *name, const char *san, const struct identity *by)
{
	static long serial = 1;
	struct identity id = {.cert = X509_new(), .key = EVP_EC_gen("P-256")};
	must(id.cert && id.key);
	must(X509_set_version(id.cert, 2) == 1 && ASN1_INTEGER_set(X509_get_serialNumber(id.cert), serial++) == 1);
	must(X509_gmtime_adj(X509_getm_notBefore(id.cert), -3600) &&
	     X509_gmtime_adj(X509_getm_notAfter(id.cert), 86400));
	must(X509_set_pubkey(id.cert, id.key) == 1);
	X509_NAME *subject = X509_get_subject_name(id.cert);
	must(X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_ASC, (const unsigned char *)name, -1, -1, 0) == 1);
	X509 *issuer = by ? by->cert : id.cert;
	must(X509_set_issuer_name(id.cert, X509_get_subject_name(issuer)) == 1);
	add_extension(id.cert, issuer, NID_basic_constraints, by ? "critical,CA:FALSE" : "critical,CA:TRUE");
	if (by)
		add_extension(id.cert, issuer, NID_ext_key_usage, "serverAuth,clientAuth");
	if (san)
		add_extension(id.cert, issuer, NID_subject_alt_name, san);
	must(X509_sign(id.cert, by ? by->key : id.key, EVP_sha256()) > 0);
	FILE *f = create(folder, name, ".pem");
	must(PEM_write_X509(f, id.cert) == 1);
	(void)fclose(f);
	f = create(folder, name, ".key");
	must(PEM_write_PrivateKey(f, id.key, NULL, NULL, 0, NULL, NULL) == 1);
	(void)fclose(f);
	return id;
}

static void identity_done(struct identity id)
{
	X509_free(id.cert);
	EVP_PKEY_free(id.key);
}

char *fixture_certificates(void)
{
	char *folder = strdup("/tmp/rushes-net-XXXXXX");
	must(folder && mkdtemp(folder));
	struct identity ca = issue(folder, "ca", NULL, NULL);
	identity_done(issue(folder, "other-ca", NULL, NULL));
	identity_done(issue(folder, "server", "DNS:localhost,IP:127.0.0.1", &ca));
	identity_done(issue(folder, "client", "URI:rushes://eu1/transcoder/node-1,DNS:localhost", &ca));
	identity_done(issue(folder, "stranger", "DNS:localhost", &ca));
	identity_done(ca);
	return folder;
}

void fixture_remove(char *folder)
{
	static const char *const names[] = {"ca", "other-ca", "server", "client", "stranger"};
	char path[512];
	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		(void)snprintf(path, sizeof(path), "%s/%s.pem", folder, names[i]);
		(void)unlink(path);
		(void)snprintf(path, sizeof(path), "%s/%s.key", folder, names[i]);
		(void)unlink(path);
	}
	(void)rmdir(folder);
	free(folder);
}

static void *run(void *arg)
{
	loop_run(((struct fixture_server *)arg)->loop);
	return NULL;
}

struct fixture_server *fixture_start(struct http_server_options o)
{
	struct fixture_server *s = calloc(1, sizeof(*s));
	struct error e = {0};
	must(s && loop_new(&s->loop, &e) == 0 && pool_new(s->loop, "test", 2, 100, &s->pool, &e) == 0);
	o.address = "127.0.0.1:0";
	if (http_server_new(s->loop, &o, &s->http, &e) < 0) {
		(void)fprintf(stderr, "%s\n", e.text);
		abort();
	}
	s->port = http_server_port(s->http);
	must(pthread_create(&s->thread, NULL, run, s) == 0);
	return s;
}

void fixture_stop(struct fixture_server *s)
{
	loop_stop(s->loop);
	(void)pthread_join(s->thread, NULL);
	pool_free(s->pool);
	http_server_free(s->http);
	loop_free(s->loop);
	free(s);
}

struct call {
	loop_function *fn;
	void *arg;
	pthread_mutex_t lock;
	pthread_cond_t wake;
	bool done;
};

static void run_call(void *arg)
{
	struct call *c = arg;
	c->fn(c->arg);
	(void)pthread_mutex_lock(&c->lock);
	c->done = true;
	(void)pthread_cond_signal(&c->wake);
	(void)pthread_mutex_unlock(&c->lock);
}

void fixture_call(struct fixture_server *s, loop_function *fn, void *arg)
{
	struct call c = {.fn = fn, .arg = arg, .lock = PTHREAD_MUTEX_INITIALIZER, .wake = PTHREAD_COND_INITIALIZER};
	loop_post(s->loop, run_call, &c);
	(void)pthread_mutex_lock(&c.lock);
	while (!c.done)
		(void)pthread_cond_wait(&c.wake, &c.lock);
	(void)pthread_mutex_unlock(&c.lock);
}

static void set_drained(void *arg)
{
	atomic_store(&((struct fixture_server *)arg)->drained, true);
}

static void start_drain(void *arg)
{
	struct fixture_server *s = arg;
	http_server_drain(s->http, set_drained, s);
}

bool fixture_drain(struct fixture_server *s, int wait_ms)
{
	static const struct timespec pause = {.tv_nsec = 5000000};
	fixture_call(s, start_drain, s);
	for (int i = 0; i < wait_ms / 5 && !atomic_load(&s->drained); i++)
		(void)nanosleep(&pause, NULL);
	return atomic_load(&s->drained);
}

struct raw raw_connect(uint16_t port, struct tls_context *tls)
{
	struct raw c = {.fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)};
	struct sockaddr_in to = {.sin_family = AF_INET,
				 .sin_port = htons(port),
				 .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	must(c.fd >= 0 && connect(c.fd, (struct sockaddr *)&to, sizeof(to)) == 0);
	struct timeval limit = {.tv_sec = 10};
	must(setsockopt(c.fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit)) == 0);
	if (!tls)
		return c;
	c.ssl = tls_connect(tls, c.fd, "localhost");
	must(c.ssl);
	/* a refused certificate shows at the first read of TLS 1.3 */
	if (SSL_connect(c.ssl) != 1) {
		SSL_free(c.ssl);
		ERR_clear_error();
		(void)close(c.fd);
		return (struct raw){.fd = -1};
	}
	return c;
}

void raw_send(struct raw *c, const void *data, size_t n)
{
	for (size_t at = 0; at < n;) {
		ssize_t put = c->ssl ? SSL_write(c->ssl, (const char *)data + at, (int)(n - at))
				     : send(c->fd, (const char *)data + at, n - at, MSG_NOSIGNAL);
		if (put <= 0) {
			ERR_clear_error();
			return;
		}
		at += (size_t)put;
	}
}

void raw_text(struct raw *c, const char *text)
{
	raw_send(c, text, strlen(text));
}

ssize_t raw_read(struct raw *c, void *data, size_t n, int wait_ms)
{
	struct pollfd p = {.fd = c->fd, .events = POLLIN};
	if (!(c->ssl && SSL_has_pending(c->ssl)) && poll(&p, 1, wait_ms) <= 0)
		return -1;
	ssize_t got = c->ssl ? SSL_read(c->ssl, data, (int)n) : recv(c->fd, data, n, 0);
	ERR_clear_error();
	return got > 0 ? got : 0;
}

size_t raw_read_all(struct raw *c, char *data, size_t n, int wait_ms)
{
	size_t have = 0;
	ssize_t got;
	while (have + 1 < n && (got = raw_read(c, data + have, n - have - 1, wait_ms)) > 0)
		have += (size_t)got;
	data[have] = '\0';
	return have;
}

int raw_answer(struct raw *c, char *body, size_t n)
{
	char head[8192];
	size_t have = 0;
	while (have < sizeof(head) - 1) {
		if (raw_read(c, head + have, 1, 5000) <= 0)
			return 0;
		head[++have] = '\0';
		if (have >= 4 && strcmp(head + have - 4, "\r\n\r\n") == 0)
			break;
	}
	const char *length = strcasestr(head, "content-length:");
	size_t want = length ? strtoul(length + 15, NULL, 10) : 0;
	for (size_t i = 0; i < want; i++) {
		char byte;
		if (raw_read(c, &byte, 1, 5000) <= 0)
			return 0;
		if (body && i + 1 < n) {
			body[i] = byte;
			body[i + 1] = '\0';
		}
	}
	if (body && want == 0)
		body[0] = '\0';
	return (int)strtol(head + 9, NULL, 10);
}

void raw_close(struct raw *c)
{
	if (c->ssl)
		SSL_free(c->ssl);
	if (c->fd >= 0)
		(void)close(c->fd);
	*c = (struct raw){.fd = -1};
}

struct tls_context *fixture_client_tls(const char *folder, const char *name, const char *ca)
{
	char certificate[64], key[64];
	(void)snprintf(certificate, sizeof(certificate), "%s.pem", name ? name : "");
	(void)snprintf(key, sizeof(key), "%s.key", name ? name : "");
	_cleanup_(freep) char *c = name ? fixture_path(folder, certificate) : NULL;
	_cleanup_(freep) char *k = name ? fixture_path(folder, key) : NULL;
	_cleanup_(freep) char *a = fixture_path(folder, ca);
	struct tls_context *t = NULL;
	must(tls_client_new(&(struct tls_settings){c, k, a}, &t, NULL) == 0);
	return t;
}
