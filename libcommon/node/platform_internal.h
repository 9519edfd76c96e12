/* What the files of the platform share; nobody else includes this. */
#ifndef RUSHES_NODE_PLATFORM_INTERNAL_H
#define RUSHES_NODE_PLATFORM_INTERNAL_H

#include "net/admin.h"
#include "net/tls.h"
#include "node/platform.h"
#include "node/publisher.h"

#define PLATFORM_READY_MAX 8

struct platform_watch; /* the look at the database every few seconds */
struct platform_counters;

struct platform {
	struct service *service;
	struct loop *loop;
	const struct platform_config *config;
	char identity[2 * TLS_IDENTITY_PART_BYTES];
	struct metrics *metrics;
	struct db_pool *db;
	struct pool *pool;
	struct bus *bus;
	struct redis *redis;
	struct publisher *outbox;
	struct worker *worker;
	struct tls_context *admin_tls;
	struct admin *admin;
	struct platform_watch *watch;
	struct platform_counters *counters;
	struct loop_timer *drain;
	bool worker_is_empty;
	bool (*busy)(void *arg);
	void *busy_arg;
	struct {
		platform_ready *ready;
		void *arg;
	} ready[PLATFORM_READY_MAX];
	size_t n_ready;
};

/* The database's say (platform_watch.c): at start it has to answer and have a schema; platform_gate() waits for an open
 * gate; later /readyz follows both, and a gate that closes ends the service. */
int platform_watch_wait(struct platform *p, struct error *e) _must_check_;
int platform_watch_new(struct platform *p, struct platform_watch **ret, struct error *e) _must_check_;
void platform_watch_free(struct platform_watch *w);
bool platform_watch_ready(const struct platform_watch *w, const char **ret_why);

/* Counters of the modules as metrics (platform_metrics.c). */
int platform_counters_new(struct platform *p, struct platform_counters **ret, struct error *e) _must_check_;
void platform_counters_free(struct platform_counters *c);
void platform_counters_update(struct platform *p);
json_t *platform_state(void *arg);

#endif
