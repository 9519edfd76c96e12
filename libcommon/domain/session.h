/* A link in use: what its page shows, and its exchange for a session. Blocks: off the loop. */
#ifndef RUSHES_DOMAIN_SESSION_H
#define RUSHES_DOMAIN_SESSION_H

#include "crypto/digest.h"
#include "crypto/hmac.h"
#include "store/db.h"

#include <jansson.h>

/* The secret by which a page takes its session up again after a reload; the database knows its SHA-256. 52 characters
 * of a-z and 2-7: 260 bits. */
#define SESSION_SECRET_CHARS 52
#define SESSION_SECRET_BYTES (SESSION_SECRET_CHARS + 1)

/* Longest text of consent that a page shows and sends back. */
#define CONSENT_BYTES_MAX ((size_t)16 * 1024)

void session_secret_new(char ret[SESSION_SECRET_BYTES]);

/* ERR_REJECT for what has not the form of one. Any thread. */
int session_secret_hash(const char *secret, uint8_t ret[SHA256_BYTES], struct error *e) _must_check_;

/* Why a link or a session may not record, or LINK_OPEN. */
enum link_verdict {
	LINK_OPEN,
	LINK_EXPIRED,
	LINK_REVOKED, /* or its session */
	LINK_USED_UP,
	LINK_ACCOUNT_CLOSED, /* closed, or its trial or subscription has expired */
	LINK_CONSENT_CHANGED,
	LINK_SESSION_EXPIRED,
	LINK_VERDICT_MAX
};

/* The words of the schema. LINK_VERDICT_MAX for an unknown one. */
enum link_verdict link_verdict_from_string(const char *text);

/* What the page behind a short link shows. */
struct link_view {
	enum link_verdict verdict;
	/* {"account_name", "expires_at", "consent_text", "requester", "max_bytes", "max_duration_ms"} */
	json_t *facts;
};

void link_view_done(struct link_view *v);

/* ERR_NOTFOUND: there is no such link. The view is the caller's. */
int link_resolve(struct db *d, const uint8_t code_hash[HMAC_BYTES], struct link_view *ret,
		 struct error *e) _must_check_;

/* A use of a link. */
struct session_request {
	const uint8_t *code_hash;    /* HMAC_BYTES */
	const char *consent_text;    /* the text that was shown and accepted; NULL: only resume */
	const uint8_t *secret_hash;  /* SHA256_BYTES: of the new session's secret */
	const uint8_t *resumed_hash; /* of an earlier session's secret; NULL: none */
	int64_t life_ms;	     /* of a new session; at most 12 hours */
};

struct session_grant {
	enum link_verdict verdict; /* the rest is set only when it is LINK_OPEN */
	struct uuid session, account;
	int64_t expires_us; /* wall time, whole seconds */
	uint64_t max_bytes, max_duration_ms;
	bool send_on_stop;
	bool is_resumed; /* the earlier session, no use was counted */
};

/* One transaction. ERR_NOTFOUND: there is no such link. */
int session_open(struct db *d, const struct session_request *q, struct session_grant *ret,
		 struct error *e) _must_check_;

#endif
