/* A request that needs the database, on its way: read and limited on the loop, worked on a pool thread with a
 * connection, answered on the loop. API calls are authorised before the work, by the key of `Authorization: Bearer`. */
#ifndef RUSHES_LINKGEN_CALL_H
#define RUSHES_LINKGEN_CALL_H

#include "domain/api_access.h"
#include "limit.h"
#include "linkgen.h"

/* "api-key/<uuid>": who acts, for the audit. */
#define CALL_ACTOR_BYTES (8 + UUID_TEXT_BYTES)

struct call;

struct call_kind {
	const char *operation; /* label of the metrics */
	unsigned scope;	       /* enum api_scope of which the key must have one; 0: a public call without a key */
	enum limit limit;      /* by the remote address */
	size_t input_bytes;    /* of call->input, zeroed */
	/* On the loop: reads path, query and body into the input; texts of the request may be borrowed. NULL: nothing
	 * to read. ERR_REJECT is answered 400. */
	int (*read)(struct call *c, struct error *e);
	/* On a pool thread. May refuse the call, or sets status and answer. */
	int (*work)(struct call *c, struct db *d, struct error *e);
	/* On the loop, when the work has ended well. NULL: the answer as JSON. */
	void (*answer)(struct call *c);
	/* Releases what the input holds; also after a failed read. May be NULL. */
	void (*done)(void *input);
};

struct call {
	const struct call_kind *kind;
	struct linkgen *app;
	struct http_request *request; /* touched on the loop only */
	void *input;
	/* API calls: who asks */
	struct uuid key, account;
	char actor[CALL_ACTOR_BYTES];
	uint8_t key_hash[HMAC_BYTES];
	/* how it ends */
	int status;	     /* 200 unless the work says otherwise */
	json_t *answer;	     /* owned; NULL: no body */
	const char *refusal; /* code of the problem that ends the call, a literal; `error` tells the detail */
	struct error error;
	int64_t wait_ms; /* until a limit has room */
	char *location;	 /* owned; NULL: no such header */
};

/* Takes the request from its handler to its answer. */
void call_begin(struct http_request *r, struct linkgen *app, const struct call_kind *kind);

/* Ends the call with a problem of this status and code; the detail is for people. Returns 0: the work went well. Any
 * thread. */
int call_refuse(struct call *c, int status, const char *code, const char *fmt, ...) _printf_(4, 5);

/* Reads the path parameter ":id". ERR_NOTFOUND for what is no UUID: there is no such thing. */
int call_read_id(struct call *c, struct uuid *ret, struct error *e) _must_check_;

/* The body, which must be announced as JSON. A new reference. */
int call_read_json(struct call *c, json_t **ret, struct error *e) _must_check_;

#endif
