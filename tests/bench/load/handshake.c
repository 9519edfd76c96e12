#include "load.h"

#include <stdio.h>
#include <unistd.h>

static SSL_SESSION *latest; /* what the server's last ticket gave */

static int on_session(SSL *ssl, SSL_SESSION *session)
{
	(void)ssl;
	SSL_SESSION_free(latest);
	latest = session;
	return 1;
}

/* A ticket comes behind the handshake, so the first bytes of an answer are read as well. */
static bool once(struct load *l, SSL_SESSION *session, bool *ret_resumed)
{
	SSL *ssl = peer_connect_blocking(l, session, l->failure, sizeof(l->failure));
	if (!ssl)
		return false;
	char request[256], answer[512];
	int n = snprintf(request, sizeof(request), "GET /bench HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n",
			 l->o.name);
	bool ok = SSL_write(ssl, request, n) == n && SSL_read(ssl, answer, sizeof(answer)) > 0;
	*ret_resumed = SSL_session_reused(ssl);
	if (!ok)
		(void)snprintf(l->failure, sizeof(l->failure), "no answer behind the handshake");
	int fd = SSL_get_fd(ssl);
	(void)SSL_shutdown(ssl);
	SSL_free(ssl);
	(void)close(fd);
	return ok;
}

int handshake_run(struct load *l)
{
	unsigned resumed = 0;
	bool was = false;
	SSL_CTX_set_session_cache_mode(l->ctx, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
	SSL_CTX_sess_set_new_cb(l->ctx, on_session);
	if (l->o.resume && !once(l, NULL, &was))
		return -1;
	for (unsigned i = 0; i < l->o.streams; i++) {
		SSL_SESSION *session = l->o.resume ? latest : NULL;
		if (session)
			(void)SSL_SESSION_up_ref(session);
		bool ok = once(l, session, &was);
		SSL_SESSION_free(session);
		if (!ok)
			return -1;
		resumed += was;
		l->done++;
	}
	SSL_SESSION_free(latest);
	(void)printf("{\"event\":\"end\",\"handshakes\":%u,\"resumed\":%u}\n", l->o.streams, resumed);
	return 0;
}
