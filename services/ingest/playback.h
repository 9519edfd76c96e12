/* GET /v1/recordings/:recording/raw: the recorder plays what it sent so far, or its finished take, for the
 * environment's `playback_window` after it was saved (proto/openapi.yaml). Opened on the pool, piece by piece. */
#ifndef RUSHES_INGEST_PLAYBACK_H
#define RUSHES_INGEST_PLAYBACK_H

#include "ingest.h"

/* `arg` is the ingest. */
void playback_handle(struct http_request *r, void *arg);
void playback_preflight_handle(struct http_request *r, void *arg);

#endif
