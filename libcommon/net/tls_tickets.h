/* The keys of a server's session tickets (RFC 5077, RFC 8446 section 4.6.1). They are made here, stay in this process
 * and rotate, so that what they protect can be opened for a few hours at most, whoever gets hold of the memory later.
 * Another node, or this one after a restart or a reload, answers a ticket with a full handshake. */
#ifndef RUSHES_NET_TLS_TICKETS_H
#define RUSHES_NET_TLS_TICKETS_H

#include "base/macros.h"

#include <openssl/ssl.h>

/* A key makes tickets for so long, and opens them as long again. */
#define TLS_TICKET_ROTATION_MS 3600000

/* What a client is told that a ticket lives. Not longer than the oldest key that opens it. */
#define TLS_TICKET_LIFETIME_S (TLS_TICKET_ROTATION_MS / 1000)

/* Lets the context of a server make and take tickets, by keys of its own, which end with the context. Resumption proves
 * that the client is the one of the first handshake and no more: not for contexts that ask clients for certificates.
 * ERR_NOMEM, or ERR_FATAL when OpenSSL refuses. */
int tls_tickets_enable(SSL_CTX *ctx) _must_check_;

/* No tickets at all: every connection proves everything again. */
void tls_tickets_disable(SSL_CTX *ctx);

#endif
