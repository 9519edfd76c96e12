/* Reconciling a restored database: the steps of deploy/schema/0091_restore.sql. Each may be repeated. Blocks. */
#ifndef RUSHES_DOMAIN_RESTORE_H
#define RUSHES_DOMAIN_RESTORE_H

#include "domain/ledger_object.h"
#include "store/db.h"

#include <jansson.h>

/* The gate's state, the last restore and the spools: one object, the caller's. */
int restore_status(struct db *d, json_t **ret, struct error *e) _must_check_;

/* What the last restore found and did: [{"what", "recording", "copy", "place", "detail", "at"}], at most `limit`. */
int restore_findings(struct db *d, unsigned limit, json_t **ret, struct error *e) _must_check_;

/* Closes the gate: for a restore that nothing tells by itself. */
int restore_begin(struct db *d, const char *actor, const char *reason, struct error *e) _must_check_;

/* The last batch that the ledger target has. */
int restore_set_target(struct db *d, uint64_t last, struct error *e) _must_check_;

/* The database's batches from `from` on are not the target's and are given up: their entries are sealed again. */
int restore_fork(struct db *d, const char *actor, uint64_t from, const char *reason, struct error *e) _must_check_;

/* The target lost the batches from `from` on: they are brought to it again. */
int restore_republish(struct db *d, const char *actor, uint64_t from, const char *reason, struct error *e) _must_check_;

/* A batch at the target that is passed over. */
int restore_skip(struct db *d, const char *actor, uint64_t batch, const char *detail, const char *reason,
		 struct error *e) _must_check_;

/* Takes a sound batch into the ledger. ERR_CONFLICT when the database has others under its numbers. `is_override`: it
 * need not follow the last one, and entries in its way get other numbers. */
int restore_import(struct db *d, const struct ledger_object *o, bool is_override, struct error *e) _must_check_;

/* Brings at most `limit` recordings into agreement with the imported entries; *ret_left: how many are left. */
int restore_apply(struct db *d, unsigned limit, uint64_t *ret_left, struct error *e) _must_check_;

/* Notes what the spools' reports say against the rows. */
int restore_compare(struct db *d, struct error *e) _must_check_;

/* Opens the gate. ERR_CONFLICT while recordings are left, or spools have not reported and `without_silent` is false. */
int restore_open(struct db *d, const char *actor, bool without_silent, const char *reason,
		 struct error *e) _must_check_;

#endif
