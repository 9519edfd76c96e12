/* Takes that broke off: segments that a crash left open are closed at their last durable slot, and a recording whose
 * reconnect window has closed is saved as `recovered`, or discarded where its environment says so. Blocks. */
#ifndef RUSHES_INGEST_RECOVER_H
#define RUSHES_INGEST_RECOVER_H

#include "bus/bus.h"
#include "segment.h"

#define RECOVER_BATCH 500

struct recover_options {
	struct segment_host *host;
	struct bus *bus; /* for hints; NULL: none */
	struct metrics *metrics;
	const char *region;
};

/* A recording that needs somebody to do something. */
struct recover_case {
	struct uuid recording, copy;
	int64_t number;
	bool is_open;	  /* its last segment is, and has a copy */
	bool is_due;	  /* its reconnect window has closed */
	bool is_unwanted; /* broken-off takes of its environment are discarded; empty ones always are */
};

/* Recordings on this node (and empty ones of the region) that are open segments or due; at most `max`. The caller
 * leaves out those that it is receiving. */
int recover_list(const struct recover_options *o, struct recover_case *ret, size_t max, size_t *ret_n,
		 struct error *e) _must_check_;

/* Deals with one; logs what it did. */
int recover_one(const struct recover_options *o, const struct recover_case *c, struct error *e) _must_check_;

/* At the start, before the journal is written again: completes the files of all open segments of this node with what it
 * has of them. What fails now stays in the journal. */
int recover_from_journal(const struct recover_options *o, struct error *e) _must_check_;

/* At the start, before anything is received: closes all open segments of this node. What fails now is done later. */
int recover_at_start(const struct recover_options *o, struct error *e) _must_check_;

#endif
