/* TLS 1.2 and 1.3 contexts over OpenSSL for servers and clients, reloaded without a restart, and the identity that a
 * peer's certificate proves. Servers that ask for no certificate resume sessions by tickets (net/tls_tickets.h). A
 * context is used on any thread; reloading replaces what new connections get. */
#ifndef RUSHES_NET_TLS_H
#define RUSHES_NET_TLS_H

#include "base/error.h"

#include <openssl/ssl.h>
#include <stdbool.h>

/* Read-ahead of a connection: four full records and their heads, so that a read ends where a record does. Released
 * while a connection is idle. */
#define TLS_READ_AHEAD_BYTES 66560

struct tls_settings {
	const char *certificate_path; /* PEM, leaf first, then its chain; clients: NULL for none */
	const char *key_path;	      /* PEM, unencrypted; belongs to the certificate */
	/* PEM of the authorities that peers are verified against. Servers: NULL asks clients for no certificate, else
	 * one is required. Clients: NULL takes the system's. */
	const char *ca_path;
};

struct tls_context;

/* Reads and checks the files; the paths are copied. ERR_FATAL names the file and what is wrong with it. */
int tls_server_new(const struct tls_settings *s, struct tls_context **ret, struct error *e) _must_check_;
int tls_client_new(const struct tls_settings *s, struct tls_context **ret, struct error *e) _must_check_;
void tls_free(struct tls_context *t);
DEFINE_CLEANUP(struct tls_context, tls_free)

/* Reads the files again for connections made from now on. On failure what was there stays in use. Any thread. */
int tls_reload(struct tls_context *t, struct error *e) _must_check_;

/* When the own certificate ends, in seconds since the epoch; 0 without one. For metrics and warnings. */
int64_t tls_expires(struct tls_context *t);

/* A new connection's state over a connected socket (not owned). Server side: waits for the client's hello; client side:
 * `host` is the name or address that the peer's certificate must carry. NULL without memory. */
SSL *tls_accept(struct tls_context *t, int fd) _must_check_;
SSL *tls_connect(struct tls_context *t, int fd, const char *host) _must_check_;

/* Puts certificate, key, authorities and protocol limits into a context that another library made (libcurl). */
int tls_apply(struct tls_context *t, SSL_CTX *into) _must_check_;

/* The SAN URI rushes://region/service/name of a service's certificate (DESIGN section 4). The parts are 1 to 63
 * characters of [a-z0-9.-]. */
#define TLS_IDENTITY_PART_BYTES 64

struct tls_identity {
	char region[TLS_IDENTITY_PART_BYTES];
	char service[TLS_IDENTITY_PART_BYTES]; /* "ingest", "storage-pusher", ... */
	char name[TLS_IDENTITY_PART_BYTES];    /* the spool's UUID, or a name for services without one */
};

/* False on anything that is not exactly such a URI. */
bool tls_identity_parse(const char *uri, size_t n, struct tls_identity *ret) _must_check_;

/* The identity in the verified certificate of the connection's peer. False without a certificate, when it carries no
 * such URI, or more than one: an ambiguous identity is none. */
bool tls_peer_identity(const SSL *ssl, struct tls_identity *ret) _must_check_;

#endif
