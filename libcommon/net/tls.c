#include "net/tls.h"

#include "net/tls_tickets.h"

#include <arpa/inet.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <pthread.h>
#include <string.h>
#include <time.h>

/* TLS 1.2 with forward secrecy and authenticated encryption only; TLS 1.3's own list needs no choice. */
#define TLS_CIPHERS_12 "ECDHE+AESGCM:ECDHE+CHACHA20"

/* Our chains are leaf, intermediate, root; the public ones are not longer than this. */
#define TLS_VERIFY_DEPTH 6

#define TLS_IDENTITY_SCHEME "rushes://"

struct tls_context {
	bool server;
	char *certificate_path, *key_path, *ca_path;
	pthread_mutex_t lock;
	SSL_CTX *ctx; /* protected by lock: replaced by a reload */
};

/* The first reason of OpenSSL's queue, which is emptied. */
static const char *openssl_reason(void)
{
	unsigned long code = ERR_peek_error();
	ERR_clear_error();
	const char *reason = code ? ERR_reason_error_string(code) : NULL;
	return reason ? reason : "no reason given";
}

/* Keys are not encrypted; without this OpenSSL would ask on a terminal. */
static int no_password(char *buffer _unused_, int size _unused_, int writing _unused_, void *arg _unused_)
{
	return -1;
}

static int select_alpn(SSL *ssl _unused_, const unsigned char **ret, unsigned char *ret_n, const unsigned char *offered,
		       unsigned n, void *arg _unused_)
{
	static const unsigned char ours[] = "\x08http/1.1";
	unsigned char *chosen = NULL;
	if (SSL_select_next_proto(&chosen, ret_n, ours, sizeof(ours) - 1, offered, n) != OPENSSL_NPN_NEGOTIATED)
		return SSL_TLSEXT_ERR_ALERT_FATAL;
	*ret = chosen;
	return SSL_TLSEXT_ERR_OK;
}

static int load_own(struct tls_context *t, SSL_CTX *ctx, struct error *e)
{
	if (!t->certificate_path)
		return 0;
	SSL_CTX_set_default_passwd_cb(ctx, no_password);
	if (SSL_CTX_use_certificate_chain_file(ctx, t->certificate_path) != 1)
		return error_set(e, ERR_FATAL, "cannot read the certificate %s: %s", t->certificate_path,
				 openssl_reason());
	if (SSL_CTX_use_PrivateKey_file(ctx, t->key_path, SSL_FILETYPE_PEM) != 1)
		return error_set(e, ERR_FATAL, "cannot use the key %s: %s", t->key_path, openssl_reason());
	if (SSL_CTX_check_private_key(ctx) != 1)
		return error_set(e, ERR_FATAL, "the key %s does not belong to the certificate %s: %s", t->key_path,
				 t->certificate_path, openssl_reason());
	return 0;
}

static int load_authorities(struct tls_context *t, SSL_CTX *ctx, struct error *e)
{
	if (!t->ca_path) {
		if (!t->server && SSL_CTX_set_default_verify_paths(ctx) != 1)
			return error_set(e, ERR_FATAL, "cannot use the system's authorities: %s", openssl_reason());
		return 0;
	}
	if (SSL_CTX_load_verify_locations(ctx, t->ca_path, NULL) != 1)
		return error_set(e, ERR_FATAL, "cannot read the authorities %s: %s", t->ca_path, openssl_reason());
	if (t->server) {
		STACK_OF(X509_NAME) *names = SSL_load_client_CA_file(t->ca_path);
		if (!names)
			return error_set(e, ERR_FATAL, "cannot read the authorities %s: %s", t->ca_path,
					 openssl_reason());
		SSL_CTX_set_client_CA_list(ctx, names);
	}
	return 0;
}

static int set_protocol(SSL_CTX *ctx, bool server, bool verifies_clients)
{
	(void)SSL_CTX_set_options(ctx, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION | SSL_OP_IGNORE_UNEXPECTED_EOF |
					   SSL_OP_CIPHER_SERVER_PREFERENCE);
	(void)SSL_CTX_set_mode(ctx, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE |
					SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
	SSL_CTX_set_read_ahead(ctx, 1);
	SSL_CTX_set_default_read_buffer_len(ctx, TLS_READ_AHEAD_BYTES);
	SSL_CTX_set_verify_depth(ctx, TLS_VERIFY_DEPTH);
	/* tickets hold the sessions; a cache here would only cost memory */
	(void)SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
	if (SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION) != 1 ||
	    SSL_CTX_set_cipher_list(ctx, TLS_CIPHERS_12) != 1)
		return ERR_FATAL;
	if (!server)
		return 0;
	static const unsigned char session_context[] = "rushes";
	if (SSL_CTX_set_session_id_context(ctx, session_context, sizeof(session_context) - 1) != 1)
		return ERR_FATAL;
	SSL_CTX_set_alpn_select_cb(ctx, select_alpn, NULL);
	if (!verifies_clients)
		return tls_tickets_enable(ctx);
	/* a peer's certificate is verified at each connection: it may have ended or its authority may have gone */
	tls_tickets_disable(ctx);
	return 0;
}

static int make_context(struct tls_context *t, SSL_CTX **ret, struct error *e)
{
	ERR_clear_error();
	SSL_CTX *ctx = SSL_CTX_new(t->server ? TLS_server_method() : TLS_client_method());
	if (!ctx)
		return error_nomem(e);
	int r = set_protocol(ctx, t->server, t->ca_path);
	if (r < 0)
		(void)error_set(e, r, "cannot set up TLS: %s", openssl_reason());
	if (r == 0)
		r = load_own(t, ctx, e);
	if (r == 0)
		r = load_authorities(t, ctx, e);
	if (r < 0) {
		SSL_CTX_free(ctx);
		return r;
	}
	if (!t->server)
		SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER, NULL);
	else if (t->ca_path)
		SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
	*ret = ctx;
	return 0;
}

static int copy_path(const char *from, char **to)
{
	*to = from ? strdup(from) : NULL;
	return from && !*to ? ERR_NOMEM : 0;
}

static int tls_new(const struct tls_settings *s, bool server, struct tls_context **ret, struct error *e)
{
	if (!s->certificate_path != !s->key_path)
		return error_set(e, ERR_FATAL, "certificate and key must be given together");
	if (server && !s->certificate_path)
		return error_set(e, ERR_FATAL, "a TLS server needs a certificate and its key");
	_cleanup_(tls_freep) struct tls_context *t = calloc(1, sizeof(*t));
	if (!t)
		return error_nomem(e);
	(void)pthread_mutex_init(&t->lock, NULL);
	t->server = server;
	if (copy_path(s->certificate_path, &t->certificate_path) < 0 || copy_path(s->key_path, &t->key_path) < 0 ||
	    copy_path(s->ca_path, &t->ca_path) < 0)
		return error_nomem(e);
	int r = make_context(t, &t->ctx, e);
	if (r < 0)
		return r;
	*ret = TAKE_PTR(t);
	return 0;
}

int tls_server_new(const struct tls_settings *s, struct tls_context **ret, struct error *e)
{
	return tls_new(s, true, ret, e);
}

int tls_client_new(const struct tls_settings *s, struct tls_context **ret, struct error *e)
{
	return tls_new(s, false, ret, e);
}

void tls_free(struct tls_context *t)
{
	if (!t)
		return;
	SSL_CTX_free(t->ctx);
	(void)pthread_mutex_destroy(&t->lock);
	free(t->certificate_path);
	free(t->key_path);
	free(t->ca_path);
	free(t);
}

int tls_reload(struct tls_context *t, struct error *e)
{
	SSL_CTX *fresh = NULL;
	int r = make_context(t, &fresh, e);
	if (r < 0)
		return r;
	(void)pthread_mutex_lock(&t->lock);
	SSL_CTX *old = t->ctx;
	t->ctx = fresh;
	(void)pthread_mutex_unlock(&t->lock);
	SSL_CTX_free(old);
	return 0;
}

/* The context of now, with a reference of the caller's. */
static SSL_CTX *context_ref(struct tls_context *t)
{
	(void)pthread_mutex_lock(&t->lock);
	SSL_CTX *ctx = t->ctx;
	(void)SSL_CTX_up_ref(ctx);
	(void)pthread_mutex_unlock(&t->lock);
	return ctx;
}

int64_t tls_expires(struct tls_context *t)
{
	SSL_CTX *ctx = context_ref(t);
	const X509 *own = SSL_CTX_get0_certificate(ctx);
	struct tm tm;
	int64_t when = own && ASN1_TIME_to_tm(X509_get0_notAfter(own), &tm) == 1 ? (int64_t)timegm(&tm) : 0;
	SSL_CTX_free(ctx);
	return when;
}

static SSL *session_new(struct tls_context *t, int fd)
{
	SSL_CTX *ctx = context_ref(t);
	SSL *ssl = SSL_new(ctx);
	SSL_CTX_free(ctx); /* the session holds its own reference */
	if (ssl && SSL_set_fd(ssl, fd) != 1) {
		SSL_free(ssl);
		ssl = NULL;
	}
	ERR_clear_error();
	return ssl;
}

SSL *tls_accept(struct tls_context *t, int fd)
{
	SSL *ssl = session_new(t, fd);
	if (ssl)
		SSL_set_accept_state(ssl);
	return ssl;
}

static bool is_address(const char *host)
{
	unsigned char raw[16];
	return inet_pton(AF_INET, host, raw) == 1 || inet_pton(AF_INET6, host, raw) == 1;
}

SSL *tls_connect(struct tls_context *t, int fd, const char *host)
{
	SSL *ssl = session_new(t, fd);
	if (!ssl)
		return NULL;
	X509_VERIFY_PARAM *param = SSL_get0_param(ssl);
	bool ok = is_address(host) ? X509_VERIFY_PARAM_set1_ip_asc(param, host) == 1
				   : SSL_set_tlsext_host_name(ssl, host) == 1 && SSL_set1_host(ssl, host) == 1;
	SSL_set_hostflags(ssl, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
	SSL_set_connect_state(ssl);
	if (!ok) {
		SSL_free(ssl);
		ERR_clear_error();
		return NULL;
	}
	return ssl;
}

int tls_apply(struct tls_context *t, SSL_CTX *into)
{
	SSL_CTX *ctx = context_ref(t);
	X509 *own = SSL_CTX_get0_certificate(ctx);
	STACK_OF(X509) *chain = NULL;
	bool ok = SSL_CTX_set_min_proto_version(into, TLS1_2_VERSION) == 1 &&
		  SSL_CTX_set_cipher_list(into, TLS_CIPHERS_12) == 1;
	if (ok && own)
		ok = SSL_CTX_get0_chain_certs(ctx, &chain) == 1 && SSL_CTX_use_certificate(into, own) == 1 &&
		     SSL_CTX_use_PrivateKey(into, SSL_CTX_get0_privatekey(ctx)) == 1 &&
		     SSL_CTX_set1_chain(into, chain) == 1;
	if (ok)
		SSL_CTX_set1_cert_store(into, SSL_CTX_get_cert_store(ctx));
	SSL_CTX_free(ctx);
	ERR_clear_error();
	return ok ? 0 : ERR_FATAL;
}

/* Takes one part up to the '/' behind it, or, the `last`, up to the end. */
static bool take_part(const char **at, const char *end, bool last, char ret[TLS_IDENTITY_PART_BYTES])
{
	static const char allowed[] = "abcdefghijklmnopqrstuvwxyz0123456789.-";
	size_t n = 0;
	const char *p = *at;
	while (p < end && (last || *p != '/')) {
		if (*p == '\0' || !strchr(allowed, *p) || n + 1 >= TLS_IDENTITY_PART_BYTES)
			return false;
		ret[n++] = *p++;
	}
	ret[n] = '\0';
	if (!last && p == end)
		return false;
	*at = last ? p : p + 1;
	return n > 0;
}

bool tls_identity_parse(const char *uri, size_t n, struct tls_identity *ret)
{
	size_t scheme = strlen(TLS_IDENTITY_SCHEME);
	if (n <= scheme || memcmp(uri, TLS_IDENTITY_SCHEME, scheme) != 0)
		return false;
	const char *at = uri + scheme, *end = uri + n;
	struct tls_identity id;
	if (!take_part(&at, end, false, id.region) || !take_part(&at, end, false, id.service) ||
	    !take_part(&at, end, true, id.name))
		return false;
	*ret = id;
	return true;
}

bool tls_peer_identity(const SSL *ssl, struct tls_identity *ret)
{
	X509 *peer = SSL_get0_peer_certificate(ssl);
	if (!peer || SSL_get_verify_result(ssl) != X509_V_OK)
		return false;
	GENERAL_NAMES *names = X509_get_ext_d2i(peer, NID_subject_alt_name, NULL, NULL);
	int found = 0;
	bool good = false;
	for (int i = 0; i < sk_GENERAL_NAME_num(names); i++) {
		const GENERAL_NAME *name = sk_GENERAL_NAME_value(names, i);
		if (name->type != GEN_URI)
			continue;
		const ASN1_IA5STRING *uri = name->d.uniformResourceIdentifier;
		found++;
		good =
		    tls_identity_parse((const char *)ASN1_STRING_get0_data(uri), (size_t)ASN1_STRING_length(uri), ret);
	}
	GENERAL_NAMES_free(names);
	ERR_clear_error();
	return found == 1 && good;
}
