/* Who may come in: the session token of a connection (DESIGN section 6). */
#ifndef RUSHES_INGEST_ADMISSION_H
#define RUSHES_INGEST_ADMISSION_H

#include "domain/token.h"
#include "ingest.h"

/* Checks a token. `*ret_code` gets the documented code when it is refused: "token-invalid" or "token-expired". */
int admission_check(const struct ingest *g, const char *token, struct session_token *ret, const char **ret_code,
		    struct error *e) _must_check_;

/* What an intake has to know of the request that brings it; texts are the request's. */
void admission_start(const struct session_token *t, const struct http_request *r, struct intake_start *ret);

/* The documented code, and whether to try again, for an error of intake_attach(). */
const char *admission_code(int error_code, bool *ret_retry);

#endif
