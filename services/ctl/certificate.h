/* The certificate of a deletion: proto/ledger-format.md. */
#ifndef RUSHES_CTL_CERTIFICATE_H
#define RUSHES_CTL_CERTIFICATE_H

#include "store/db.h"

#include <jansson.h>

/* `*ret` is the caller's. ERR_NOTFOUND while the recording is not completely removed, ERR_RETRY while one of its
 * entries is not sealed, ERR_CORRUPT when a batch's entries do not give its root. */
int certificate_make(struct db *d, const struct uuid *recording, int64_t backup_reach_ms, json_t **ret,
		     struct error *e) _must_check_;

/* The same in words. */
void certificate_print(const json_t *certificate, FILE *out);

#endif
