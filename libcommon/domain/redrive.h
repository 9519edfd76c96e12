/* A person sends work on its way again. Blocks: off the loop. */
#ifndef RUSHES_DOMAIN_REDRIVE_H
#define RUSHES_DOMAIN_REDRIVE_H

#include "store/db.h"

/* A fresh schedule of 13 attempts for a waiting or failed job, audited under `actor`. `*ret` is the job that goes on: a
 * new one when the old one had ended. ERR_CONFLICT while it runs or is tried again already, ERR_CANCELLED when its
 * recording is being deleted, ERR_NOTFOUND. */
int redrive_job(struct db *d, const char *actor, const struct uuid *job, struct uuid *ret,
		struct error *e) _must_check_;

#endif
