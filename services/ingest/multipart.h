/* multipart/form-data (RFC 7578, RFC 2046 section 5.1), read as it arrives: gives out the bytes of the first part that
 * is a file and drops the others. Pure; memory is constant. */
#ifndef RUSHES_INGEST_MULTIPART_H
#define RUSHES_INGEST_MULTIPART_H

#include "base/error.h"

#include <stdbool.h>

#define MULTIPART_BOUNDARY_CHARS 70 /* RFC 2046 */
#define MULTIPART_HEAD_BYTES	 8192
#define MULTIPART_PARTS_MAX	 32

/* The file's own head: texts are empty when absent, cut when long. */
struct multipart_file {
	char name[256];
	char type[128];
};

/* Bytes of the file, in order. A negative result ends the parser, which returns it. */
typedef int multipart_sink(void *arg, const void *data, size_t n, struct error *e);

struct multipart;

/* `content_type` is the request's header. ERR_REJECT without a usable boundary. */
int multipart_new(const char *content_type, multipart_sink *sink, void *arg, struct multipart **ret,
		  struct error *e) _must_check_;
void multipart_free(struct multipart *m);
DEFINE_CLEANUP(struct multipart, multipart_free)

/* Takes the next piece of the body. ERR_REJECT for what is malformed. */
int multipart_feed(struct multipart *m, const void *data, size_t n, struct error *e) _must_check_;

/* The body has ended. ERR_REJECT when the closing delimiter is missing or there was no file. */
int multipart_finish(struct multipart *m, struct error *e) _must_check_;

/* What the file's head said; valid once its first byte was given out or the body ended. */
const struct multipart_file *multipart_file(const struct multipart *m);

/* Whether the header announces multipart/form-data. NULL is accepted. */
bool multipart_is(const char *content_type);

#endif
