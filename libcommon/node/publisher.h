/* The publisher of a process: in turn with the others of the installation, by lease, it publishes due jobs again, ends
 * leases that ran out, moves jobs between queued and waiting-for-node, and empties the outbox of events. One thread. */
#ifndef RUSHES_NODE_PUBLISHER_H
#define RUSHES_NODE_PUBLISHER_H

#include "bus/bus.h"
#include "domain/job.h"

/* A turn each second while the lease is ours; a fresh job is hinted by who inserted it, this is the net below. */
#define PUBLISHER_TURN_MS  1000
#define PUBLISHER_LEASE_MS 15000

/* A due row that nobody claimed is published again after this, unless this many messages wait already. */
#define PUBLISHER_AGAIN_MS    60000
#define PUBLISHER_PENDING_MAX 500

struct publisher;

/* `holder` is copied; `bus` may be NULL: then nothing is published, leases and nodes are still watched. */
int publisher_new(struct db_pool *db, struct bus *bus, const char *holder, struct publisher **ret,
		  struct error *e) _must_check_;

/* Takes its turn for a kind. `consumer`: whose backlog bounds what is published, or NULL; must outlive the publisher.
 */
void publisher_add_kind(struct publisher *p, enum job_kind k, struct bus_consumer *consumer);

/* Takes its turn for the outbox. */
void publisher_add_outbox(struct publisher *p);

/* Ends the thread and gives the leases up. */
void publisher_free(struct publisher *p);
DEFINE_CLEANUP(struct publisher, publisher_free)

struct publisher_stats {
	uint64_t jobs_published, leases_expired, events_published, failures;
};

void publisher_stats(struct publisher *p, struct publisher_stats *ret);

#endif
