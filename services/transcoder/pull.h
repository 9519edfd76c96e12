/* A segment's sealed bytes from the peer that holds them, opened and checked on the way. The server needs no key and is
 * not believed: every slot authenticates itself, and the whole is compared with the segment's row. */
#ifndef RUSHES_TRANSCODER_PULL_H
#define RUSHES_TRANSCODER_PULL_H

#include "raw_plan.h"

#include "net/client.h"
#include "spool/sealed.h"

/* Gets the segment's opened bytes in order; negative ends the pull with it. On the calling thread. */
typedef int pull_sink(void *arg, const uint8_t *data, size_t n, struct error *e);

/* Blocks, on a job's thread. ERR_CANCELLED soon after job_stop(j) says so; ERR_CORRUPT when the bytes are not the
 * row's; the classes of http_client_perform(), of which NOTFOUND and DENIED become RETRY: the spool or its row may come
 * back. */
int pull_segment(struct http_client *http, const struct job *j, const struct raw_segment *s,
		 const uint8_t key[SEALED_KEY_BYTES], pull_sink *sink, void *arg, struct error *e) _must_check_;

#endif
