/* The few XML answers of S3, read with expat: no document types, no external entities, bounded depth and text. Unknown
 * elements are skipped. */
#ifndef RUSHES_NET_S3_XML_H
#define RUSHES_NET_S3_XML_H

#include "base/error.h"

#include <stdbool.h>

#define S3_CODE_BYTES	  64
#define S3_MESSAGE_BYTES  256
#define S3_UPLOAD_BYTES	  1025
#define S3_VERSION_BYTES  1025
#define S3_ETAG_BYTES	  129
#define S3_CHECKSUM_BYTES 65
/* Keys are at most 1024 bytes (Amazon S3 User Guide, "Naming Amazon S3 objects"). */
#define S3_KEY_BYTES 1025
/* Deepest element and longest text of one element that is read. */
#define S3_XML_DEPTH_MAX 16
#define S3_XML_TEXT_MAX	 4096

/* <Error>. Servers leave out what they like: every field may be "". */
struct s3_error {
	char code[S3_CODE_BYTES];
	char message[S3_MESSAGE_BYTES];
	char region[S3_CODE_BYTES]; /* with a redirect: where the bucket is */
	char endpoint[S3_MESSAGE_BYTES];
};

/* Control characters become '?', so that the text is fit for a log. ERR_CORRUPT: not XML, or not an <Error>. */
int s3_xml_error(const char *text, size_t n, struct s3_error *ret, struct error *e) _must_check_;

/* UploadId of <InitiateMultipartUploadResult>. ERR_CORRUPT when it is missing or too long. */
int s3_xml_upload(const char *text, size_t n, char ret_upload[S3_UPLOAD_BYTES], struct error *e) _must_check_;

/* <CompleteMultipartUploadResult>; the ETag may be missing or empty and is then "". An <Error> inside a 200 answer
 * (S3 does so when it fails late) sets `ret_error->code`. */
int s3_xml_complete(const char *text, size_t n, char ret_etag[S3_ETAG_BYTES], struct s3_error *ret_error,
		    struct error *e) _must_check_;

/* One object version or delete marker, or one unfinished upload. Strings live for the call. A negative result ends the
 * reading and is returned. */
struct s3_entry {
	const char *key;
	const char *version; /* versions: "null" where the bucket keeps none */
	const char *upload;  /* uploads */
	bool delete_marker;
};
typedef int s3_entry_function(void *arg, const struct s3_entry *entry, struct error *e);

struct s3_page {
	bool truncated;
	char next_key[S3_KEY_BYTES];
	char next_version[S3_VERSION_BYTES];
	char next_upload[S3_UPLOAD_BYTES];
};

/* <ListBucketResult>: keys only; the page says whether there are more, the caller goes on behind the last key. */
int s3_xml_objects(const char *text, size_t n, s3_entry_function *fn, void *arg, struct s3_page *ret,
		   struct error *e) _must_check_;

/* <ListVersionsResult> and <ListMultipartUploadsResult>. */
int s3_xml_versions(const char *text, size_t n, s3_entry_function *fn, void *arg, struct s3_page *ret,
		    struct error *e) _must_check_;
int s3_xml_uploads(const char *text, size_t n, s3_entry_function *fn, void *arg, struct s3_page *ret,
		   struct error *e) _must_check_;

#endif
