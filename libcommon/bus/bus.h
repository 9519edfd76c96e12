/* NATS JetStream. Messages are hints and events: what is true stands in PostgreSQL, so a service starts and goes on
 * without a broker, and a lost message costs delay only. One connection per process with the library's own threads; a
 * bus thread does the writing (pulls, acknowledgements, posted messages), because a write can stall for the connect
 * time limit. Streams and consumers are made when missing: at start, after each reconnect, and when a watchdog finds
 * silence (a server drops pulls for a missing consumer without an answer). */
#ifndef RUSHES_BUS_BUS_H
#define RUSHES_BUS_BUS_H

#include "base/error.h"
#include "base/log.h"

#include <stdbool.h>

struct bus;
struct bus_consumer;

#define BUS_SUBJECT_BYTES 160  /* longest subject, its end included */
#define BUS_BODY_BYTES	  4096 /* longest message body: ids only travel here */
#define BUS_ID_BYTES	  96

/* The two streams (proto/subjects.md): JOBS is a work queue of `jobs.>`, EVENTS keeps `events.>` for 4 days. */
enum bus_stream { BUS_STREAM_JOBS, BUS_STREAM_EVENTS, BUS_STREAM_MAX };

const char *bus_stream_to_string(enum bus_stream s);

/* A configuration fault that no retry heals: the broker refuses a subject or the identity (NATS_NOT_PERMITTED). Called
 * once, on a library thread: hand it over (service_fail). */
typedef void bus_fault(void *arg, const struct error *e);

struct bus_options {
	const char *url;     /* "tls://localhost:4222", TLS only; the name is checked against the certificate */
	const char *service; /* "rushes-ingest": connection name; answers come to `_INBOX.rushes-ingest.` */
	const char *certificate, *key, *ca;
	bus_fault *fault;
	void *fault_arg;
};

/* Copies the options, starts the bus thread; connects in the background. */
int bus_new(const struct bus_options *o, struct bus **ret, struct error *e) _must_check_;

/* Orderly close: writes what is queued (at most 2 s), closes, ends the bus thread. All consumers must have been freed
 * and all deliveries answered. */
void bus_free(struct bus *b);
DEFINE_CLEANUP(struct bus, bus_free)

/* Makes a new connection with newly read certificates. Any thread. */
void bus_renew(struct bus *b);

struct bus_message {
	enum bus_stream stream;
	const char *subject;
	const char *id;		   /* Nats-Msg-Id: the same id within 2 minutes is stored once */
	const struct trace *trace; /* NULL or unset: no traceparent */
	const void *body;
	size_t body_bytes;
};

/* Publishes and waits for the stream's acknowledgement, 1.5 s at most. 0 only when the stream holds it. ERR_RETRY
 * otherwise, at once while the broker is away. A missing stream is made, and the message sent once more. Any thread but
 * a loop's. */
int bus_publish(struct bus *b, const struct bus_message *m, struct error *e) _must_check_;

/* Hands a copy to the bus thread to publish; nobody learns whether it arrived. False when the queue (1024) is full or
 * the bus is closing. For hints right after a commit, which the publisher's sweep repeats. Any thread. */
bool bus_post(struct bus *b, const struct bus_message *m);

/* A received message; the receiver's until it is acknowledged or returned, which frees it. */
struct bus_delivery {
	char subject[BUS_SUBJECT_BYTES];
	struct trace trace; /* of its traceparent header */
	uint64_t deliveries;
	size_t body_bytes;
	const char *body; /* ended by a NUL behind body_bytes */
};

/* Hands the answer to the bus thread. An acknowledgement proves nothing and may be lost: then it comes again. Any
 * thread. */
void bus_delivery_ack(struct bus_delivery *d);
void bus_delivery_return(struct bus_delivery *d, int64_t delay_ms); /* delivered again after the delay */

/* Called on a library thread: hand over, don't block. */
typedef void bus_receive(void *arg, struct bus_delivery *d);

struct bus_consumer_options {
	enum bus_stream stream;
	const char *durable; /* "copy-eu1": letters, digits, '-', '_' */
	const char *filter;  /* subject; consumers of JOBS may not overlap */
	int64_t ack_wait_ms; /* default 30000 */
	bus_receive *receive;
	void *arg;
};

/* Begins to consume; nothing is pulled before bus_consumer_want(). */
int bus_consumer_new(struct bus *b, const struct bus_consumer_options *o, struct bus_consumer **ret,
		     struct error *e) _must_check_;

/* How many more messages may come: replaces the number said before. A message that arrives counts it down by itself.
 * More than wanted may arrive after a reduction; return those. Any thread. */
void bus_consumer_want(struct bus_consumer *c, unsigned n);

/* How many messages wait for the consumer, asked of the broker: blocks up to 1 s. Any thread but a loop's. */
int bus_consumer_pending(struct bus_consumer *c, uint64_t *ret, struct error *e) _must_check_;

/* Begins to end it without waiting: takes no more, returns what still comes. Any thread. */
void bus_consumer_stop(struct bus_consumer *c);

/* No more messages are received once this returned; those received before stay valid. Waits for a running `receive`, so
 * not from within one. */
void bus_consumer_free(struct bus_consumer *c);
DEFINE_CLEANUP(struct bus_consumer, bus_consumer_free)

struct bus_stats {
	bool connected;
	uint64_t connects, published, publish_failures, posted, post_refused, received, acked, returned;
	uint64_t heals; /* consumers made anew or found again after silence */
};

void bus_stats(struct bus *b, struct bus_stats *ret); /* any thread */

#endif
