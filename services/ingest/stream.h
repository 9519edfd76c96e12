/* The recorder's stream: one WebSocket connection that speaks rushes.stream.v1 (proto/stream.md). The loop's thread. */
#ifndef RUSHES_INGEST_STREAM_H
#define RUSHES_INGEST_STREAM_H

#include "ingest.h"

#define STREAM_SUBPROTOCOL "rushes.stream.v1"

/* The route GET /v1/stream; the handlers' argument is the service. */
void stream_handle(struct http_request *r, void *arg);

#endif
