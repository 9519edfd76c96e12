/* AWS Signature Version 4 for S3 (Amazon S3 API Reference, "Authenticating Requests: AWS Signature Version 4"), on
 * libcrypto. Paths are escaped once and never normalised. What is escaped, sorted and hashed here is what goes over the
 * wire, so the strictest server agrees. Pure functions: any thread. */
#ifndef RUSHES_NET_S3_SIGN_H
#define RUSHES_NET_S3_SIGN_H

#include "base/buffer.h"
#include "base/error.h"

#include <stdbool.h>

#define S3_UNSIGNED_PAYLOAD "UNSIGNED-PAYLOAD"
#define S3_SHA256_BYTES	    32
#define S3_SHA256_HEX_BYTES 65
/* "20130524T000000Z" and its end. */
#define S3_DATE_BYTES 17
/* Most query parameters and headers of one request. */
#define S3_QUERY_MAX   16
#define S3_HEADERS_MAX 32
/* Longest validity of a presigned URL that S3 allows. */
#define S3_PRESIGN_SECONDS_MAX 604800

struct s3_credentials {
	const char *access_key;
	const char *secret_key;
	const char *session_token; /* NULL: none */
};

/* A query parameter or a header, unescaped. */
struct s3_pair {
	const char *name;
	const char *value; /* "" where there is none, as in "?uploads=" */
};

struct s3_sign_request {
	const char *method; /* "PUT" */
	const char *host;   /* as in the Host header: with the port when it is not the scheme's own */
	const char *path;   /* escaped, from "/"; see s3_escape() */
	const struct s3_pair *query;
	size_t n_query;
	/* signed besides host, x-amz-date, x-amz-content-sha256 and x-amz-security-token, which are added here */
	const struct s3_pair *headers;
	size_t n_headers;
	const char *payload_sha256; /* lower-case hex, or S3_UNSIGNED_PAYLOAD */
	const char *region;
	int64_t wall_us; /* clock_wall_us() */
};

/* Appends `text` percent-escaped as RFC 3986 with upper-case digits; '/' stays when `keep_slash`. */
int s3_escape(struct buffer *b, const char *text, bool keep_slash) _must_check_;

/* Appends the query string in canonical form, sorted by escaped name, then value: for the URL and the signature. */
int s3_query_format(struct buffer *b, const struct s3_pair *query, size_t n) _must_check_;

/* Writes the value of the Authorization header to `ret_authorization` (replacing its contents) and that of x-amz-date
 * to `ret_date`. ERR_REJECT for too many headers or parameters and for a line break inside one. */
int s3_sign(const struct s3_sign_request *r, const struct s3_credentials *c, struct buffer *ret_authorization,
	    char ret_date[S3_DATE_BYTES], struct error *e) _must_check_;

/* Appends the query string of a presigned request (UNSIGNED-PAYLOAD, host signed) that holds for `seconds`. The query
 * of `r` becomes part of it; payload_sha256 is not looked at. */
int s3_presign(const struct s3_sign_request *r, const struct s3_credentials *c, unsigned seconds,
	       struct buffer *ret_query, struct error *e) _must_check_;

/* Lower-case hex of SHA-256, for payload_sha256. */
void s3_sha256_hex(const void *data, size_t n, char ret[S3_SHA256_HEX_BYTES]);

#endif
