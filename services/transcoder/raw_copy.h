/* The one sealed file that a copy job makes of a recording's segments, as they come: each is pulled, opened, checked
 * and appended. Where segments overlap (a client that sent again to another node) the bytes that are there stay, and
 * the later ones are compared with them by hash. On a job's thread. */
#ifndef RUSHES_TRANSCODER_RAW_COPY_H
#define RUSHES_TRANSCODER_RAW_COPY_H

#include "output_copy.h"
#include "raw_plan.h"

#include "crypto/digest.h"

/* Room without which nothing is begun, and a follower leaves. */
#define RAW_COPY_ROOM_BYTES (256 * MIB)

struct raw_copy;

/* What there is to be copied now: a plan of the caller's, valid until it is asked again. Blocks. NULL: nobody knows. */
typedef const struct raw_plan *raw_copy_look(void *arg);

/* Begins the file in the own spool: `bytes` is its size, or RAW_COPY_ROOM_BYTES while nobody knows it. ERR_FULL without
 * room. `key` is copied. */
int raw_copy_new(struct transcoder *t, const struct job *j, enum file_kind kind, uint64_t bytes,
		 const uint8_t key[SEALED_KEY_BYTES], raw_copy_look *look, void *arg, struct raw_copy **ret,
		 struct error *e) _must_check_;
/* Removes the file, unless raw_copy_tell() was called. */
void raw_copy_free(struct raw_copy *c);
DEFINE_CLEANUP(struct raw_copy, raw_copy_free)

/* Takes the next segment that is not in the file yet: a closed one whole, or an open one until it ends, breaks off, or
 * is passed by (`look` is asked when nothing has come for a while). *ret_taken: something came. ERR_RETRY: what broke
 * off may be taken up by calling again with a newer plan. Nothing is left when it returns 0 without *ret_taken. */
int raw_copy_take(struct raw_copy *c, const struct raw_plan *p, bool *ret_taken, struct error *e) _must_check_;

uint64_t raw_copy_bytes(const struct raw_copy *c);
/* Overlaps that were not the same bytes. */
unsigned raw_copy_differences(const struct raw_copy *c);

/* All segments are in: makes the file complete and durable. */
int raw_copy_finish(struct raw_copy *c, struct error *e) _must_check_;

/* Commits the outcome (domain/file.h: file_copied). From here on the file is not removed: an answer may be lost. */
int raw_copy_tell(struct raw_copy *c, size_t n_segments, struct db_result **ret_jobs, struct error *e) _must_check_;

#endif
