#include "load.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

/* One TLS record. */
#define RECORD_BYTES 16384
/* Records of one connection before the others get their turn. */
#define RECORDS_PER_TURN 64

static void watch(struct peer *p, bool write)
{
	struct epoll_event e = {.events = EPOLLIN | (write ? EPOLLOUT : 0), .data.ptr = p};
	if (p->wants_write != write)
		(void)epoll_ctl(p->load->epoll, EPOLL_CTL_MOD, p->fd, &e);
	p->wants_write = write;
}

static void close_peer(struct peer *p)
{
	SSL_free(p->ssl);
	p->ssl = NULL;
	if (p->fd >= 0)
		(void)close(p->fd);
	p->fd = -1;
}

void peer_fail(struct peer *p, const char *format, ...)
{
	struct load *l = p->load;
	if (p->state == PEER_DONE || p->state == PEER_FAILED)
		return;
	if (!l->failure[0]) {
		va_list args;
		va_start(args, format);
		(void)vsnprintf(l->failure, sizeof(l->failure), format, args);
		va_end(args);
	}
	p->state = PEER_FAILED;
	l->failed++;
	close_peer(p);
}

void peer_done(struct peer *p)
{
	p->state = PEER_DONE;
	p->load->done++;
	(void)SSL_shutdown(p->ssl);
	close_peer(p);
}

void peer_set_ready(struct peer *p)
{
	p->state = PEER_READY;
	p->load->ready++;
}

bool peer_is_idle(const struct peer *p)
{
	return p->head_at == p->head_n && p->body_at == p->body_n;
}

static int new_socket(struct load *l, int flags)
{
	int fd = socket(l->address.ss_family, SOCK_STREAM | SOCK_CLOEXEC | flags, 0), one = 1;
	if (fd >= 0)
		(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	return fd;
}

static SSL *new_tls(struct load *l, int fd)
{
	SSL *ssl = SSL_new(l->ctx);
	if (!ssl || SSL_set_fd(ssl, fd) != 1 || SSL_set_tlsext_host_name(ssl, l->o.name) != 1 ||
	    SSL_set1_host(ssl, l->o.name) != 1) {
		SSL_free(ssl);
		return NULL;
	}
	SSL_set_connect_state(ssl);
	return ssl;
}

void peer_open(struct peer *p)
{
	struct load *l = p->load;
	p->state = PEER_CONNECTING;
	p->fd = new_socket(l, SOCK_NONBLOCK);
	struct epoll_event e = {.events = EPOLLIN | EPOLLOUT, .data.ptr = p};
	p->wants_write = true;
	if (p->fd < 0 || !(p->ssl = new_tls(l, p->fd)) ||
	    (connect(p->fd, (struct sockaddr *)&l->address, l->address_n) < 0 && errno != EINPROGRESS) ||
	    epoll_ctl(l->epoll, EPOLL_CTL_ADD, p->fd, &e) < 0)
		peer_fail(p, "cannot connect: %s", strerror(errno));
}

SSL *peer_connect_blocking(struct load *l, SSL_SESSION *session, char *why, size_t why_n)
{
	int fd = new_socket(l, 0);
	SSL *ssl = fd >= 0 && connect(fd, (struct sockaddr *)&l->address, l->address_n) == 0 ? new_tls(l, fd) : NULL;
	if (ssl && session)
		(void)SSL_set_session(ssl, session);
	if (ssl && SSL_do_handshake(ssl) == 1)
		return ssl;
	(void)snprintf(why, why_n, "handshake: %s", ssl ? "refused" : strerror(errno));
	SSL_free(ssl);
	if (fd >= 0)
		(void)close(fd);
	return NULL;
}

static bool tls_again(struct peer *p, int result, const char *doing)
{
	switch (SSL_get_error(p->ssl, result)) {
	case SSL_ERROR_WANT_READ:
		return true;
	case SSL_ERROR_WANT_WRITE:
		watch(p, true);
		return true;
	case SSL_ERROR_ZERO_RETURN:
		peer_fail(p, "stream %u: the server closed while %s", p->number, doing);
		return false;
	default:
		peer_fail(p, "stream %u: the connection broke while %s (state %d)", p->number, doing, (int)p->state);
		return false;
	}
}

/* The next record is put together anew at each try, so that a connection needs no buffer of its own. */
static size_t compose(const struct peer *p, const uint8_t **ret)
{
	static uint8_t stage[RECORD_BYTES];
	size_t head = p->head_n - p->head_at, body = p->body_n - p->body_at;
	const uint8_t *from = p->load->payload + p->body_at;
	if (head == 0) {
		*ret = from;
		return body < RECORD_BYTES ? body : RECORD_BYTES;
	}
	size_t with = body < RECORD_BYTES - head ? body : RECORD_BYTES - head;
	memcpy(stage, p->head + p->head_at, head);
	memcpy(stage + head, from, with);
	*ret = stage;
	return head + with;
}

static void count_out(struct peer *p, size_t n)
{
	size_t head = p->head_n - p->head_at;
	if (n < head) {
		p->head_at += n;
		return;
	}
	p->head_at = p->head_n;
	p->body_at += n - head;
	p->load->body_bytes += n - head;
}

void peer_flush(struct peer *p)
{
	for (unsigned records = 0; records < RECORDS_PER_TURN; records++) {
		if (peer_is_idle(p)) {
			watch(p, false);
			p->load->protocol->sent(p);
			if (p->state == PEER_DONE || p->state == PEER_FAILED || peer_is_idle(p))
				return;
		}
		const uint8_t *data;
		size_t n = compose(p, &data), put = 0;
		int result = SSL_write_ex(p->ssl, data, n, &put);
		if (result != 1) {
			(void)tls_again(p, result, "sending");
			return;
		}
		count_out(p, put);
	}
	watch(p, true);
}

static void read_all(struct peer *p)
{
	while (p->state != PEER_DONE && p->state != PEER_FAILED) {
		size_t got = 0;
		int result = SSL_read_ex(p->ssl, p->in + p->in_n, IN_BYTES - p->in_n, &got);
		if (result != 1) {
			(void)tls_again(p, result, "reading");
			return;
		}
		p->in_n += got;
		for (size_t used = 1; used > 0 && p->in_n > 0;) {
			used = p->load->protocol->received(p, p->in, p->in_n);
			if (p->state == PEER_DONE || p->state == PEER_FAILED)
				return;
			memmove(p->in, p->in + used, p->in_n - used);
			p->in_n -= used;
		}
		if (p->in_n == IN_BYTES)
			peer_fail(p, "stream %u: an answer is too long", p->number);
	}
}

static void handshake(struct peer *p)
{
	int result = SSL_do_handshake(p->ssl);
	if (result != 1) {
		watch(p, false);
		(void)tls_again(p, result, "shaking hands");
		return;
	}
	p->state = PEER_OPENING;
	p->load->protocol->begin(p);
	if (p->state == PEER_OPENING)
		peer_flush(p);
}

void peer_event(struct peer *p, uint32_t events)
{
	if (p->state == PEER_CONNECTING) {
		int error = 0;
		socklen_t n = sizeof(error);
		if (getsockopt(p->fd, SOL_SOCKET, SO_ERROR, &error, &n) < 0 || error != 0) {
			peer_fail(p, "cannot connect: %s", strerror(error));
			return;
		}
		p->state = PEER_TLS;
	}
	if (p->state == PEER_TLS)
		handshake(p);
	if (p->state <= PEER_TLS)
		return;
	if ((events & (EPOLLIN | EPOLLHUP | EPOLLERR)) && p->state < PEER_DONE)
		read_all(p);
	if (p->state < PEER_DONE && ((events & EPOLLOUT) || !peer_is_idle(p)))
		peer_flush(p);
}
