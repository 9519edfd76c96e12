/* Deliveries: the copy of a file at a target, from the row before its first byte to the target's own proof, and its
 * removal. Each call is one transaction of the schema, fenced by the job's attempt (ERR_CONFLICT). All block: off the
 * loop. */
#ifndef RUSHES_DOMAIN_DELIVERY_H
#define RUSHES_DOMAIN_DELIVERY_H

#include "domain/job.h"

/* What may exist at the target under this copy's name. */
struct delivery_names {
	struct uuid copy;
	char *location;	 /* the object's key, or the path below the target's folder */
	char *temporary; /* NULL: the kind of target needs none */
	char *upload_id; /* a multipart upload that is not known to be completed or aborted; NULL: none */
};

/* Releases the texts and zeroes it. */
void delivery_names_done(struct delivery_names *n);

/* Commits the row before the first byte leaves. `copy`, `location` and `temporary` are for a first attempt; what an
 * earlier one recorded stays and is returned. ERR_CONFLICT also when the copy is already there, or going. */
int delivery_begin(struct db_pool *p, const struct job *j, const struct uuid *copy, const char *location,
		   const char *temporary, struct delivery_names *ret, struct error *e) _must_check_;

/* Records a multipart upload before its first byte, or with NULL that nothing of it is left. */
int delivery_set_upload(struct db_pool *p, const struct job *j, const struct uuid *copy, const char *upload_id,
			struct error *e) _must_check_;

/* Whether the target says that it encrypts what lies there. */
enum delivery_encryption { DELIVERY_ENCRYPTION_UNKNOWN, DELIVERY_ENCRYPTED, DELIVERY_NOT_ENCRYPTED };

/* The target's answer proved the delivery: the job is done. */
int delivery_done(struct db_pool *p, const struct job *j, const struct uuid *copy, json_t *evidence,
		  enum delivery_encryption encryption, struct error *e) _must_check_;

/* The target answered that nothing of the copy is left: the delete job is done and the copy gone. */
int delivery_removed(struct db_pool *p, const struct job *j, json_t *evidence, struct error *e) _must_check_;

#endif
