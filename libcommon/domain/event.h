/* The outbox of events: rows that steps insert in their transactions, published to the stream EVENTS afterwards, at
 * least once, in order of their ids; ids only, no contents. The end of a deletion carries its ledger entry and the
 * signed head of the entry's batch, so that whoever keeps it can check a certificate later. Blocks; off the loop. */
#ifndef RUSHES_DOMAIN_EVENT_H
#define RUSHES_DOMAIN_EVENT_H

#include "base/log.h"
#include "base/uuid.h"
#include "bus/bus.h"
#include "domain/ledger_head.h"
#include "store/db.h"

#define EVENT_TYPE_BYTES 64
#define EVENT_AT_BYTES	 32

struct event {
	int64_t id;
	char type[EVENT_TYPE_BYTES]; /* "recording.saved" */
	struct uuid account;	     /* or zero */
	struct uuid recording;	     /* or zero */
	char at[EVENT_AT_BYTES];     /* RFC 3339, UTC */
	struct trace trace;
	int64_t entry;		 /* of the ledger, sealed; 0: none */
	merkle_hash entry_hash;	 /* its leaf */
	int64_t entry_position;	 /* its leaf number in the batch */
	struct ledger_head head; /* of its batch */
};

/* The oldest unpublished events, up to `limit`, which `ret` holds. */
int event_unpublished(struct db_pool *p, struct event *ret, unsigned limit, unsigned *ret_n,
		      struct error *e) _must_check_;

/* Marks what the stream acknowledged. */
int event_published(struct db_pool *p, const struct event *events, unsigned n, struct error *e) _must_check_;

#define EVENT_MESSAGE_BYTES 2048

/* {"event","type","account","recording","at"[,"ledger"]} (proto/messages/event.schema.json); returns its length. */
size_t event_message(const struct event *ev, char ret[EVENT_MESSAGE_BYTES]);

/* One turn of the outbox: publishes the next events and marks them. *ret_published below `EVENT_BATCH`: nothing is
 * left. ERR_RETRY: the broker doesn't take them. */
#define EVENT_BATCH 64
int event_outbox_turn(struct db_pool *p, struct bus *b, unsigned *ret_published, struct error *e) _must_check_;

#endif
