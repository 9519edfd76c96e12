/* What uploads are answered, by POST, PUT and tus: statuses, and what browsers of other origins may know. */
#ifndef RUSHES_INGEST_ANSWER_H
#define RUSHES_INGEST_ANSWER_H

#include "net/http.h"

/* Headers of every answer of the public address (http_server_options): pages of any origin may read it, since only the
 * token that they hold lets them in; and the version of tus, which its answers must name. */
extern const char *const answer_headers[];

/* The preflight request of browsers (Fetch, section 3.2), with the methods that the path has. */
void answer_preflight(struct http_request *r, const char *methods);

/* The status for a code of proto/stream.md. */
int answer_status(const char *code, bool retry);

/* A problem of that status; when trying again may help it says so by Retry-After. */
void answer_problem(struct http_request *r, const char *code, bool retry, const char *text);

#endif
