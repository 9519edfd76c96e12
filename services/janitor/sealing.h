/* The ledger's sealing and publishing, as duties of the janitor. Each holds a lease while it works: that only saves
 * work, since both may be done by two at once. */
#ifndef RUSHES_JANITOR_SEALING_H
#define RUSHES_JANITOR_SEALING_H

#include "domain/ledger_target.h"
#include "node/platform.h"

struct sealing;

/* `key_file` and the texts of `target` (where "": none) must outlive it. Refuses a wrong key file or target; a folder
 * that is not there yet is waited for. */
int sealing_new(struct platform *p, const char *key_file, const struct ledger_target_config *target,
		struct sealing **ret, struct error *e) _must_check_;
void sealing_free(struct sealing *s);

/* Runs of duties, `arg` is the struct sealing. One at a time for each; off the loop. *ret_n: entries, batches. */
int sealing_seal(void *arg, uint64_t *ret_n, struct error *e) _must_check_;
int sealing_publish(void *arg, uint64_t *ret_n, struct error *e) _must_check_;

#endif
