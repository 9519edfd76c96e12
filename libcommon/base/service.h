/* The one lifecycle of all services: arguments → configuration → checks → signals as loop events → start → ready → loop
 * → drain → stop. A service's main() fills a definition and returns service_main(). */
#ifndef RUSHES_BASE_SERVICE_H
#define RUSHES_BASE_SERVICE_H

#include "base/config.h"
#include "base/loop.h"

#define RUSHES_VERSION "0.1.0"

/* How far a stop has come. A service moves only downwards. */
enum service_phase {
	SERVICE_STARTING, /* not ready; connections are being made */
	SERVICE_READY,	  /* takes work */
	SERVICE_DRAINING, /* takes no new work; finishes or hands back what it holds */
	SERVICE_LEAVING,  /* second signal or drain limit: leaves now; leases run out by themselves */
	SERVICE_PHASE_MAX
};

const char *service_phase_to_string(enum service_phase p);

/* Longest drain, below the 60 s that the pods' grace period gives. */
#define SERVICE_DRAIN_LIMIT_MS 50000

struct service; /* the running service; lives until service_main returns */

struct service_definition {
	const char *name;	 /* "ingest": the binary is rushes-ingest */
	const char *description; /* one sentence for --help */
	struct config_schema schema;
	/* Makes connections and listeners; work may begin when it returned 0. The loop is not running yet: what the
	 * loop does happens after it. `*ret_state` is what the other hooks get. Failing ends the process with status 1.
	 */
	int (*start)(struct service *s, const void *config, void **ret_state, struct error *e);
	/* A stop was asked for: take nothing new, finish what is held, then call service_drained() (from the loop). */
	void (*drain)(void *state);
	/* Reload certificates and the like after SIGHUP; keeps the old ones on error. May be NULL. */
	int (*reload)(void *state, struct error *e);
	/* Releases everything; the loop has ended. Called also after a failed start when *ret_state was set. */
	void (*stop)(void *state);
};

/* Runs the service to its end: status 0 after an orderly stop, 1 after a failed start, 2 for wrong use or
 * configuration. Understands --help, --version, --config FILE, --check-config, --print-config, --print-markdown.
 * Hardens the process: no core dumps, not dumpable, SIGPIPE ignored, umask 077. */
int service_main(const struct service_definition *d, int argc, char **argv);

struct loop *service_loop(struct service *s);
enum service_phase service_phase(const struct service *s); /* any thread */
const char *service_name(const struct service *s);

/* Everything held is finished: ends the loop. The loop's thread. */
void service_drained(struct service *s);

/* Called within start(): holds it and runs the loop until service_go_on(), so that the admin endpoint answers
 * meanwhile. ERR_CANCELLED when a stop was asked for: start() returns it, and the process ends in good order. */
int service_hold(struct service *s, struct error *e) _must_check_;
void service_go_on(struct service *s); /* the loop's thread */

/* A fault that no retry heals (schema too new, permission denied on the bus): logs it and begins the drain; the exit
 * status becomes 1. Any thread. */
void service_fail(struct service *s, const struct error *e);

#endif
