/* The audit: who did what. Its rows are written by the schema's functions, in the transactions that they tell of.
 * Blocks: off the loop. */
#ifndef RUSHES_DOMAIN_AUDIT_H
#define RUSHES_DOMAIN_AUDIT_H

#include "store/db.h"

#include <jansson.h>

struct audit_filter {
	const struct uuid *account; /* NULL: any */
	const char *subject;	    /* an id as text; NULL: any */
	unsigned limit;		    /* newest first */
};

/* [{"id", "at", "actor", "action", "account", "subject", "detail"}]; the value is the caller's. */
int audit_list(struct db *d, const struct audit_filter *f, json_t **ret, struct error *e) _must_check_;

#endif
