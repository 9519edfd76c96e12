#include "store/redis_internal.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#define BACKOFF_MIN_MS 100
#define BACKOFF_MAX_MS 2000
#define CONNECT_MS     2000
#define HOST_BYTES     256

static void on_event(evutil_socket_t fd, short what, void *arg);

/* "host:port" or "[::1]:port". */
static bool split_address(const char *address, char host[HOST_BYTES], char port[8])
{
	const char *colon = strrchr(address, ':');
	if (!colon || strlen(colon + 1) == 0 || strlen(colon + 1) > 5)
		return false;
	size_t n = (size_t)(colon - address);
	if (n >= 2 && address[0] == '[' && address[n - 1] == ']') {
		address++;
		n -= 2;
	}
	if (n == 0 || n >= HOST_BYTES)
		return false;
	memcpy(host, address, n);
	host[n] = '\0';
	(void)snprintf(port, 8, "%s", colon + 1);
	return true;
}

static int open_socket(const struct sockaddr *address, socklen_t n)
{
	int fd = socket(address->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -1;
	int one = 1;
	if (address->sa_family != AF_UNIX)
		(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	if (connect(fd, address, n) < 0 && errno != EINPROGRESS) {
		(void)close(fd);
		return -1;
	}
	return fd;
}

static int open_unix(const char *path)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	if (strlen(path) >= sizeof(address.sun_path))
		return -1;
	(void)snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
	return open_socket((const struct sockaddr *)&address, sizeof(address));
}

static int open_tcp(const char *host, const char *port)
{
	struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
	struct addrinfo *found = NULL;
	int fd = -1;
	if (getaddrinfo(host, port, &hints, &found) != 0)
		return -1;
	for (const struct addrinfo *a = found; a && fd < 0; a = a->ai_next)
		fd = open_socket(a->ai_addr, a->ai_addrlen);
	freeaddrinfo(found);
	return fd;
}

static SSL *make_tls(const struct redis *r, const char *host)
{
	SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
	if (!ctx)
		return NULL;
	SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER, NULL);
	(void)SSL_CTX_set_mode(ctx, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
	bool ok = SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION) == 1 &&
		  SSL_CTX_load_verify_locations(ctx, r->ca, NULL) == 1;
	if (ok && r->certificate && *r->certificate)
		ok = SSL_CTX_use_certificate_chain_file(ctx, r->certificate) == 1 &&
		     SSL_CTX_use_PrivateKey_file(ctx, r->key, SSL_FILETYPE_PEM) == 1;
	SSL *ssl = ok ? SSL_new(ctx) : NULL;
	SSL_CTX_free(ctx);
	struct in6_addr numeric;
	bool is_ip = inet_pton(AF_INET, host, &numeric) == 1 || inet_pton(AF_INET6, host, &numeric) == 1;
	if (ssl && (is_ip ? X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl), host) != 1
			  : SSL_set1_host(ssl, host) != 1 || SSL_set_tlsext_host_name(ssl, host) != 1)) {
		SSL_free(ssl);
		ssl = NULL;
	}
	ERR_clear_error();
	return ssl;
}

static bool open_connection(struct redis *r)
{
	if (strncmp(r->address, "unix:", 5) == 0) {
		r->fd = open_unix(r->address + 5);
		return r->fd >= 0;
	}
	char host[HOST_BYTES], port[8];
	if (!split_address(r->address, host, port))
		return false;
	r->ssl = make_tls(r, host);
	r->fd = r->ssl ? open_tcp(host, port) : -1;
	if (r->fd < 0 || SSL_set_fd(r->ssl, r->fd) != 1)
		return false;
	SSL_set_connect_state(r->ssl);
	return true;
}

void redis_connect(struct redis *r)
{
	r->state = REDIS_CONNECTING;
	r->reader = redisReaderCreate();
	bool ok = r->reader && open_connection(r);
	if (ok) {
		r->readable = event_new(loop_base(r->loop), r->fd, EV_READ | EV_PERSIST, on_event, r);
		r->writable = event_new(loop_base(r->loop), r->fd, EV_WRITE, on_event, r);
		ok = r->readable && r->writable && event_add(r->readable, NULL) == 0 &&
		     event_add(r->writable, NULL) == 0;
	}
	if (!ok) {
		redis_disconnect(r);
		return;
	}
	loop_timer_set(r->limit, CONNECT_MS);
}

void redis_disconnect(struct redis *r)
{
	if (r->readable)
		event_free(r->readable);
	if (r->writable)
		event_free(r->writable);
	r->readable = r->writable = NULL;
	SSL_free(r->ssl);
	r->ssl = NULL;
	if (r->fd >= 0)
		(void)close(r->fd);
	r->fd = -1;
	if (r->reader)
		redisReaderFree(r->reader);
	r->reader = NULL;
	buffer_clear(&r->out);
	r->state = REDIS_DOWN;
	r->stats.connected = false;
	loop_timer_cancel(r->limit);
	redis_end_calls(r);
	if (r->closing)
		return;
	loop_timer_set(r->again, r->backoff_ms ? r->backoff_ms : BACKOFF_MIN_MS);
	r->backoff_ms = r->backoff_ms ? MIN(2 * r->backoff_ms, BACKOFF_MAX_MS) : 2 * BACKOFF_MIN_MS;
}

/* What an I/O step of TLS or of a plain socket came to: bytes, or one of these. */
enum { IO_WAIT_READ = 0, IO_WAIT_WRITE = -1, IO_END = -2 };

static int tls_outcome(struct redis *r, int n)
{
	int why = SSL_get_error(r->ssl, n);
	ERR_clear_error();
	if (why == SSL_ERROR_WANT_READ)
		return IO_WAIT_READ;
	return why == SSL_ERROR_WANT_WRITE ? IO_WAIT_WRITE : IO_END;
}

static int io_read(struct redis *r, void *data, int n)
{
	if (r->ssl) {
		int k = SSL_read(r->ssl, data, n);
		return k > 0 ? k : tls_outcome(r, k);
	}
	ssize_t k = read(r->fd, data, (size_t)n);
	if (k > 0)
		return (int)k;
	return k < 0 && (errno == EAGAIN || errno == EINTR) ? IO_WAIT_READ : IO_END;
}

static int io_write(struct redis *r, const void *data, int n)
{
	if (r->ssl) {
		int k = SSL_write(r->ssl, data, n);
		return k > 0 ? k : tls_outcome(r, k);
	}
	ssize_t k = send(r->fd, data, (size_t)n, MSG_NOSIGNAL);
	if (k > 0)
		return (int)k;
	return k < 0 && (errno == EAGAIN || errno == EINTR) ? IO_WAIT_WRITE : IO_END;
}

/* False: the connection is over. */
static bool write_out(struct redis *r)
{
	while (r->out.size > 0) {
		int n = io_write(r, r->out.data, (int)MIN(r->out.size, (size_t)16384));
		if (n == IO_WAIT_WRITE)
			return event_add(r->writable, NULL) == 0;
		if (n <= 0)
			return n == IO_WAIT_READ;
		buffer_consume(&r->out, (size_t)n);
	}
	return true;
}

static bool read_in(struct redis *r)
{
	char data[16384];
	for (;;) {
		int n = io_read(r, data, sizeof(data));
		if (n == IO_WAIT_WRITE)
			return event_add(r->writable, NULL) == 0;
		if (n <= 0)
			return n == IO_WAIT_READ;
		if (redisReaderFeed(r->reader, data, (size_t)n) != REDIS_OK || !redis_on_replies(r))
			return false;
	}
}

static bool advance(struct redis *r)
{
	if (r->state == REDIS_CONNECTING) {
		int error = 0;
		socklen_t n = sizeof(error);
		if (getsockopt(r->fd, SOL_SOCKET, SO_ERROR, &error, &n) < 0 || error != 0)
			return false;
		r->state = REDIS_HANDSHAKE;
	}
	if (r->state == REDIS_HANDSHAKE) {
		int n = r->ssl ? SSL_do_handshake(r->ssl) : 1;
		if (n != 1) {
			int outcome = tls_outcome(r, n);
			if (outcome == IO_WAIT_WRITE)
				return event_add(r->writable, NULL) == 0;
			return outcome == IO_WAIT_READ;
		}
		r->state = REDIS_LOGIN;
		redis_on_connected(r);
	}
	return read_in(r) && write_out(r);
}

static void on_event(evutil_socket_t fd _unused_, short what _unused_, void *arg)
{
	struct redis *r = arg;
	if (!advance(r))
		redis_disconnect(r);
}

/* Not at once: redis_disconnect() would call back from within the caller's own call. */
void redis_flush(struct redis *r)
{
	if (r->writable)
		(void)event_add(r->writable, NULL);
}
