/* The files of a recording (raw, main, snapshot, filmstrip) as a processing node makes them: the row of a copy comes
 * before its first byte, the outcome after its last flush. Everything here blocks: off the loop. Each step is fenced by
 * the job's attempt: ERR_CONFLICT and ERR_CANCELLED mean that the outcome is not wanted and nothing changed. */
#ifndef RUSHES_DOMAIN_FILE_H
#define RUSHES_DOMAIN_FILE_H

#include "domain/job.h"

enum file_kind { FILE_RAW, FILE_MAIN, FILE_SNAPSHOT, FILE_FILMSTRIP, FILE_KIND_MAX };

const char *file_kind_to_string(enum file_kind k); /* "raw", ...: as in rows, JSON and metrics */

/* The job begins to write `copy` of a file on its spool, at `location`: the row is `incoming` when this returned 0.
 * What an earlier attempt had begun turns `going`. */
int file_copy_begin(struct db_pool *p, const struct job *j, const struct uuid *node, enum file_kind kind,
		    const struct uuid *copy, const char *location, struct error *e) _must_check_;

struct file_made {
	enum file_kind kind;
	struct uuid copy;
	uint64_t bytes;
	const char *sha256; /* 64 digits */
	json_t *facts;	    /* borrowed; NULL: none */
};

/* The whole raw (or with conversion `never` the main) is durable on the node. `*ret_jobs` (job, kind, node) are what
 * follows, for worker_hint_rows(); the caller's. Waits some seconds for a database that is away. ERR_REJECT when bytes
 * or hash are not what was saved. After any error the outcome may have been committed: the file must stay. */
int file_copied(struct db_pool *p, const struct job *j, const struct file_made *f, struct db_result **ret_jobs,
		struct error *e) _must_check_;

/* The same for the outputs of a conversion, at most one of each kind. */
int file_converted(struct db_pool *p, const struct job *j, const struct file_made *f, size_t n,
		   struct db_result **ret_jobs, struct error *e) _must_check_;

/* Conversions that are due and wait for this node's slots: what was copied ahead. */
int file_converts_waiting(struct db_pool *p, const struct uuid *node, uint64_t *ret, struct error *e) _must_check_;

#endif
