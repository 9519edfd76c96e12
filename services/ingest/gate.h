/* How fast one network (an IPv4 address, an IPv6 /64) may begin connections, each of which costs a TLS handshake. A
 * token bucket in this process decides at once, from a table of fixed size. Redis tells, a moment later, when the nodes
 * together gave a network more than its rate: it is then kept out for as long as its shared bucket is empty. Redis only
 * ever refuses; without it each node goes on by itself. Addresses leave the process hashed. The loop's thread only. */
#ifndef RUSHES_INGEST_GATE_H
#define RUSHES_INGEST_GATE_H

#include "store/redis.h"

struct gate;

struct gate_options {
	struct redis *redis;	    /* borrowed; NULL: this process counts alone */
	uint64_t rate_per_s, burst; /* of one network; rate 0: everybody may come */
};

int gate_new(const struct gate_options *o, struct gate **ret, struct error *e) _must_check_;
/* After the Redis client has ended: its last answers come here. */
void gate_free(struct gate *g);

/* For http_server_options.admit: `gate` is a struct gate, `network` an address_network(). Takes a token. */
bool gate_admit(void *gate, uint64_t network);

#endif
