/* Jobs: the queue in PostgreSQL, one function of the schema for each step of a job's life. Everything here blocks: off
 * the loop. A worker is fenced by the attempt: what a stale one says is ERR_CONFLICT and changes nothing. */
#ifndef RUSHES_DOMAIN_JOB_H
#define RUSHES_DOMAIN_JOB_H

#include "base/log.h"
#include "base/uuid.h"
#include "store/db.h"

#include <jansson.h>
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
	/* a copy job that was claimed while its recording is still open: leaving it costs no attempt */
	bool is_early;
	struct trace trace;
	_Atomic enum job_stop stop; /* set by the beat and the drain */
	_Atomic bool is_stopping;   /* it is not JOB_GO_ON: for waits that look at a flag */
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

struct job_claim {
	const struct uuid *hint; /* this row if it is due; NULL or otherwise the next due one */
	enum job_kind kind;
	const char *region;
	const char *worker;	 /* "<service>/<name>#<process>", the first two as in the certificate's identity */
	const struct uuid *node; /* the own spool, for kinds that are bound to it; may be NULL */
	int64_t lease_ms;
	bool due;   /* jobs that are due */
	bool early; /* copy jobs of recordings that are still open, when none is */
};

/* Fills *ret with what was claimed, committed when this returned 0. ERR_NOTFOUND: nothing is due. */
int job_claim(struct db_pool *p, const struct job_claim *c, struct job *ret, struct error *e) _must_check_;

/* What a handler has to know: all facts of the job in one JSON object (see rushes.job_context). The caller's.
 * ERR_CONFLICT when fenced, ERR_CANCELLED when the recording is being deleted. */
int job_context(struct db_pool *p, const struct job *j, json_t **ret, struct error *e) _must_check_;

/* One held job of a beat. */
struct job_held {
	struct uuid id;
	unsigned attempt;
	bool is_ours; /* result: false: cancelled or taken over */
};

#define JOB_BEAT_MAX 256

/* Extends the leases of all jobs of one worker by one statement. `n` up to JOB_BEAT_MAX. */
int job_beat(struct db_pool *p, const char *worker, struct job_held *held, size_t n, int64_t lease_ms,
	     struct error *e) _must_check_;

/* A failed attempt with its reason; `never`: complete and intact input that can never work. *ret_is_final: no attempt
 * is left. ERR_CONFLICT and ERR_CANCELLED: the attempt is no longer the job's. */
int job_failed(struct db_pool *p, const struct job *j, const struct error *reason, bool never, bool *ret_is_final,
	       struct error *e) _must_check_;

/* Queues it again without cost. */
int job_hand_back(struct db_pool *p, const struct job *j, const char *reason, struct error *e) _must_check_;

/* The publisher's statements, for the holder of the lease `publisher:<kind>`. */

/* Leases that ran out count as failed attempts. */
int job_expire_leases(struct db_pool *p, enum job_kind k, unsigned limit, unsigned *ret_expired,
		      struct error *e) _must_check_;

/* Queues what an earlier process on the same spool left running: the spool's lock proves that it is dead. `worker` is
 * the name of the own leases. */
int job_release_dead(struct db_pool *p, enum job_kind k, const char *worker, unsigned *ret_released,
		     struct error *e) _must_check_;

/* Moves jobs between queued and waiting-for-node as their spools fall silent and come back. */
int job_watch_nodes(struct db_pool *p, enum job_kind k, struct error *e) _must_check_;

struct job_due {
	struct uuid job;
	struct uuid node; /* or zero */
	char region[32];
	unsigned attempt, publication;
	struct trace trace;
};

/* Rows that are to be published now, their publication raised: due and not published since, or not for `again_ms`.
 * `ret` holds `limit`. */
int job_publish_due(struct db_pool *p, enum job_kind k, int64_t again_ms, struct job_due *ret, unsigned limit,
		    unsigned *ret_n, struct error *e) _must_check_;

/* Messages (proto/messages/job.schema.json). */

/* "jobs.<kind>.<region>", and for what is bound to a spool "jobs.convert.<region>.<node>". */
void job_subject(enum job_kind k, const char *region, const struct uuid *node, char *ret, size_t room);

/* "<kind>-<region>", "convert-<region>-<node>": the durable consumer's name. */
void job_durable(enum job_kind k, const char *region, const struct uuid *node, char *ret, size_t room);

#define JOB_MESSAGE_BYTES    256
#define JOB_MESSAGE_ID_BYTES 72

/* {"job","kind","attempt","publication"}; returns its length. */
size_t job_message(enum job_kind k, const struct job_due *due, char ret[JOB_MESSAGE_BYTES]);

/* "<job>.<attempt>.<publication>". */
void job_message_id(const struct job_due *due, char ret[JOB_MESSAGE_ID_BYTES]);

/* "<job>.early.<segment>": a hint at a copy job whose recording is still open. */
void job_early_message_id(const struct uuid *job, unsigned segment, char ret[JOB_MESSAGE_ID_BYTES]);

/* The job that a message names. ERR_REJECT on anything that is no such message of this kind. */
int job_message_parse(const char *text, size_t n, enum job_kind k, struct uuid *ret, struct error *e) _must_check_;

#endif
