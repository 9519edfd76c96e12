/* What a pull consumer has asked for, what it got and what is to be done next: credits, generations, watchdog. Pure
 * state without I/O; the caller holds a lock. Times are monotonic microseconds. The rules follow how nats-server 2.9
 * answers pulls: a request to a missing consumer is dropped without a word, requests die with the connection. */
#ifndef RUSHES_BUS_PULL_H
#define RUSHES_BUS_PULL_H

#include "base/macros.h"

#include <stdbool.h>

/* A request runs out after this; the server tells so and the rest is asked for again. */
#define PULL_EXPIRES_MS 10000
/* While a request waits the server beats; at most half of the expiry. */
#define PULL_HEARTBEAT_MS 2000
/* Two and a half beats without any answer: consumer or stream may be gone. */
#define PULL_SILENCE_US ((int64_t)5000000)
/* Beats but no job for this long: ask how many are pending; a consumer that holds back some is made anew. */
#define PULL_SUSPECT_US	      ((int64_t)10000000)
#define PULL_SUSPECT_AGAIN_US ((int64_t)1000000)

enum pull_action {
	PULL_WAIT,    /* nothing until the time given */
	PULL_REQUEST, /* send a request, then pull_requested() */
	PULL_ENSURE,  /* find or make stream and consumer, take a new inbox: then pull_bound() or pull_failed() */
	PULL_INSPECT, /* ask for the pending number: then pull_inspected() */
};

struct pull {
	unsigned generation;  /* of the inbox; what comes to an older one is returned */
	unsigned want;	      /* messages that may still come */
	unsigned outstanding; /* of them asked for in this generation */
	bool bound;
	unsigned suspicions;
	int64_t heard_us;   /* last answer of any kind */
	int64_t inspect_us; /* when to inspect */
	int64_t not_before_us, backoff_us;
};

void pull_want(struct pull *p, unsigned n);

/* The consumer may be gone, or requests died with the connection: ensure again, at once. */
void pull_lost(struct pull *p);

void pull_bound(struct pull *p, int64_t now_us);
void pull_failed(struct pull *p, int64_t now_us); /* tries again after 0.25 s doubling to 5 s */

/* How many to ask for now. */
unsigned pull_batch(const struct pull *p);
void pull_requested(struct pull *p, unsigned batch, int64_t now_us);

/* A job came. False: of an older generation, to be returned. */
bool pull_on_message(struct pull *p, unsigned generation, int64_t now_us) _must_check_;

/* A status came: code and description of its header, `pending` of Nats-Pending-Messages or -1. */
void pull_on_status(struct pull *p, unsigned generation, int code, const char *description, int64_t pending,
		    int64_t now_us);

/* Answers true when the consumer must be deleted and made anew. */
bool pull_inspected(struct pull *p, uint64_t pending, int64_t now_us) _must_check_;

/* What to do at `now_us`; for PULL_WAIT, until when (INT64_MAX: until something changes). */
enum pull_action pull_next(const struct pull *p, int64_t now_us, int64_t *ret_until_us);

#endif
