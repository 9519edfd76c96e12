/* The headers of tus 1.0.0 (https://tus.io/protocols/resumable-upload) that a client sends. Pure. */
#ifndef RUSHES_INGEST_TUS_FIELD_H
#define RUSHES_INGEST_TUS_FIELD_H

#include "checksum.h"

/* Upload-Checksum's algorithms, as Tus-Checksum-Algorithm lists them. */
#define TUS_CHECKSUM_ALGORITHMS "sha1,sha256,crc32"

#define TUS_METADATA_BYTES_MAX 8192
#define TUS_METADATA_KEYS_MAX  64

/* Upload-Offset and Upload-Length: digits and nothing else, below 10^18. */
bool tus_number_read(const char *text, uint64_t *ret) _must_check_;

/* "<algorithm> <base64>". ERR_REJECT for what is malformed, ERR_NOTFOUND for an algorithm that is not offered. */
int tus_checksum_read(const char *text, struct checksum_value *ret, struct error *e) _must_check_;

/* What Upload-Metadata tells of the file; allocated, NULL when absent or no text. */
struct tus_metadata {
	char *file_name; /* of the key `filename` or `name` */
	char *file_type; /* of `filetype` or `type` */
};

/* Checks all of the header: pairs of a visible ASCII key, once each, and a base64 value or none. ERR_REJECT, ERR_NOMEM.
 */
int tus_metadata_read(const char *text, struct tus_metadata *ret, struct error *e) _must_check_;
void tus_metadata_done(struct tus_metadata *m);

#endif
