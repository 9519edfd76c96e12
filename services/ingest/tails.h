/* Tails (spool/tail.h) of segments whose row nobody knows any more, as after a restore of the database. Blocks. */
#ifndef RUSHES_INGEST_TAILS_H
#define RUSHES_INGEST_TAILS_H

#include "segment.h"
#include "spool/appender.h"

/* At the start, before the journal is written again, and after what open segments need is kept in it: whatever else it
 * has of a file here that neither tables nor ledger know (`lost-row`) goes beside that file. Where that has no room the
 * spool turns read-only: the journal may not be written then. ERR_RETRY when the database does not answer. */
int tails_save(struct segment_host *h, struct error *e) _must_check_;

/* A row that is known again: appends what the copy's tail has behind the bytes that `a` took. */
int tails_append(struct segment_host *h, const struct uuid *copy, const struct uuid *recording, int64_t number,
		 const uint8_t key[KEY_BYTES], struct sealed_appender *a, struct error *e) _must_check_;
bool tails_has(struct segment_host *h, const struct uuid *copy);

#endif
