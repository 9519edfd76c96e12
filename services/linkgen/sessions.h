/* What the recorder page asks: the request behind its link, and the exchange of the link for a session. */
#ifndef RUSHES_LINKGEN_SESSIONS_H
#define RUSHES_LINKGEN_SESSIONS_H

#include "call.h"
#include "domain/session.h"

/* A session, and its token, lives this long: what was begun may finish. */
#define SESSION_LIFE_MS ((int64_t)12 * 3600 * 1000)

http_handler session_request_get, session_post;

/* The path's code, hashed; ERR_NOTFOUND for what has not the form of a code. */
int session_read_code(struct call *c, uint8_t ret[HMAC_BYTES], struct error *e) _must_check_;

/* Ends the call with the problem that a verdict is: 404, 410, 403 or 409. LINK_OPEN does nothing. */
int session_refuse(struct call *c, enum link_verdict verdict);
int session_refuse_unknown(struct call *c);

#endif
