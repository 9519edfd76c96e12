/* What the kinds of ledger targets have in common. For ledger_target*.c only: others use domain/ledger_target.h. */
#ifndef RUSHES_DOMAIN_LEDGER_TARGET_BACKEND_H
#define RUSHES_DOMAIN_LEDGER_TARGET_BACKEND_H

#include "domain/ledger_target.h"

#include <stdbool.h>

/* Room for "000000000012.ledger", and for larger numbers. */
#define LEDGER_TARGET_NAME_BYTES 32

/* The name of a batch's object; names of batches sort by their numbers. */
void ledger_target_name(uint64_t batch, char ret[LEDGER_TARGET_NAME_BYTES]);

/* The batch that a name is of; 0: none. */
uint64_t ledger_target_batch(const char *name);

struct ledger_target_ops {
	/* Makes the object, or sets `*ret_exists` and leaves the one that is there. */
	int (*put)(struct ledger_target *t, uint64_t batch, const void *data, size_t n, bool *ret_exists,
		   struct error *e);
	/* Makes sure that what is there survives a power cut. */
	int (*flush)(struct ledger_target *t, struct error *e);
	/* Appends the object to `ret`; ERR_NOTFOUND. */
	int (*get)(struct ledger_target *t, uint64_t batch, struct buffer *ret, struct error *e);
	int (*last)(struct ledger_target *t, uint64_t *ret, struct error *e);
	void (*free)(struct ledger_target *t);
};

struct ledger_target {
	const struct ledger_target_ops *ops;
};

int ledger_target_file_open(const char *path, struct ledger_target **ret, struct error *e) _must_check_;

/* `url`: "https://host[:port]/bucket[/prefix]". */
int ledger_target_s3_open(const struct ledger_target_config *c, const char *url, struct ledger_target **ret,
			  struct error *e) _must_check_;

#endif
