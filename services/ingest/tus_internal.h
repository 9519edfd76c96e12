/* What the files of tus share: tus.c (which request it is, who asks), tus_transfer.c (creation, offset, bytes),
 * tus_delete.c (termination). */
#ifndef RUSHES_INGEST_TUS_INTERNAL_H
#define RUSHES_INGEST_TUS_INTERNAL_H

#include "domain/token.h"
#include "ingest.h"

enum tus_action { TUS_CREATE, TUS_HEAD, TUS_PATCH, TUS_DELETE, TUS_ACTION_MAX };

/* A request that passed the checks of version and token. */
struct tus_request {
	struct ingest *g;
	struct http_request *r;
	enum tus_action action;
	struct session_token token;
	struct uuid recording;
};

void tus_transfer(const struct tus_request *q);
void tus_delete(const struct tus_request *q);

#endif
