/* The storage-pusher: its configuration and its life. It keeps nothing of its own: jobs of kind push and delete, and
 * the sweep of its slice of the retention rules. */
#ifndef RUSHES_PUSHER_PUSHER_H
#define RUSHES_PUSHER_PUSHER_H

#include "delivery.h"
#include "looks.h"
#include "node/platform.h"

struct pusher_config {
	struct platform_config platform; /* first */
	uint64_t slots;
	uint64_t delete_slots;
	char *spool_root_key_file;
	char *vault_secret_key_file;
	char *file_root;
	bool private_addresses;
	int64_t sweep_every_ms;
	uint64_t look_slots;
	int64_t look_every_ms;
};

extern const struct config_option pusher_options[];

struct pusher {
	const struct pusher_config *config;
	struct platform *platform;
	struct worker *worker;
	struct delivery_pool *deliveries;
	struct looks *looks;
	struct metric *pushes, *removals;
	struct metric_series *bytes;
	/* the sweep: a timer of the loop, its work on the pool */
	struct loop_timer *sweep_timer;
	bool sweep_runs, sweep_stopped;
	uint64_t decided;
	struct error sweep_error;
};

int pusher_start(struct service *s, const void *config, void **ret_state, struct error *e);
void pusher_drain(void *state);
int pusher_reload(void *state, struct error *e);
void pusher_stop(void *state);

#endif
