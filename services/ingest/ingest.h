/* The ingest service: its configuration and what its parts share. */
#ifndef RUSHES_INGEST_INGEST_H
#define RUSHES_INGEST_INGEST_H

#include "crypto/keyring.h"
#include "intake.h"
#include "net/http.h"
#include "node/keeper.h"
#include "node/platform.h"
#include "node/serve.h"
#include "node/witness.h"

struct ingest_config {
	struct platform_config platform; /* must be first */
	char *listen;
	char *certificate;
	char *key;
	char *url;
	char *peer_listen;
	char *peer_url;
	char *spool_path;
	char *root_key_file;
	char *token_key_file;
	uint64_t spool_reserve_bytes;
	uint64_t stream_rate;
	uint64_t buffer_bytes;
	uint64_t journal_bytes;
	uint64_t threads;
	uint64_t connections_max;
	uint64_t recording_bytes_max;
	uint64_t address_connections_max, address_rate, address_burst;
	int64_t linger_ms;
	int64_t token_ms;
	int64_t grace_ms;
};

extern const struct config_option ingest_options[];

struct chores;

struct ingest {
	const struct ingest_config *config;
	struct platform *platform;
	struct pool *pool;    /* statements of recordings, and the writing that goes with them */
	struct pool *writers; /* sealing and writing alone */
	struct spool *spool;
	struct keyring *root, *token_keys;
	struct slab *chunks;
	struct room *room;
	struct gate *gate; /* of the public listener */
	struct segment_host host;
	int journal_fd; /* the folder of the spool's journal */
	struct tls_context *tls, *peer_tls, *peer_client;
	struct http_client *http; /* to other ingest nodes */
	struct fences *fences;
	struct intakes *intakes;
	struct witness witness;
	struct keeper *keeper;
	struct serve *serve;
	struct chores *chores;
	struct http_server *server;
	bool is_serving; /* the public listener has not ended */
	bool is_serving_peers;
	bool is_draining;
	unsigned playbacks; /* recorders that are being played to */
};

/* The hooks of the service's lifecycle (base/service.h). */
int ingest_start(struct service *s, const void *config, void **ret_state, struct error *e);
void ingest_drain(void *state);
int ingest_reload(void *state, struct error *e);
void ingest_stop(void *state);

#endif
