/* What a person names by an id or by a name. */
#ifndef RUSHES_DOMAIN_FIND_H
#define RUSHES_DOMAIN_FIND_H

#include "store/db.h"

/* Runs `st`, which yields the ids of what is called `text`. One: 0. None: ERR_NOTFOUND, several: ERR_CONFLICT, both
 * with `what` and the text in the message. Off the loop. */
int find_one(struct db *d, const struct db_statement *st, const char *const *params, const char *what, const char *text,
	     struct uuid *ret, struct error *e) _must_check_;

#endif
