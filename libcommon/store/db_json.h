/* Statements that answer with one JSON text: what is shown to people and programs is built by the database, in one
 * snapshot, and passed on. */
#ifndef RUSHES_STORE_DB_JSON_H
#define RUSHES_STORE_DB_JSON_H

#include "store/db.h"

#include <jansson.h>

/* Runs `st`, which yields one row with one column of JSON; the value is the caller's (json_decref). ERR_NOTFOUND when
 * there is no row or it is null. Off the loop. */
int db_query_json(struct db *d, const struct db_statement *st, const char *const *params, json_t **ret,
		  struct error *e) _must_check_;

#endif
