/* Writes a sealed file from front to back, as ingest does: bytes are sealed from the caller's buffer into an aligned
 * one, written in units of up to that one's size around the page cache, and flushed on request. A full slot that is
 * durable is never written again; what is behind it (under 64 KiB) is held in memory until its slot is full or the file
 * ends. A failed write or flush is final: the appender then refuses everything, and what was durable stays so. */
#ifndef RUSHES_SPOOL_APPENDER_H
#define RUSHES_SPOOL_APPENDER_H

#include "spool/sealed.h"
#include "spool/slab.h"

/* One thread at a time. */
struct sealed_appender;

/* Writes the header (with a fresh salt: the one in `h` is not looked at) to the empty file `fd`, which stays the
 * caller's and must be open for reading and writing; switches it to O_DIRECT where the file system can. `buffers` lends
 * the write buffer, from the first full slot of an append to the next push, flush or finish, and must outlive the
 * appender. */
int sealed_appender_new(int fd, const struct sealed_header *h, const uint8_t key[SEALED_KEY_BYTES],
			struct slab *buffers, struct sealed_appender **ret, struct error *e) _must_check_;
void sealed_appender_free(struct sealed_appender *a);
DEFINE_CLEANUP(struct sealed_appender, sealed_appender_free)

/* Takes `n` bytes; what fills slots is sealed into the lent buffer, which is written when it is full. ERR_FULL for a
 * full disk. */
int sealed_appender_append(struct sealed_appender *a, const void *data, size_t n, struct error *e) _must_check_;

/* Writes the slots that wait in the lent buffer and gives it back: at the end of each run of appends. */
int sealed_appender_push(struct sealed_appender *a, struct error *e) _must_check_;

/* Instead of a push, when more is about to come and a flush will follow soon in any case: keeps a buffer that is not
 * full while others are to be had, since large writes cost less. */
int sealed_appender_yield(struct sealed_appender *a, struct error *e) _must_check_;

/* Makes the full slots durable (fdatasync). */
int sealed_appender_flush(struct sealed_appender *a, struct error *e) _must_check_;

/* Makes the header durable, so that a file that was created is never without one. */
int sealed_appender_sync(struct sealed_appender *a, struct error *e) _must_check_;

/* Writes the rest as the final slot and makes everything durable. Nothing can be appended afterwards. */
int sealed_appender_finish(struct sealed_appender *a, struct error *e) _must_check_;

/* The same without the flush: the caller makes the file durable. */
int sealed_appender_complete(struct sealed_appender *a, struct error *e) _must_check_;

/* Goes on with a file that was torn: its slots from `first` on are opened, at most up to `slots` of the whole file, and
 * it is cut behind the last that opens without a gap. *ret is NULL when a final slot ends it already. SHA-256 and
 * CRC-32 are those of what is appended alone. ERR_CORRUPT when the header is unusable, or the file shorter than
 * `first` slots. */
int sealed_appender_resume(int fd, const uint8_t key[SEALED_KEY_BYTES], uint64_t first, uint64_t slots,
			   struct slab *buffers, struct sealed_appender **ret, struct error *e) _must_check_;

/* The bytes behind the last full slot: borrowed until the next call. */
const uint8_t *sealed_appender_tail(const struct sealed_appender *a, size_t *ret_n);

/* Plaintext bytes: taken, sealed in full slots, written to the file, durable. Each is at most the one before. */
uint64_t sealed_appender_taken(const struct sealed_appender *a);
uint64_t sealed_appender_sealed(const struct sealed_appender *a);
uint64_t sealed_appender_written(const struct sealed_appender *a);
uint64_t sealed_appender_durable(const struct sealed_appender *a);

/* Of the bytes taken so far. */
void sealed_appender_sha256(const struct sealed_appender *a, uint8_t ret[32]);
uint32_t sealed_appender_crc32(const struct sealed_appender *a);

#endif
