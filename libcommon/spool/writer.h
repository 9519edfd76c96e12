/* Writes a sealed file at any place, as a muxer does: earlier bytes may be rewritten (their slot is sealed again with a
 * new nonce), holes hold zeros, bytes may be read back. Opened slots are kept in a small cache and written when they
 * are pushed out. Uses only pread, pwrite, ftruncate, fdatasync and getrandom on a descriptor that stays the caller's:
 * it works inside a sandbox. Nothing is durable before sealed_writer_finish(). */
#ifndef RUSHES_SPOOL_WRITER_H
#define RUSHES_SPOOL_WRITER_H

#include "spool/sealed.h"

/* One thread at a time; about 1.1 MiB. */
struct sealed_writer;

/* Writes the header (with a fresh salt: the one in `h` is not looked at) to the empty file `fd`, open for reading and
 * writing. */
int sealed_writer_new(int fd, const struct sealed_header *h, const uint8_t key[SEALED_KEY_BYTES],
		      struct sealed_writer **ret, struct error *e) _must_check_;
void sealed_writer_free(struct sealed_writer *w);
DEFINE_CLEANUP(struct sealed_writer, sealed_writer_free)

/* Puts `n` bytes at `offset`, extending the file. Errors are final. */
int sealed_writer_write(struct sealed_writer *w, uint64_t offset, const void *data, size_t n,
			struct error *e) _must_check_;

/* Reads back what was written; *ret_n is less only at the end. */
int sealed_writer_read(struct sealed_writer *w, uint64_t offset, void *ret, size_t n, size_t *ret_n,
		       struct error *e) _must_check_;

/* Plaintext bytes now. */
uint64_t sealed_writer_size(const struct sealed_writer *w);

/* Writes what is cached and the final slot, and flushes. Afterwards only reading and freeing is allowed. */
int sealed_writer_finish(struct sealed_writer *w, struct error *e) _must_check_;

#endif
