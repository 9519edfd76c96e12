/* Resumable uploads: tus 1.0.0 (https://tus.io/protocols/resumable-upload) at /v1/tus, with the extensions creation,
 * creation-with-upload, creation-defer-length, checksum, termination and expiration. An upload is a recording; the
 * session that made it owns it. */
#ifndef RUSHES_INGEST_TUS_H
#define RUSHES_INGEST_TUS_H

#include "net/http.h"

/* Of HTTP_BODY_STREAM routes: the whole set of uploads, and one of them (parameter `id`). `arg` is the ingest. */
void tus_uploads_handle(struct http_request *r, void *arg);
void tus_upload_handle(struct http_request *r, void *arg);

#endif
