/* The admin endpoint of every service: /healthz (the loop turns), /readyz (takes work), /metrics (Prometheus text),
 * /debug/state (what the service holds now, JSON). Loopback without TLS, or mutual TLS. The loop's thread only. */
#ifndef RUSHES_NET_ADMIN_H
#define RUSHES_NET_ADMIN_H

#include "base/metrics.h"
#include "base/service.h"
#include "net/http.h"

struct admin;

struct admin_options {
	const char *address;	       /* of RUSHES_ADMIN_LISTEN */
	struct tls_context *tls;       /* with required client certificates; NULL: loopback only */
	struct metrics *metrics;       /* borrowed */
	const struct service *service; /* its phase decides /readyz; NULL: always ready */
	/* A further say in /readyz: false with a word of the reason ("database"). NULL: none. */
	bool (*ready)(void *arg, const char **ret_reason);
	void *arg;
};

int admin_new(struct loop *l, const struct admin_options *o, struct admin **ret, struct error *e) _must_check_;
void admin_free(struct admin *a);
DEFINE_CLEANUP(struct admin, admin_free)

uint16_t admin_port(const struct admin *a);

/* A part of /debug/state: `name` (borrowed) becomes a key of the object, fn(arg) its value (a new reference; NULL is
 * shown as null), called on the loop. No secrets, no personal data. At most 32 parts. */
typedef json_t *admin_state_function(void *arg);
void admin_add_state(struct admin *a, const char *name, admin_state_function *fn, void *arg);

#endif
