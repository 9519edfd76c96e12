/* One batch as the ledger target has it, read and judged by itself (proto/ledger-format.md). Blocks. */
#ifndef RUSHES_DOMAIN_LEDGER_OBJECT_H
#define RUSHES_DOMAIN_LEDGER_OBJECT_H

#include "domain/ledger_head.h"
#include "domain/ledger_target.h"

#include <stdbool.h>

struct ledger_object {
	struct buffer data;
	struct ledger_head head; /* of a sound one */
	char **lines;		 /* into `data`: the head, the signature, then the entries' texts */
	size_t n;		 /* lines */
	bool is_there;
	bool is_sound;	  /* the head is signed by a known key and the lines give its root */
	struct error why; /* why it is not sound, as far as that is known */
};

/* Reads a batch. That it is not there or not sound is no error; one is that it cannot be looked at. */
int ledger_object_read(struct ledger_target *t, uint64_t batch, const struct keyring *public_keys,
		       struct ledger_object *ret, struct error *e) _must_check_;
void ledger_object_done(struct ledger_object *o);

#endif
