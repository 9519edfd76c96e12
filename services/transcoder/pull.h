/* A segment's sealed bytes from the peer that holds them, opened and checked on the way. The server needs no key and is
 * not believed: every slot authenticates itself, and the whole is compared with the segment's row. A segment may be
 * followed while it is still being received, and a broken transfer goes on behind the last whole slot. */
#ifndef RUSHES_TRANSCODER_PULL_H
#define RUSHES_TRANSCODER_PULL_H

#include "raw_plan.h"

#include "net/client.h"
#include "spool/sealed.h"

/* Gets the segment's opened bytes in order; negative ends the pull with it. On the calling thread. */
typedef int pull_sink(void *arg, const uint8_t *data, size_t n, struct error *e);

/* Asked when nothing has come of an open segment for some seconds: true leaves it as it is. On the calling thread, may
 * block. */
typedef bool pull_doubt(void *arg);

/* One segment on its way. */
struct pull;

/* `j` and `key` are borrowed for the life of the pull, of `s` only what names it. */
int pull_new(const struct job *j, uint32_t segment, const uint8_t key[SEALED_KEY_BYTES], pull_sink *sink,
	     pull_doubt *doubt, void *arg, struct pull **ret, struct error *e) _must_check_;
void pull_free(struct pull *p);
DEFINE_CLEANUP(struct pull, pull_free)

uint32_t pull_segment(const struct pull *p);

/* Makes one request: for the file of a closed segment, or until an open one ends. Blocks, on a job's thread. 0: it is
 * whole; doing it again does nothing. ERR_RETRY: it broke off or was left, may be run again, and goes on. ERR_CANCELLED
 * soon after job_stop(j) says so; ERR_CORRUPT when the bytes are no such segment; the other classes of
 * http_client_perform(), of which NOTFOUND, DENIED and REJECT become RETRY: the spool or its row may come back. */
int pull_run(struct pull *p, struct http_client *http, const struct raw_segment *s, struct error *e) _must_check_;

/* What came whole against the row of the closed segment. ERR_CORRUPT. */
int pull_check(const struct pull *p, const struct raw_segment *s, struct error *e) _must_check_;

#endif
