/* Content-Digest and Repr-Digest (RFC 9530): a dictionary of byte sequences (RFC 9651 section 3.2). Pure. */
#ifndef RUSHES_INGEST_DIGEST_FIELD_H
#define RUSHES_INGEST_DIGEST_FIELD_H

#include "checksum.h"

/* The algorithms that are checked: sha-256 and sha-512. Others are read and passed over, as RFC 9530 section 2 allows.
 */
#define DIGEST_FIELD_MAX 2

/* ERR_REJECT for what is malformed, a digest of a wrong length among it. Of a repeated key the last one counts. */
int digest_field_read(const char *text, struct checksum_value ret[DIGEST_FIELD_MAX], unsigned *ret_n,
		      struct error *e) _must_check_;

#endif
