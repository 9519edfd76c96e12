/* The janitor's state and wiring. Stateless: what is due stands in PostgreSQL, and any number of replicas look. */
#ifndef RUSHES_JANITOR_JANITOR_H
#define RUSHES_JANITOR_JANITOR_H

#include "node/platform.h"

struct janitor_config {
	struct platform_config platform; /* first */
	int64_t sweep_every_ms;
	int64_t watch_every_ms;
	int64_t overdue_after_ms;
	uint64_t keep_days;
	char *ledger_sign_key_file;
	char *ledger_target; /* "": none */
	char *ledger_credential_file, *ledger_region, *ledger_ca_file;
	bool ledger_private;
	int64_t ledger_seal_every_ms;
};

extern const struct config_option janitor_options[];

/* The hooks of the service definition. */
int janitor_start(struct service *s, const void *config, void **ret_state, struct error *e);
void janitor_drain(void *state);
int janitor_reload(void *state, struct error *e);
void janitor_stop(void *state);

#endif
