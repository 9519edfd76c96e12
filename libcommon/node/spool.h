/* A spool: the folder of one disk that holds sealed files, and the superblock whose UUID is the node (DESIGN sections 1
 *and 6). A host name is not an identity: an empty disk gets a new UUID and can never confirm that files are gone.
 *
 *	<path>/superblock.json		the node's UUID, region and service; written once
 *	<path>/beats			how many of its beats the database has written down, as far as it knows
 *	<path>/journal/			what makes growing copies durable (spool/journal.h)
 *	<path>/copies/<xx>/<copy>.sealed	one file per copy; <xx> are the last two digits of the copy's UUID
 *	<path>/copies/<xx>/<copy>.tail		what the journal had of a copy whose row is lost
 *
 * Only the process that holds the spool's lock creates or unlinks files in it. Functions may block: off the loop. */
#ifndef RUSHES_NODE_SPOOL_H
#define RUSHES_NODE_SPOOL_H

#include "base/error.h"
#include "base/uuid.h"

#include <stdbool.h>

/* "copies/xx/<uuid>.sealed" and its end. */
#define SPOOL_LOCATION_BYTES 64

struct spool_options {
	const char *path;    /* an existing folder of this account's alone */
	const char *region;  /* must be what the superblock says, once there is one */
	const char *service; /* "ingest" or "transcoder"; likewise */
	/* Room that is kept free: below it the spool takes nothing new (promise 7). */
	uint64_t reserve_bytes;
};

struct spool;

/* Locks the spool, reads its superblock or makes one in an empty folder. ERR_FATAL when another process holds it for
 * more than 5 s, when it belongs to another region or service, or when the folder holds files but no superblock. */
int spool_open(const struct spool_options *o, struct spool **ret, struct error *e) _must_check_;
void spool_free(struct spool *s);
DEFINE_CLEANUP(struct spool, spool_free)

const struct uuid *spool_node(const struct spool *s);
const char *spool_node_text(const struct spool *s); /* the same as text */
const char *spool_service(const struct spool *s);
const char *spool_region(const struct spool *s);

/* How many beats of this spool the database has written down, as this spool was told last: 0 when it never was. It
 * outlives the process; a power cut may lose the newest. */
int64_t spool_beats_seen(const struct spool *s);
void spool_set_beats_seen(struct spool *s, int64_t beats);

/* Where a copy lies, relative to the spool: what its row says as `location`. */
void spool_location(const struct uuid *copy, char ret[SPOOL_LOCATION_BYTES]);

/* The folder <path>/journal, made where it is missing: of the process that holds the spool alone, and no matter of
 * spool_walk(). The caller closes it. */
int spool_open_journal(struct spool *s, int *ret_fd, struct error *e) _must_check_;

/* A new empty file for a copy, open for reading and writing; the caller closes it. Not durable before spool_sync().
 * ERR_CONFLICT when it is there already, ERR_FULL when the disk is. */
int spool_create(struct spool *s, const struct uuid *copy, int *ret_fd, struct error *e) _must_check_;

/* A second, empty file for a copy whose own cannot be written any more, open for reading and writing, also in a spool
 * that is read-only; the caller closes it. What a crash leaves of it is no copy's file. */
int spool_create_again(struct spool *s, const struct uuid *copy, int *ret_fd, struct error *e) _must_check_;
/* Lets that one, which the caller has flushed, take the place of the copy's file, durably; or drops it. */
int spool_replace(struct spool *s, const struct uuid *copy, struct error *e) _must_check_;
void spool_drop_again(struct spool *s, const struct uuid *copy);

/* A copy's tail: what the journal had of it when nobody knew its row any more (spool/tail.h). Lies beside its file, and
 * goes with it. spool_keep_tail() makes the second file the tail, durably. ERR_NOTFOUND: there is none. */
int spool_keep_tail(struct spool *s, const struct uuid *copy, struct error *e) _must_check_;
int spool_open_tail(struct spool *s, const struct uuid *copy, int *ret_fd, struct error *e) _must_check_;
void spool_drop_tail(struct spool *s, const struct uuid *copy);

/* Makes the file's entry in its folder durable; the file's own bytes are the caller's to flush. */
int spool_sync(struct spool *s, const struct uuid *copy, struct error *e) _must_check_;

/* Opens a copy's file with O_RDONLY or O_RDWR. ERR_NOTFOUND when there is none. */
int spool_open_copy(struct spool *s, const struct uuid *copy, int flags, int *ret_fd, struct error *e) _must_check_;

/* Unlinks and flushes the folder: when it returns 0 the file is gone for good. `*ret_was_there` (may be NULL) tells
 * whether there was one. */
int spool_remove(struct spool *s, const struct uuid *copy, bool *ret_was_there, struct error *e) _must_check_;

/* Removes a file that is no copy's by its path relative to the spool. Refuses the superblock. */
int spool_remove_stray(struct spool *s, const char *name, struct error *e) _must_check_;

/* Each file below the spool but the superblock, the journal and tails of copies that are there: `name` relative to the
 * spool, `copy` NULL when the name is no copy's. Stops at the first negative result, which it returns. */
typedef int spool_visit(void *arg, const char *name, const struct uuid *copy, struct error *e);
int spool_walk(struct spool *s, spool_visit *visit, void *arg, struct error *e) _must_check_;

/* Size of the file system and what an unprivileged process may still use of it, in bytes. */
int spool_room(struct spool *s, uint64_t *ret_capacity, uint64_t *ret_free, struct error *e) _must_check_;

/* Whether `bytes` more can be taken without touching the reserve, and the spool may be written at all. Any thread. */
bool spool_admits(struct spool *s, uint64_t bytes);

/* After a failed write or flush nothing new is written until a restart: the disk's word is no longer good. Any thread.
 */
void spool_set_read_only(struct spool *s);
bool spool_is_read_only(const struct spool *s);

#endif
