/* multipart/form-data (RFC 7578, RFC 2046 section 5.1), read as it arrives: gives out short fields and the bytes of the
 * first part that is a file, and drops the others. Pure; memory is constant. */
#ifndef RUSHES_INGEST_MULTIPART_H
#define RUSHES_INGEST_MULTIPART_H

#include "base/error.h"

#include <stdbool.h>

#define MULTIPART_BOUNDARY_CHARS 70 /* RFC 2046 */
#define MULTIPART_HEAD_BYTES	 8192
#define MULTIPART_PARTS_MAX	 32
#define MULTIPART_NAME_CHARS	 256
#define MULTIPART_FIELD_BYTES	 4096 /* a token; longer fields are dropped */

/* The file's own head: texts are empty when absent, cut when long. */
struct multipart_file {
	char name[MULTIPART_NAME_CHARS];
	char type[128];
};

/* What comes out, in its order. A negative result ends the parser, which returns it. */
struct multipart_callbacks {
	/* a whole field that is no file; texts are valid during the call */
	int (*on_field)(void *arg, const char *name, const char *value, struct error *e);
	/* the file begins */
	int (*on_file)(void *arg, const struct multipart_file *file, struct error *e);
	int (*on_bytes)(void *arg, const void *data, size_t n, struct error *e);
};

struct multipart;

/* `content_type` is the request's header. ERR_REJECT without a usable boundary. */
int multipart_new(const char *content_type, const struct multipart_callbacks *c, void *arg, struct multipart **ret,
		  struct error *e) _must_check_;
void multipart_free(struct multipart *m);
DEFINE_CLEANUP(struct multipart, multipart_free)

/* Takes the next piece of the body. ERR_REJECT for what is malformed. */
int multipart_feed(struct multipart *m, const void *data, size_t n, struct error *e) _must_check_;

/* The body has ended. ERR_REJECT when the closing delimiter is missing or there was no file. */
int multipart_finish(struct multipart *m, struct error *e) _must_check_;

/* The value of `name=` among the parameters of a header, quoted or not. False when it is absent or too long for `room`
 * bytes. */
bool multipart_parameter(const char *header, const char *name, char *ret, size_t room) _must_check_;

/* Whether the header announces multipart/form-data. NULL is accepted. */
bool multipart_is(const char *content_type);

#endif
