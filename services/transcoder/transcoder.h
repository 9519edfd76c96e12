/* The service: what its jobs share, and its life. */
#ifndef RUSHES_TRANSCODER_TRANSCODER_H
#define RUSHES_TRANSCODER_TRANSCODER_H

#include "conversions.h"

#include "crypto/keyring.h"
#include "net/client.h"
#include "node/keeper.h"
#include "node/platform.h"
#include "node/serve.h"
#include "node/witness.h"

struct transcoder_config {
	struct platform_config platform; /* must be first */
	char *peer_listen, *peer_url;
	char *spool_path;
	uint64_t spool_reserve;
	char *spool_root_key_file;
	uint64_t slots;	 /* 0: one per processor */
	uint64_t follow; /* recordings that are followed at once */
};

extern const struct config_option transcoder_options[];

struct transcoder {
	const struct transcoder_config *config;
	struct platform *platform;
	struct keyring *root;
	struct spool *spool;
	struct tls_context *peer_server, *peer_client;
	struct http_client *http;
	struct witness witness;
	struct keeper *keeper;
	struct serve *serve;
	struct worker *worker;
	struct conversions conversions;
	unsigned slots;
	_Atomic unsigned copying, following; /* copy jobs that were due when they were claimed, and early ones */
	int encoder_threads;
	bool serving; /* transfers to peers may still run */
	struct metric_series *copied_bytes, *converted_seconds, *alarms, *differing_overlaps;
	struct metric *conversions_total, *follows;
};

/* The hooks of struct service_definition. */
int transcoder_start(struct service *s, const void *config, void **ret_state, struct error *e);
void transcoder_drain(void *state);
int transcoder_reload(void *state, struct error *e);
void transcoder_stop(void *state);

#endif
