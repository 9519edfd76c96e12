/* POST /v1/recordings: a whole recording as one body, raw or multipart/form-data (proto/stream.md). The loop's thread.
 */
#ifndef RUSHES_INGEST_UPLOAD_H
#define RUSHES_INGEST_UPLOAD_H

#include "ingest.h"

/* The route's handler; its argument is the service. */
void upload_handle(struct http_request *r, void *arg);

#endif
