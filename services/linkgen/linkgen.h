/* What the parts of linkgen share: configuration, keys, connections. Nothing of a customer stays in the process: any
 * number of linkgens serve the same links. */
#ifndef RUSHES_LINKGEN_H
#define RUSHES_LINKGEN_H

#include "crypto/keyring.h"
#include "net/http.h"
#include "node/platform.h"

struct linkgen_config {
	struct platform_config platform; /* must be first */
	char *listen;
	char *certificate;
	char *key;
	char *url;	  /* public base of short links and REST, without a slash at its end */
	char *ingest_url; /* public base of ingest, wss:// */
	char *recorder_path;
	char *token_sign_key_file;
	char *link_pepper_file;
	uint64_t instances; /* linkgens that share the rate limits */
	int64_t sweep_every_ms;
};

struct limiter;
struct page;
struct sweep;

struct linkgen {
	const struct linkgen_config *config;
	struct platform *platform;
	struct tls_context *tls;
	struct http_server *server;
	struct keyring *link_pepper;
	struct keyring *token_keys;
	struct page *page;
	struct limiter *limiter;
	struct sweep *sweep;
	struct metric *answers; /* by operation and outcome */
	unsigned calls;		/* requests being worked on */
	bool drained;		/* the server holds no request any more */
	bool stopped;		/* nothing but `calls` is left: the last of them frees this struct */
};

extern const struct config_option linkgen_options[];

int linkgen_start(struct service *s, const void *config, void **ret_state, struct error *e);
void linkgen_drain(void *state);
int linkgen_reload(void *state, struct error *e);
void linkgen_stop(void *state);

#endif
