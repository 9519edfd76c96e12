/* What opens a bucket, in locked memory: read out of the JSON that operators give,
 * {"access_key": "...", "secret_key": "...", "session_token": "..."}, the last one only where there is one. */
#ifndef RUSHES_NET_S3_SECRET_H
#define RUSHES_NET_S3_SECRET_H

#include "base/error.h"
#include "net/s3.h"

struct s3_secret;

/* ERR_CORRUPT for what is no such text; the error names a field, never a value. The text stays the caller's to wipe. */
int s3_secret_parse(const char *text, size_t n, struct s3_secret **ret, struct error *e) _must_check_;
void s3_secret_free(struct s3_secret *s);
DEFINE_CLEANUP(struct s3_secret, s3_secret_free)

/* Borrowed from the secret. */
struct s3_credentials s3_secret_credentials(const struct s3_secret *s);

#endif
