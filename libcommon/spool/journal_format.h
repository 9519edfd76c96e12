/* The bytes of a journal (proto/spool-format.md): what its writer and its reader share. Nothing here touches a disk. */
#ifndef RUSHES_SPOOL_JOURNAL_FORMAT_H
#define RUSHES_SPOOL_JOURNAL_FORMAT_H

#include "base/error.h"
#include "base/uuid.h"
#include "crypto/aead.h"

#include <stdbool.h>

#define JOURNAL_BLOCK_BYTES  4096 /* everything is written in multiples of it */
#define JOURNAL_HEADER_BYTES JOURNAL_BLOCK_BYTES
#define JOURNAL_SALT_BYTES   32
/* Generation files; the one after the newest is the next to be overwritten. */
#define JOURNAL_FILES 4

/* What stands at the beginning of each generation file, from its making on. */
struct journal_header {
	struct uuid node;
	uint8_t salt[JOURNAL_SALT_BYTES]; /* the same in all files of a journal */
	uint32_t number;		  /* 0 to JOURNAL_FILES - 1 */
	uint64_t bytes;			  /* of the file */
};

void journal_header_encode(const struct journal_header *h, uint8_t ret[JOURNAL_HEADER_BYTES]);
/* ERR_CORRUPT. */
int journal_header_decode(const uint8_t data[JOURNAL_HEADER_BYTES], struct journal_header *ret,
			  struct error *e) _must_check_;

/* A batch: this head, then records, then zeros up to a multiple of JOURNAL_BLOCK_BYTES. */
#define JOURNAL_BATCH_HEAD_BYTES 64

struct journal_batch_head {
	struct uuid node;
	uint64_t generation; /* of the file's bytes: higher each time it is overwritten */
	uint64_t sequence;   /* one more than that of the batch before, through all generations */
	uint32_t bytes;	     /* with head and zeros */
	uint32_t used;	     /* of records */
	uint32_t records;
};

size_t journal_batch_bytes(size_t used);

/* Writes the head before `h->used` bytes of records, with the CRC-32 of both; zeroes what is behind them. */
void journal_batch_encode(const struct journal_batch_head *h, uint8_t *batch);

/* Reads the head of a batch whose records need not be there. ERR_CORRUPT when it cannot be one: wrong magic, another
 * node's, lengths that do not agree. */
int journal_batch_head_decode(const uint8_t data[JOURNAL_BATCH_HEAD_BYTES], const struct uuid *node,
			      struct journal_batch_head *ret, struct error *e) _must_check_;
/* Whether the whole batch agrees with its CRC-32; `n` bytes are there. */
bool journal_batch_is_whole(const struct journal_batch_head *h, const uint8_t *data, size_t n);

#define JOURNAL_RECORD_HEAD_BYTES 68
#define JOURNAL_RECORD_AD_BYTES	  56
/* Longest run of plaintext in one record. */
#define JOURNAL_RECORD_PLAIN_MAX 65504

/* A run of a segment's bytes. */
struct journal_record {
	struct uuid copy, recording;
	uint32_t segment;
	uint64_t from;	     /* offset in the segment */
	uint32_t plain;	     /* bytes of it; 0: the record holds nothing and is passed over */
	uint32_t bytes;	     /* of the record */
	const uint8_t *data; /* the record, borrowed */
};

size_t journal_record_bytes(size_t plain);

/* The record at *at of a batch's `n` bytes of records; moves *at behind it. 1; 0 at the end; ERR_CORRUPT. */
int journal_record_next(const uint8_t *records, size_t n, size_t *at, struct journal_record *ret,
			struct error *e) _must_check_;

/* The key of a segment's records: HKDF-SHA-256 of the recording's data key. */
int journal_key_new(const uint8_t key[AEAD_KEY_BYTES], const uint8_t salt[JOURNAL_SALT_BYTES],
		    const struct uuid *recording, uint32_t segment, struct aead **ret, struct error *e) _must_check_;

/* Seals `r->plain` bytes as the record `r` into journal_record_bytes() bytes at `ret`. */
int journal_record_seal(struct aead *key, const struct journal_record *r, const void *data, uint8_t *ret,
			struct error *e) _must_check_;
/* A record that holds nothing, in place of one that could not be sealed. */
void journal_record_void(size_t bytes, uint8_t *ret);
/* Opens it into `r->plain` bytes. ERR_CORRUPT. */
int journal_record_open(struct aead *key, const struct journal_record *r, uint8_t *ret, struct error *e) _must_check_;

#endif
