#include "gate.h"

#include "base/clock.h"
#include "store/bucket.h"

#include <inttypes.h>
#include <stdio.h>

/* Networks that are kept out at the word of Redis. One that falls on the place of another takes it. */
#define SHUT_PLACES 4096

struct shut {
	uint64_t network;
	int64_t until_us; /* monotonic */
};

struct gate {
	struct redis *redis;
	struct redis_limit limit;
	struct bucket_table buckets;
	struct shut shut[SHUT_PLACES];
};

/* A question to Redis that is under way. */
struct question {
	struct gate *gate;
	uint64_t network;
};

int gate_new(const struct gate_options *o, struct gate **ret, struct error *e)
{
	struct gate *g = calloc(1, sizeof(*g));
	if (!g)
		return error_nomem(e);
	g->redis = o->redis;
	g->limit = (struct redis_limit){.name = "ingest-connect",
					.rate_per_minute = o->rate_per_s * 60,
					.burst = MAX(o->burst, (uint64_t)1),
					.instances = 1};
	*ret = g;
	return 0;
}

void gate_free(struct gate *g)
{
	free(g);
}

/* Neighbours lie apart (the finalizer of SplitMix64). */
static uint64_t spread(uint64_t network)
{
	uint64_t x = network + UINT64_C(0x9e3779b97f4a7c15);
	x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
	return x ^ (x >> 31);
}

static struct shut *place_of(struct gate *g, uint64_t network)
{
	return &g->shut[spread(network) % SHUT_PLACES];
}

static void on_shared(void *arg, bool allowed, int64_t wait_ms)
{
	struct question *q = arg;
	if (!allowed)
		*place_of(q->gate, q->network) =
		    (struct shut){.network = q->network, .until_us = clock_monotonic_us() + wait_ms * 1000};
	free(q);
}

static void ask_redis(struct gate *g, uint64_t network)
{
	struct question *q = malloc(sizeof(*q));
	char key[2 * sizeof(network) + 1];
	if (!q)
		return;
	*q = (struct question){.gate = g, .network = network};
	(void)snprintf(key, sizeof(key), "%016" PRIx64, network);
	redis_limit_ask(g->redis, &g->limit, key, on_shared, q);
}

bool gate_admit(void *gate, uint64_t network)
{
	struct gate *g = gate;
	int64_t now_us = clock_monotonic_us(), wait_ms = 0;
	if (g->limit.rate_per_minute == 0)
		return true;
	const struct shut *s = place_of(g, network);
	if (s->network == network && now_us < s->until_us)
		return false;
	if (!bucket_take(&g->buckets, spread(network), (double)g->limit.rate_per_minute, (double)g->limit.burst, now_us,
			 &wait_ms))
		return false;
	if (g->redis)
		ask_redis(g, network);
	return true;
}
