/* The statements of recordings that ingest makes: one function of the schema each. Blocks. */
#ifndef RUSHES_INGEST_RECORDING_ROWS_H
#define RUSHES_INGEST_RECORDING_ROWS_H

#include "turn.h"

int recording_row_open(struct db_pool *p, const struct turn *t, struct turn_opening *ret, struct error *e) _must_check_;

/* The same for an upload by tus, which is made or found. ERR_REJECT when it is longer than a recording may be. */
int recording_row_upload(struct db_pool *p, const struct turn *t, struct turn_opening *ret,
			 struct error *e) _must_check_;

/* ERR_REJECT when the upload has another length. */
int recording_row_set_length(struct db_pool *p, const struct uuid *recording, uint64_t length,
			     struct error *e) _must_check_;

/* The upload of this session is discarded. *ret_was_there: there was one. ERR_CANCELLED when it is being deleted
 * already, ERR_DENIED when it is held. */
int recording_row_upload_delete(struct db_pool *p, const struct uuid *recording, const struct uuid *account,
				const struct uuid *session, bool *ret_was_there, struct error *e) _must_check_;

/* `total` may be NULL. how->job and bytes are set; without a job there was nothing to save and it was discarded. */
int recording_row_saved(struct db_pool *p, const struct uuid *recording, struct turn_save *how,
			const struct intake_total *total, struct error *e) _must_check_;

/* Whether another node has raised the epoch above this one. False when the database does not answer. */
bool recording_row_is_overtaken(struct db_pool *p, const struct uuid *recording, int64_t epoch);

/* The whole take goes, by the rule `discarded`. */
int recording_row_discard(struct db_pool *p, const struct uuid *recording, struct error *e) _must_check_;

/* A PostgreSQL array literal of ids; freed by the caller. NULL without memory. */
char *uuid_array(const struct uuid *ids, size_t n);
/* Likewise of numbers. */
char *int_array(const int64_t *numbers, size_t n);

#endif
