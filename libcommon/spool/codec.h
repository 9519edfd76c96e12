/* Seals and opens single slots of one file: what readers and writers of the sealed format share. */
#ifndef RUSHES_SPOOL_CODEC_H
#define RUSHES_SPOOL_CODEC_H

#include "spool/sealed.h"

/* The file's key and the digest of its header. One thread at a time. */
struct sealed_codec;

/* Derives the file's key: HKDF-SHA-256 of the data key with the file's salt, bound to recording, kind and segment. */
int sealed_codec_new(const struct sealed_header *h, const uint8_t key[SEALED_KEY_BYTES], struct sealed_codec **ret,
		     struct error *e) _must_check_;
void sealed_codec_free(struct sealed_codec *c);
DEFINE_CLEANUP(struct sealed_codec, sealed_codec_free)

/* Seals `n` plaintext bytes as slot `number` into n + SEALED_SLOT_OVERHEAD bytes at `ret`, with a fresh nonce. A final
 * slot holds less than SEALED_SLOT_PAYLOAD bytes, any other exactly that. `ret_crc` (NULL: not wanted) gets the
 * plaintext's CRC-32. */
int sealed_codec_seal(struct sealed_codec *c, uint64_t number, const void *data, size_t n, uint8_t *ret,
		      uint32_t *ret_crc, struct error *e) _must_check_;

/* Room that opening a full slot needs: the plaintext begins SEALED_SLOT_PREFIX bytes into it. */
#define SEALED_SLOT_PREFIX 4
#define SEALED_SLOT_ROOM   (SEALED_SLOT_PREFIX + SEALED_SLOT_PAYLOAD)

/* Opens the `n` bytes (SEALED_SLOT_OVERHEAD to SEALED_SLOT_BYTES) of slot `number` into `ret`, which holds
 * n - SEALED_SLOT_OVERHEAD + SEALED_SLOT_PREFIX bytes. ERR_CORRUPT names the slot. */
int sealed_codec_open(struct sealed_codec *c, uint64_t number, const uint8_t *data, size_t n, uint8_t *ret,
		      uint32_t *ret_crc, struct error *e) _must_check_;

/* Reads exactly `n` bytes at `offset`: ERR_CORRUPT when the file ends before, ERR_RETRY for what the disk says. */
int sealed_pread(int fd, void *ret, size_t n, uint64_t offset, struct error *e) _must_check_;
/* Writes exactly `n` bytes at `offset`. ERR_FULL, ERR_RETRY. */
int sealed_pwrite(int fd, const void *data, size_t n, uint64_t offset, struct error *e) _must_check_;

/* Checks what a header says against what the caller wants (NULL: anything). ERR_CORRUPT. */
int sealed_header_expect(const struct sealed_header *found, const struct sealed_header *expected,
			 struct error *e) _must_check_;

/* Where slot `number` begins in the file. */
uint64_t sealed_slot_offset(uint64_t number);

#endif
