/* Everything that `ledger verify` computes again: leaves from rows, roots, links, signatures, the order of times, and
 * the same at the ledger target. */
#ifndef RUSHES_CTL_LEDGER_VERIFY_H
#define RUSHES_CTL_LEDGER_VERIFY_H

#include "crypto/keyring.h"
#include "domain/ledger_target.h"
#include "store/db.h"

#include <jansson.h>

/* `target` may be NULL: then only the database is read. `known_head`: text of the hash of a head that was kept
 * elsewhere, or NULL. `*ret` is the caller's: {"batches", "entries", "unsealed", "last": {"batch", "at", "head"},
 * "target": whether it was read, "findings": [{"what", "batch", "entry", "detail"}]}. Findings are no error; an error
 * is that it could not look. */
int ledger_verify(struct db *d, const struct keyring *public_keys, struct ledger_target *target, const char *known_head,
		  json_t **ret, struct error *e) _must_check_;

#endif
