/* What every service stands on: logs, database, broker, Redis, admin endpoint, job engine, made in the right order from
 * one table of options and taken down in the reverse one. A service's main.c is wiring only:
 *
 *	struct config {
 *		struct platform_config platform;	// must be first
 *		char *listen;
 *	};
 *
 *	static int start(struct service *s, const void *config, void **ret, struct error *e)
 *	{
 *		struct app *a = calloc(1, sizeof(*a));
 *		*ret = a;
 *		int r = platform_start(s, config, PLATFORM_BUS | PLATFORM_REDIS, &a->platform, e);
 *		if (r == 0)
 *			r = platform_worker(a->platform, NULL, &a->worker, e);
 *		if (r == 0)
 *			r = worker_add(a->worker, &(struct worker_kind){JOB_PUSH, slots, run_push, a}, e);
 *		return r;
 *	}
 *	static void drain(void *state)  { platform_drain(a->platform, NULL, NULL); }
 *	static int reload(void *state, struct error *e) { return platform_reload(a->platform, e); }
 *	static void stop(void *state)   { platform_stop(a->platform); free(a); }
 */
#ifndef RUSHES_NODE_PLATFORM_H
#define RUSHES_NODE_PLATFORM_H

#include "base/metrics.h"
#include "base/pool.h"
#include "base/service.h"
#include "bus/bus.h"
#include "node/worker.h"
#include "store/db.h"
#include "store/redis.h"

#include <jansson.h>

/* The first member of each service's configuration struct; `platform_options` is one of its tables. */
struct platform_config {
	char *log_level;
	char *region;
	char *admin_listen;
	char *database;
	uint64_t database_connections;
	char *nats_url; /* "": none */
	char *redis;	/* "": none */
	char *redis_user;
	char *redis_password_file;
	char *tls_certificate; /* the service's identity for everything internal */
	char *tls_key;
	char *tls_ca;
};

extern const struct config_option platform_options[];

enum platform_parts {
	PLATFORM_BUS = 1,
	PLATFORM_REDIS = 2,
	PLATFORM_OUTBOX = 4,	 /* takes its turn as publisher of the events */
	PLATFORM_FAILS_FAST = 8, /* a silent database is not waited for (store/db.h) */
};

struct platform;

/* Connects and checks the schema's version (waits up to 60 s for a database that is away: then the start fails), opens
 * the admin endpoint. `config` must outlive the platform. The service then passes platform_gate() before it makes
 * anything else. */
int platform_start(struct service *s, const struct platform_config *config, unsigned parts, struct platform **ret,
		   struct error *e) _must_check_;

/* The gate of a restored database (deploy/schema/0090_gate.sql): returns 0 when it is open. While it is closed the
 * start is held here: /readyz says why, rushes_restoring is 1, nothing else is done. ERR_CANCELLED when a stop was
 * asked for meanwhile. `look` (may be NULL) tells the database what this service knows from elsewhere: it is called at
 * once, and every few seconds while the gate is closed, on a thread that may block; what it returns is told only. A
 * gate that closes later ends the service: what it holds is of a database that is no more. */
typedef int platform_gate_look(void *arg, struct error *e);
int platform_gate(struct platform *p, platform_gate_look *look, void *arg, struct error *e) _must_check_;

/* Releases everything that is left, in reverse order. NULL is accepted. */
void platform_stop(struct platform *p);

/* Drains: not ready any more, the worker takes nothing new; when it is empty and `busy` (may be NULL) answers false,
 * the service ends (service_drained). `busy` is asked on the loop every 100 ms. */
void platform_drain(struct platform *p, bool (*busy)(void *arg), void *arg);

/* After SIGHUP: new connections with newly read certificates. */
int platform_reload(struct platform *p, struct error *e) _must_check_;

struct service *platform_service(struct platform *p);
struct loop *platform_loop(struct platform *p);
struct db_pool *platform_db(struct platform *p);
struct bus *platform_bus(struct platform *p);	  /* NULL without PLATFORM_BUS or RUSHES_NATS_URL */
struct redis *platform_redis(struct platform *p); /* NULL without PLATFORM_REDIS or RUSHES_REDIS */
struct pool *platform_pool(struct platform *p);	  /* threads for short blocking work, such as one statement */
struct metrics *platform_metrics(struct platform *p);
const struct platform_config *platform_config(struct platform *p);

/* "transcoder/<spool>": service and name of the own certificate's identity (DESIGN section 4). */
const char *platform_identity(struct platform *p);

/* The job engine; `node` is the own spool for kinds that are bound to it, or NULL. Drained and freed by the platform.
 */
int platform_worker(struct platform *p, const struct uuid *node, struct worker **ret, struct error *e) _must_check_;

/* Readiness beside the platform's own (database reachable, not draining): `ready` is asked on the loop by /readyz, and
 * says why not in `ret_why`. */
typedef bool platform_ready(void *arg, const char **ret_why);
int platform_ready_add(struct platform *p, platform_ready *ready, void *arg) _must_check_;

/* A member of /debug/state: what the service holds now. Called on the loop; returns a new reference, NULL: left out.
 * `name` lives as long as the platform. */
typedef json_t *platform_debug(void *arg); /* at most 30 */
void platform_debug_add(struct platform *p, const char *name, platform_debug *debug, void *arg);

#endif
