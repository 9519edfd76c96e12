/* Jobs: the queue in PostgreSQL, one function of the schema for each step of a job's life. Everything here blocks: off
 * the loop. A worker is fenced by the attempt: what a stale one says is ERR_CONFLICT and changes nothing. */
#ifndef RUSHES_DOMAIN_JOB_H
#define RUSHES_DOMAIN_JOB_H

#include "base/log.h"
#include "base/uuid.h"
#include "store/db.h"

#include <stdatomic.h>

enum job_kind { JOB_COPY, JOB_CONVERT, JOB_PUSH, JOB_DELETE, JOB_WEBHOOK, JOB_KIND_MAX };

const char *job_kind_to_string(enum job_kind k);
enum job_kind job_kind_from_string(const char *text); /* JOB_KIND_MAX when unknown */

/* Why a running job should end before its end. The value only grows. */
enum job_stop {
	JOB_GO_ON,
	JOB_HAND_BACK, /* the process drains: stop at a good place; the job is queued again and loses no attempt */
	JOB_CANCELLED, /* cancelled or fenced: stop at once, remove own outputs; nothing it commits is accepted */
};

/* A claimed job. Its work is read by the kind's own function of the schema, which takes id and attempt. */
struct job {
	struct uuid id;
	struct uuid account;
	struct uuid recording;
	struct uuid node; /* where the bytes bind it, or zero */
	enum job_kind kind;
	unsigned attempt; /* from 1; with id the fence of every write */
	struct trace trace;
	_Atomic enum job_stop stop; /* set by the beat and the drain */
};

/* Whether the handler should end: at every turn of its loops, at least once a second. Any thread. */
static inline enum job_stop job_stop(const struct job *j)
{
	return j->stop;
}

/* Texts of id and attempt for statements: params of `f(job, attempt, ...)`. */
struct job_params {
	char id[UUID_TEXT_BYTES];
	char attempt[DB_INT_BYTES];
};

void job_params(const struct job *j, struct job_params *ret);

#endif
