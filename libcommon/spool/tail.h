/* A tail: the records of one copy out of the journal, as they are, in a file of their own (proto/spool-format.md). When
 * the database was restored, segments may have been open of which it knows nothing, nor their keys: what the journal
 * has of them is kept in this form before it is written again, beside the file with their full slots. */
#ifndef RUSHES_SPOOL_TAIL_H
#define RUSHES_SPOOL_TAIL_H

#include "spool/journal.h"

/* Copies with records in the journal that are not kept (journal_keep()): an allocated array. Before journal_start(). */
int journal_found(struct journal *j, struct uuid **ret, size_t *ret_n, struct error *e) _must_check_;

/* Writes the copy's records to the empty file `fd`, durably. *ret_bytes: how many bytes of the segment they hold, each
 * counted as often as it is there. Before journal_start(). */
int tail_write(struct journal *j, const struct uuid *copy, int fd, uint64_t *ret_bytes, struct error *e) _must_check_;

/* As journal_read(), out of a tail. ERR_CORRUPT when it is none. */
int tail_read(int fd, const struct uuid *recording, uint32_t segment, const uint8_t key[32], uint64_t from,
	      journal_sink *sink, void *arg, struct error *e) _must_check_;

#endif
