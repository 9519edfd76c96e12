/* What the programs of an account may see and do by REST: who a key stands for, and its account's recordings. Every
 * statement is bound to the account: another account's recording does not exist for it. Blocks: off the loop. */
#ifndef RUSHES_DOMAIN_API_ACCESS_H
#define RUSHES_DOMAIN_API_ACCESS_H

#include "crypto/hmac.h"
#include "domain/api_key.h"
#include "store/db.h"

#include <jansson.h>

/* Bits in the order of API_KEY_SCOPES. */
enum api_scope {
	API_LINKS_WRITE = 1,
	API_LINKS_READ = 2,
	API_RECORDINGS_READ = 4,
	API_RECORDINGS_DELETE = 8,
};

/* "links:write", ...: never NULL for a single bit. */
const char *api_scope_to_string(enum api_scope scope);

/* The account and the scopes (bits) of a key. ERR_DENIED when the key is unknown, revoked or has another secret. */
int api_key_check(struct db *d, const struct uuid *id, const uint8_t hash[HMAC_BYTES], struct uuid *ret_account,
		  unsigned *ret_scopes, struct error *e) _must_check_;

/* A recording as its account sees it: states, files, copies with due dates and rules, deliveries, and what retention
 * says of each copy; nothing of our nodes. ERR_NOTFOUND. The value is the caller's. */
int api_recording_get(struct db *d, const struct uuid *account, const struct uuid *id, json_t **ret,
		      struct error *e) _must_check_;

#define API_LIST_MAX 200

struct api_recordings {
	const struct uuid *account;
	const char *state;  /* NULL: any */
	const char *before; /* RFC 3339: only what was opened earlier; NULL: the newest */
	unsigned limit;	    /* 1 to API_LIST_MAX */
};

/* Newest first: an array of {"id", "state", "opened_at", "bytes", "environment"}. */
int api_recording_list(struct db *d, const struct api_recordings *f, json_t **ret, struct error *e) _must_check_;

/* Decides the deletion of the account's own recording; repeating it changes nothing. ERR_NOTFOUND; ERR_CONFLICT for a
 * held one without a reason. */
int api_recording_delete(struct db *d, const char *actor, const struct uuid *account, const struct uuid *id,
			 const char *reason, struct error *e) _must_check_;

/* How far it is: {"id", "state", "rule", "decided_at", "deadline", "completed_at", "overdue", "left", "evidence",
 * "second_looks", ...} (proto/openapi.yaml); nothing of our nodes. ERR_NOTFOUND while no deletion was decided. */
int api_recording_deletion(struct db *d, const struct uuid *account, const struct uuid *id, json_t **ret,
			   struct error *e) _must_check_;

#endif
