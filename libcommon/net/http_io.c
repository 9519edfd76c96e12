#include "net/http_internal.h"

#include <errno.h>
#include <openssl/err.h>
#include <sys/socket.h>

/* What an SSL call's result means; reading that has to write first is remembered for the events. */
static enum http_io ssl_result(struct http_connection *c, int result)
{
	int why = SSL_get_error(c->ssl, result);
	ERR_clear_error();
	c->read_wants_write = false;
	switch (why) {
	case SSL_ERROR_WANT_READ:
		return HTTP_IO_AGAIN;
	case SSL_ERROR_WANT_WRITE:
		c->read_wants_write = true;
		return HTTP_IO_AGAIN;
	case SSL_ERROR_ZERO_RETURN:
		return HTTP_IO_EOF;
	default:
		return HTTP_IO_BROKEN;
	}
}

enum http_io http_io_handshake(struct http_connection *c)
{
	ERR_clear_error();
	int n = SSL_do_handshake(c->ssl);
	if (n == 1) {
		c->read_wants_write = false;
		return HTTP_IO_OK;
	}
	enum http_io result = ssl_result(c, n);
	return result == HTTP_IO_EOF ? HTTP_IO_BROKEN : result;
}

enum http_io http_io_read(struct http_connection *c, char *data, size_t n, size_t *ret_n)
{
	if (c->ssl) {
		ERR_clear_error();
		int got = SSL_read_ex(c->ssl, data, n, ret_n);
		if (got == 1) {
			c->read_wants_write = false;
			return HTTP_IO_OK;
		}
		return ssl_result(c, got);
	}
	ssize_t got;
	do
		got = recv(c->fd, data, n, 0);
	while (got < 0 && errno == EINTR);
	if (got > 0) {
		*ret_n = (size_t)got;
		return HTTP_IO_OK;
	}
	if (got == 0)
		return HTTP_IO_EOF;
	return errno == EAGAIN ? HTTP_IO_AGAIN : HTTP_IO_BROKEN;
}

enum http_io http_io_write(struct http_connection *c, const char *data, size_t n, size_t *ret_n)
{
	if (c->ssl) {
		ERR_clear_error();
		bool wants = c->read_wants_write;
		int put = SSL_write_ex(c->ssl, data, n, ret_n);
		if (put == 1)
			return HTTP_IO_OK;
		enum http_io result = ssl_result(c, put);
		/* a write that waits for the socket says nothing about reading */
		c->read_wants_write = wants;
		return result == HTTP_IO_EOF ? HTTP_IO_BROKEN : result;
	}
	ssize_t put;
	do
		put = send(c->fd, data, n, MSG_NOSIGNAL);
	while (put < 0 && errno == EINTR);
	if (put >= 0) {
		*ret_n = (size_t)put;
		return HTTP_IO_OK;
	}
	return errno == EAGAIN ? HTTP_IO_AGAIN : HTTP_IO_BROKEN;
}

void http_io_shutdown(struct http_connection *c)
{
	if (c->ssl) {
		ERR_clear_error();
		(void)SSL_shutdown(c->ssl);
		ERR_clear_error();
	}
	(void)shutdown(c->fd, SHUT_WR);
}

void http_io_close(struct http_connection *c)
{
	if (c->ssl) {
		SSL_free(c->ssl);
		ERR_clear_error();
		c->ssl = NULL;
	}
	if (c->fd >= 0)
		(void)close(c->fd);
	c->fd = -1;
}
