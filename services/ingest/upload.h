/* POST and PUT /v1/recordings: a whole recording as one body, raw or multipart/form-data (proto/uploads.md). The loop's
 * thread. */
#ifndef RUSHES_INGEST_UPLOAD_H
#define RUSHES_INGEST_UPLOAD_H

#include "ingest.h"

/* The routes' handlers; their argument is the service. The second answers what browsers ask before. */
void upload_handle(struct http_request *r, void *arg);
void upload_options_handle(struct http_request *r, void *arg);

#endif
