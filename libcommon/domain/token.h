/* Session tokens: linkgen signs one when a link is exchanged, ingest checks it before anything else (DESIGN section 6).
 * A token proves admission cheaply; whether the session may still record is decided by the transaction that opens a
 * segment. PASETO v4.public; the payload is
 *
 *	{"aud":"ingest.<region>","iat":"<RFC 3339>","exp":"<RFC 3339>","account":"<uuid>","session":"<uuid>",
 *	 "max_bytes":n,"max_duration_ms":n,"send_on_stop":bool}
 *
 * the footer {"kid":"<key id>"}, the implicit assertion "rushes.session.v1": no token of another kind passes as one. */
#ifndef RUSHES_DOMAIN_TOKEN_H
#define RUSHES_DOMAIN_TOKEN_H

#include "base/uuid.h"
#include "crypto/keyring.h"

/* No token lives longer; a session is as long. */
#define SESSION_TOKEN_LIFE_MAX_US ((int64_t)12 * 3600 * 1000000)

/* Clocks of two machines may differ by this much: a token that was made in the near future is accepted. */
#define SESSION_TOKEN_SKEW_US ((int64_t)60 * 1000000)

struct session_token {
	struct uuid account, session;
	int64_t made_us, expires_us; /* wall time; whole seconds travel */
	uint64_t max_bytes;	     /* of one recording */
	uint64_t max_duration_ms;
	bool send_on_stop; /* the end of the bytes releases the take */
};

/* `keys`: KEY_TOKEN_SIGN's secret halves. Returns an allocated string. ERR_REJECT for a life over the limit. Any
 * thread. */
int session_token_sign(const struct keyring *keys, const char *region, const struct session_token *t, char **ret,
		       struct error *e) _must_check_;

/* `keys`: KEY_TOKEN_SIGN's public halves. ERR_REJECT for what is no such token, ERR_DENIED for an unknown key, a wrong
 * signature or region, and one that has expired or lives too long. Messages never quote the token. Any thread. */
int session_token_check(const struct keyring *keys, const char *region, const char *token, int64_t now_us,
			struct session_token *ret, struct error *e) _must_check_;

#endif
