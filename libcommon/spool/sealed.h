/* The one sealed format of spools (proto/spool-format.md): header of 4096 bytes, then slots of 64 KiB, each
 * AES-256-GCM with a fresh random nonce. A file is complete when its last slot is a short one, sealed as final (it may
 * hold no bytes at all): so truncation, reordering and swapping between files are all found. */
#ifndef RUSHES_SPOOL_SEALED_H
#define RUSHES_SPOOL_SEALED_H

#include "base/error.h"
#include "base/uuid.h"

#include <stdbool.h>

#define SEALED_HEADER_BYTES 4096
#define SEALED_SLOT_BYTES   65536 /* on disk */
/* nonce before, CRC-32 of the plaintext inside, tag behind */
#define SEALED_SLOT_OVERHEAD 32
#define SEALED_SLOT_PAYLOAD  (SEALED_SLOT_BYTES - SEALED_SLOT_OVERHEAD) /* 65504 plaintext bytes */
#define SEALED_KEY_BYTES     32						/* a recording's data key */
#define SEALED_SALT_BYTES    32
/* 2^32 slots under one key at most; far above the largest file that is accepted. */
#define SEALED_SLOTS_MAX ((uint64_t)1 << 31)
#define SEALED_SLOT_NONE UINT64_MAX

/* The numbers are part of the format. */
enum sealed_kind {
	SEALED_RAW_SEGMENT = 1, /* a run of a recording's raw bytes */
	SEALED_RAW = 2,		/* all raw bytes */
	SEALED_MAIN = 3,	/* the .mp4 */
	SEALED_SNAPSHOT = 4,
	SEALED_FILMSTRIP = 5,
	SEALED_KIND_MAX
};

const char *sealed_kind_to_string(enum sealed_kind k);	    /* "raw-segment", "raw", ...; never NULL for a valid kind */
enum sealed_kind sealed_kind_from_string(const char *text); /* SEALED_KIND_MAX when unknown */

/* What a file is, in the clear but authenticated by every slot. A file that a peer copied as it is keeps the header it
 * was first sealed with, so `copy` names the copy it was made as. */
struct sealed_header {
	enum sealed_kind kind;
	struct uuid account;
	struct uuid recording;
	struct uuid copy;
	uint32_t segment; /* number of the segment for SEALED_RAW_SEGMENT, else 0 */
	uint8_t salt[SEALED_SALT_BYTES];
};

/* Encodes and reads the 4096 bytes. Reading refuses (ERR_CORRUPT) a wrong magic, version, kind, size or CRC, and bytes
 * outside the fields that are not as the format says. */
void sealed_header_encode(const struct sealed_header *h, uint8_t ret[SEALED_HEADER_BYTES]);
int sealed_header_decode(const uint8_t data[SEALED_HEADER_BYTES], struct sealed_header *ret,
			 struct error *e) _must_check_;

/* Reads the header at the beginning of `fd` (pread). ERR_CORRUPT also when the file is shorter. */
int sealed_header_read(int fd, struct sealed_header *ret, struct error *e) _must_check_;

/* Bytes on disk of a complete file with `plain` bytes, and the reverse; false for sizes no complete file has. */
uint64_t sealed_file_size(uint64_t plain);
bool sealed_plain_size(uint64_t file, uint64_t *ret) _must_check_;

/* ---- reading: random access ---- */

/* A complete sealed file, opened. Keeps a few opened slots; 320 KiB at most. One thread at a time. Uses only pread and
 * fstat on a descriptor that stays the caller's. */
struct sealed_reader;

/* Checks the header (and, if `expected` is given, that kind, recording, account and segment are the expected ones),
 * derives the file's key and opens the final slot: ERR_CORRUPT when the file is torn or truncated. */
int sealed_reader_new(int fd, const uint8_t key[SEALED_KEY_BYTES], const struct sealed_header *expected,
		      struct sealed_reader **ret, struct error *e) _must_check_;

/* The same for a file that is still being written, or that nobody ended: of `plain` bytes, whole slots (a multiple of
 * SEALED_SLOT_PAYLOAD), which the caller knows to be there. What is behind them is not looked at. */
int sealed_reader_new_part(int fd, const uint8_t key[SEALED_KEY_BYTES], const struct sealed_header *expected,
			   uint64_t plain, struct sealed_reader **ret, struct error *e) _must_check_;
void sealed_reader_free(struct sealed_reader *r);
DEFINE_CLEANUP(struct sealed_reader, sealed_reader_free)

const struct sealed_header *sealed_reader_header(const struct sealed_reader *r);
uint64_t sealed_reader_size(const struct sealed_reader *r); /* plaintext bytes */

/* Reads `n` plaintext bytes at `offset`; *ret_n is less only at the end of the file. ERR_CORRUPT when a slot fails its
 * check: see sealed_reader_corrupt_slot(). */
int sealed_reader_read(struct sealed_reader *r, uint64_t offset, void *ret, size_t n, size_t *ret_n,
		       struct error *e) _must_check_;

/* Number of the slot that failed last, or SEALED_SLOT_NONE. */
uint64_t sealed_reader_corrupt_slot(const struct sealed_reader *r);

/* ---- reading: a stream of sealed bytes ---- */

/* Opens a sealed file that arrives in pieces (a pull from a peer), in one pass. One thread at a time; 132 KiB. */
struct sealed_decoder;

/* Gets the opened bytes in order. A negative result stops the decoder, which returns it. */
typedef int sealed_sink(void *arg, const uint8_t *data, size_t n, struct error *e);

int sealed_decoder_new(const uint8_t key[SEALED_KEY_BYTES], const struct sealed_header *expected, sealed_sink *sink,
		       void *arg, struct sealed_decoder **ret, struct error *e) _must_check_;
void sealed_decoder_free(struct sealed_decoder *d);
DEFINE_CLEANUP(struct sealed_decoder, sealed_decoder_free)

/* Takes the next `n` sealed bytes, of any length. Errors are final. */
int sealed_decoder_feed(struct sealed_decoder *d, const void *data, size_t n, struct error *e) _must_check_;

/* All bytes were fed: opens the final slot. ERR_CORRUPT when it is missing: the stream was truncated. */
int sealed_decoder_finish(struct sealed_decoder *d, struct error *e) _must_check_;

/* The stream broke off and comes again from a place of the decoder's choice: drops the part of a slot that it holds,
 * and tells the offset in the sealed file from which it wants to be fed on. */
uint64_t sealed_decoder_rewind(struct sealed_decoder *d);

const struct sealed_header *sealed_decoder_header(const struct sealed_decoder *d); /* NULL until it was read */
uint64_t sealed_decoder_size(const struct sealed_decoder *d);			   /* plaintext bytes given out */

/* ---- scanning ---- */

/* What stands in a file that a crash may have torn. */
struct sealed_scan {
	struct sealed_header header;
	uint64_t slots; /* whole, valid, full slots from the beginning without a gap */
	uint64_t plain; /* plaintext bytes in them, and in the final slot */
	bool complete;	/* a valid final slot follows them and ends the file */
	uint8_t sha256[32];
	uint32_t crc32; /* of those bytes */
};

/* Opens slot after slot until one fails. ERR_CORRUPT only when the header is unusable; a torn tail is no error. */
int sealed_scan(int fd, const uint8_t key[SEALED_KEY_BYTES], struct sealed_scan *ret, struct error *e) _must_check_;

/* Makes a torn file complete: cuts it behind the slots that `scan` found valid, adds an empty final slot, flushes. Does
 * nothing to a complete one. The caller holds the only reference to the file. */
int sealed_complete(int fd, const uint8_t key[SEALED_KEY_BYTES], struct sealed_scan *scan,
		    struct error *e) _must_check_;

#endif
