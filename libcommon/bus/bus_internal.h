/* What the files of the bus share; nobody else includes this. Only the bus thread calls what writes to the connection,
 * except bus_publish(), which holds `use` for reading against a replacement of the connection. */
#ifndef RUSHES_BUS_BUS_INTERNAL_H
#define RUSHES_BUS_BUS_INTERNAL_H

#include "bus/bus.h"
#include "bus/pull.h"

#include <nats/nats.h>
#include <pthread.h>

#define BUS_INBOX_BYTES 96
#define BUS_REQUEST_MS                                                                                \
	1000 /* API requests and acknowledgements: JetStream answers in milliseconds or is in trouble \
	      */

/* A library callback's way to the bus. It may come after the bus is gone, so it lives on its own. */
struct bus_link {
	pthread_mutex_t lock;
	struct bus *bus; /* NULL: gone */
	unsigned opened, closed;
};

/* A write for the bus thread: a posted message, or the answer to a delivery. */
struct bus_write {
	struct bus_write *next;
	char *subject;
	char *body;
	size_t body_bytes;
	char id[BUS_ID_BYTES];		     /* "": none */
	char traceparent[TRACEPARENT_BYTES]; /* "": none */
};

/* One inbox of a consumer. The library may call back until it is complete. */
struct bus_subscription {
	struct bus_subscription *next;
	struct bus_consumer *consumer;
	natsSubscription *sub;
	unsigned generation;
	bool retired;  /* unsubscribed; bus thread only */
	bool complete; /* under the bus' lock */
};

struct bus_consumer {
	struct bus_consumer *next; /* others only add in front, only the bus thread removes */
	struct bus *bus;
	enum bus_stream stream;
	char *durable, *filter;
	int64_t ack_wait_ms;
	bus_receive *receive;
	void *arg;
	/* under the bus' lock */
	struct pull pull;
	bool closing, gone;
	struct bus_subscription *subscriptions; /* the list is the bus thread's */
	char inbox[BUS_INBOX_BYTES];		/* of the current generation; bus thread only */
};

struct bus {
	char *url, *service, *certificate, *key, *ca;
	bus_fault *fault;
	void *fault_arg;
	struct bus_link *link;
	pthread_t thread;

	pthread_rwlock_t use; /* of nc and js */
	natsConnection *nc;
	jsCtx *js;

	pthread_mutex_t lock;
	pthread_cond_t wake;	/* the bus thread */
	pthread_cond_t changed; /* those who wait for the bus thread */
	/* under lock */
	struct bus_write *first;
	struct bus_write **last;
	unsigned posted_waiting;
	bool work, closing, renew, lost, reconnected, faulted;
	struct bus_consumer *consumers;
	struct bus_stats stats;
};

void bus_wake(struct bus *b); /* under lock */

/* Makes the stream when it is missing. An existing one of the name stays as it was configured. */
natsStatus bus_ensure_stream(jsCtx *js, enum bus_stream s, jsErrCode *ret_code);
natsStatus bus_ensure_consumer(struct bus *b, const struct bus_consumer *c);

/* One turn of a consumer on the bus thread; lowers *next_us to when it wants another. True: it is closing and nothing
 * of it is left. */
bool bus_consumer_step(struct bus *b, struct bus_consumer *c, int64_t *next_us) _must_check_;

/* Queues a write; takes nothing over. Under lock. */
bool bus_queue(struct bus *b, const char *subject, const void *body, size_t n, const char *id,
	       const struct trace *trace) _must_check_;

#endif
