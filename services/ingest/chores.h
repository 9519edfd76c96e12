/* What ingest asks the database from time to time: which saved recordings have reached a second machine, whose streams
 * were revoked, that streams are alive, and which takes broke off. The loop's thread. */
#ifndef RUSHES_INGEST_CHORES_H
#define RUSHES_INGEST_CHORES_H

#include "ingest.h"

int chores_new(struct ingest *g, struct chores **ret, struct error *e) _must_check_;
/* Starts nothing new. */
/* Something was left to the recovery: it looks soon. */
void chores_recover_soon(struct chores *c);
void chores_stop(struct chores *c);
/* Nothing may be running. */
void chores_free(struct chores *c);
DEFINE_CLEANUP(struct chores, chores_free)

#endif
