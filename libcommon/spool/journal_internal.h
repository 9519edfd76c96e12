/* What the parts of a journal share: journal.c (streams and what they append), journal_commit.c (batches),
 * journal_clean.c (generations), journal_files.c (files), journal_index.c (reading). */
#ifndef RUSHES_SPOOL_JOURNAL_INTERNAL_H
#define RUSHES_SPOOL_JOURNAL_INTERNAL_H

#include "spool/journal.h"
#include "spool/journal_format.h"

#include <pthread.h>
#include <stdatomic.h>

#define JOURNAL_STREAM_BUCKETS 4096

/* The batch that is filling, or being written. */
struct journal_batch {
	uint8_t *data;	  /* batch_bytes, aligned */
	size_t used;	  /* of records */
	uint32_t records; /* > 0: it will be written */
	unsigned writers; /* threads that are sealing into it */
	bool is_placed;
	unsigned file;
	uint64_t generation, sequence, offset;
	int64_t begun_us; /* when its first record came */
};

/* What a stream has in one generation. */
struct journal_held {
	uint64_t generation; /* 0: nothing */
	uint64_t from, to;   /* plaintext, of the segment */
	uint64_t bytes;	     /* of its records */
};

struct journal_stream {
	struct journal *journal;
	struct journal_stream *next; /* in its bucket */
	struct uuid copy, recording;
	uint32_t segment;
	struct aead *key;	  /* NULL: kept, without a segment */
	uint64_t keep;		  /* what counts of its file though more was written; UINT64_MAX: all that is durable */
	uint64_t left_at;	  /* the last durable batch when its segment left */
	_Atomic uint64_t written; /* of the segment's own file */
	_Atomic uint64_t durable;
	uint64_t marked; /* `written` before the syncfs that runs */
	struct journal_held held[JOURNAL_FILES];
};

struct journal_file {
	int fd;		/* for writing, O_DIRECT where that works; -1: none */
	int read_fd;	/* through the page cache */
	uint64_t bytes; /* 0: none that is usable */
	uint64_t generation;
	uint64_t end;  /* behind its last batch */
	uint64_t used; /* behind the last byte that a batch of any lap may have left */
	bool is_clean; /* nothing in it is needed */
};

struct journal_entry {
	struct uuid copy;
	uint64_t from;
	uint64_t offset;     /* in the file */
	uint32_t bytes;	     /* of the record */
	uint32_t plain : 24; /* bytes of the segment */
	uint32_t file : 8;
	uint64_t generation;
};

/* What the files hold, as of one moment. While there is one, no generation is overwritten. */
struct journal_index {
	struct journal_entry *entries; /* by copy, then offset in the segment */
	size_t n, room;
	uint64_t sequence; /* of the last batch in it */
};

struct journal {
	struct journal_options o;
	uint8_t salt[JOURNAL_SALT_BYTES];
	size_t batch_bytes;

	pthread_mutex_t lock; /* protects all below that is not atomic */
	pthread_cond_t changed;
	struct journal_file files[JOURNAL_FILES];
	unsigned current;
	struct journal_batch batches[2], *open;
	bool is_closing; /* the open batch takes nothing more: it is about to be written */
	bool is_wanted;	 /* and may not wait for its time */
	bool has_threads, is_ending;
	pthread_t committer, cleaner;
	uint64_t reserve; /* bytes of the current generation that are kept for what moves */
	struct journal_stream *buckets[JOURNAL_STREAM_BUCKETS];
	_Atomic size_t n_streams; /* changed under the lock */
	size_t n_kept;
	int64_t used_us;  /* when the last of them went */
	unsigned readers; /* of the index */
	struct journal_index *index;
	bool is_indexing;

	_Atomic unsigned gaps;
	_Atomic uint64_t durable_sequence;
	_Atomic bool failed;
	struct metric_series *batches_total, *bytes_total, *moved_total, *syncs_total, *commit_seconds;
};

/* journal.c; the lock is held. */
struct journal_stream *journal_find(struct journal *j, const struct uuid *copy);
struct journal_stream *journal_stream_add(struct journal *j, const struct uuid *copy);
/* Notes that a record of the stream stands in the current place. */
void journal_note(struct journal_stream *s, unsigned file, uint64_t generation, uint64_t from, uint64_t to,
		  size_t bytes);
/* Of the segment, what is durable in its own file, and what a flush of the spool would make so: the journal's records
 * of it are not needed. */
uint64_t journal_stream_done(const struct journal_stream *s);
uint64_t journal_stream_reach(const struct journal_stream *s);
bool journal_needs(const struct journal_stream *s, const struct journal_file *f, unsigned file);
void journal_fail(struct journal *j);

/* journal_commit.c; the lock is held. Room for `bytes` in the open batch: NULL when there is none now, and what can be
 * done about that was begun: wait for `changed`. `moves`: it comes out of the reserve. */
uint8_t *journal_reserve(struct journal *j, size_t bytes, bool moves);
/* Begins to overwrite the next file. False when something in it is still needed. */
bool journal_switch(struct journal *j);
/* Chooses where the first batch goes. */
void journal_begin(struct journal *j);
/* What was reserved is filled. */
void journal_filled(struct journal *j);
void *journal_commit_main(void *journal);

/* journal_clean.c */
void journal_set_reserve(struct journal *j); /* the lock is held */
void *journal_clean_main(void *journal);

/* journal_scrub.c; the lock is held, and given up meanwhile. When nobody uses the journal: overwrites what is left in
 * it. A negative result: the disk failed. */
int journal_scrub(struct journal *j) _must_check_;
/* When that is due (monotonic); INT64_MAX: not before something changes. */
int64_t journal_scrub_due(const struct journal *j);

/* journal_files.c */
int journal_files_open(struct journal *j, struct error *e) _must_check_;
int journal_files_make(struct journal *j, struct error *e) _must_check_;
void journal_files_close(struct journal *j);
int journal_pwrite(struct journal_file *f, const void *data, size_t n, uint64_t offset, struct error *e) _must_check_;

/* journal_index.c */
/* Calls for each whole batch of a file, in order; `records` is borrowed. Reads no further than `limit`. */
typedef int journal_visit(void *arg, const struct journal_batch_head *h, uint64_t offset, const uint8_t *records,
			  struct error *e);
int journal_scan(struct journal *j, unsigned file, uint64_t limit, journal_visit *visit, void *arg,
		 struct error *e) _must_check_;
int journal_index_build(struct journal *j, struct error *e) _must_check_;
/* The entries of a copy: from *ret_begin up to the result. */
size_t journal_entries_of(const struct journal_index *x, const struct uuid *copy, size_t *ret_begin);
void journal_index_free(struct journal_index *x);

#endif
