/* A file that a job writes into the own spool: row `incoming` first, then the file, its bytes, both flushes, and the
 * outcome (DESIGN section 6, "Crash windows"). A crash anywhere leaves an `incoming` row that nobody works on, which
 * the keeper removes with its file. */
#ifndef RUSHES_TRANSCODER_OUTPUT_COPY_H
#define RUSHES_TRANSCODER_OUTPUT_COPY_H

#include "transcoder.h"

#include "domain/file.h"
#include "spool/sealed.h"

struct output_copy {
	enum file_kind kind;
	struct sealed_header header; /* its `copy` is the copy's id */
	int fd;			     /* -1: not begun */
};

/* Commits the row and creates the empty file. ERR_FULL when the spool has no room for `bytes` more. */
int output_copy_begin(struct transcoder *t, const struct job *j, enum file_kind kind, uint64_t bytes,
		      struct output_copy *ret, struct error *e) _must_check_;

/* The bytes stand: checks that the sealed file is complete and holds `bytes`, flushes it and its folder. A failed flush
 * turns the spool read-only: the disk's word is no longer good. */
int output_copy_settle(struct transcoder *t, struct output_copy *o, const uint8_t key[SEALED_KEY_BYTES], uint64_t bytes,
		       struct error *e) _must_check_;

/* The job failed before it told the outcome: the file goes at once, the row is the keeper's. */
void output_copy_abandon(struct transcoder *t, struct output_copy *o);

/* Closes the file. */
void output_copy_close(struct output_copy *o);

#endif
