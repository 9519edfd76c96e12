/* Copies that this process is writing now, so that neither the keeper nor the recovery takes them for abandoned. Any
 * thread. */
#ifndef RUSHES_INGEST_LIVE_COPIES_H
#define RUSHES_INGEST_LIVE_COPIES_H

#include "base/error.h"
#include "base/uuid.h"

#include <stdbool.h>

struct live_copies;

int live_copies_new(struct live_copies **ret, struct error *e) _must_check_;
void live_copies_free(struct live_copies *l);
DEFINE_CLEANUP(struct live_copies, live_copies_free)

/* ERR_NOMEM. A copy is added once. */
int live_copies_add(struct live_copies *l, const struct uuid *copy, struct error *e) _must_check_;
void live_copies_remove(struct live_copies *l, const struct uuid *copy);
bool live_copies_has(struct live_copies *l, const struct uuid *copy);
size_t live_copies_count(struct live_copies *l);

#endif
