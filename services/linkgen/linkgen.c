#include "linkgen.h"

#include "limit.h"
#include "links.h"
#include "page.h"
#include "recordings.h"
#include "sessions.h"
#include "sweep.h"

#define OPTION(member) offsetof(struct linkgen_config, member)

const struct config_option linkgen_options[] = {
    {"RUSHES_LINKGEN_LISTEN", CONFIG_ADDRESS, NULL, 0, 0, NULL, OPTION(listen),
     "Address and port of the public listener"},
    {"RUSHES_LINKGEN_CERTIFICATE", CONFIG_PATH, NULL, 0, 0, NULL, OPTION(certificate),
     "PEM file of the public certificate and its chain"},
    {"RUSHES_LINKGEN_KEY", CONFIG_PATH, NULL, 0, 0, NULL, OPTION(key), "PEM file of the public certificate's key"},
    {"RUSHES_LINKGEN_URL", CONFIG_STRING, NULL, 0, 0, NULL, OPTION(url),
     "Public base address of short links and of the REST API, such as https://rushes.example"},
    {"RUSHES_INGEST_URL", CONFIG_STRING, NULL, 0, 0, NULL, OPTION(ingest_url),
     "Public base address of ingest, such as wss://ingest.rushes.example"},
    {"RUSHES_RECORDER_PATH", CONFIG_PATH, RUSHES_DATADIR "/recorder", 0, 0, NULL, OPTION(recorder_path),
     "Folder with the files of the recorder page"},
    {"RUSHES_TOKEN_SIGN_KEY_FILE", CONFIG_PATH, NULL, 0, 0, NULL, OPTION(token_sign_key_file),
     "Key file that signs session tokens"},
    {"RUSHES_LINK_PEPPER_FILE", CONFIG_PATH, NULL, 0, 0, NULL, OPTION(link_pepper_file),
     "Key file for the hashes of link codes and API keys"},
    {"RUSHES_LINKGEN_INSTANCES", CONFIG_UINT, "1", 1, 1000, NULL, OPTION(instances),
     "Linkgens that share the rate limits while Redis is away"},
    {"RUSHES_LINKGEN_SWEEP_EVERY", CONFIG_DURATION, "10m", 1000, 0, NULL, OPTION(sweep_every_ms),
     "Time between two sweeps for links that expired 30 days ago"},
    {0},
};

/* The API's bodies are small; a consent text travels with an exchange. */
#define LINK_BODY_BYTES	   (16 * KIB)
#define SESSION_BODY_BYTES (64 * KIB)

static const struct http_route routes[] = {
    {"GET", "/r/:code", page_get, HTTP_BODY_NONE, 0},
    {"GET", "/r/:code/request", session_request_get, HTTP_BODY_NONE, 0},
    {"POST", "/r/:code/session", session_post, HTTP_BODY_BUFFERED, SESSION_BODY_BYTES},
    {"GET", "/assets/:version/:name", page_asset_get, HTTP_BODY_NONE, 0},
    {"POST", "/v1/links", links_post, HTTP_BODY_BUFFERED, LINK_BODY_BYTES},
    {"GET", "/v1/links/:id", links_get, HTTP_BODY_NONE, 0},
    {"DELETE", "/v1/links/:id", links_delete, HTTP_BODY_NONE, 0},
    {"GET", "/v1/recordings", recordings_list, HTTP_BODY_NONE, 0},
    {"GET", "/v1/recordings/:id", recordings_get, HTTP_BODY_NONE, 0},
    {"DELETE", "/v1/recordings/:id", recordings_delete, HTTP_BODY_NONE, 0},
    {"GET", "/v1/recordings/:id/deletion", recordings_deletion, HTTP_BODY_NONE, 0},
    {0},
};

static json_t *debug(void *arg)
{
	struct linkgen *l = arg;
	return json_pack("{s:i, s:s, s:b}", "calls", (int)l->calls, "page", page_version(l->page), "drained",
			 (int)l->drained);
}

static int load_keys(struct linkgen *l, struct error *e)
{
	int r = keyring_load(l->config->link_pepper_file, KEY_LINK_PEPPER, &l->link_pepper, e);
	if (r == 0)
		r = keyring_load(l->config->token_sign_key_file, KEY_TOKEN_SIGN, &l->token_keys, e);
	return r;
}

static int listen_public(struct linkgen *l, struct error *e)
{
	struct tls_settings tls = {.certificate_path = l->config->certificate, .key_path = l->config->key};
	int r = tls_server_new(&tls, &l->tls, e);
	if (r < 0)
		return r;
	struct http_server_options o = {
	    .address = l->config->listen,
	    .tls = l->tls,
	    .routes = routes,
	    .arg = l,
	    .metrics = platform_metrics(l->platform),
	    .name = "public",
	};
	r = http_server_new(platform_loop(l->platform), &o, &l->server, e);
	if (r == 0)
		platform_debug_add(l->platform, "public", http_server_state, l->server);
	return r;
}

int linkgen_start(struct service *s, const void *config, void **ret_state, struct error *e)
{
	static const char *const labels[] = {"operation", "outcome", NULL};
	struct linkgen *l = calloc(1, sizeof(*l));
	if (!l)
		return error_nomem(e);
	*ret_state = l;
	l->config = config;
	int r = load_keys(l, e);
	if (r == 0)
		r = page_new(l->config->recorder_path, l->config->ingest_url, &l->page, e);
	if (r == 0)
		r = platform_start(s, &l->config->platform, PLATFORM_REDIS, &l->platform, e);
	if (r == 0)
		r = platform_gate(l->platform, NULL, NULL, e);
	if (r < 0)
		return r;
	l->answers = metrics_counter(platform_metrics(l->platform), "rushes_linkgen_answers_total",
				     "Answers of the public listener by operation and outcome.", labels);
	platform_debug_add(l->platform, "linkgen", debug, l);
	r = limiter_new(platform_redis(l->platform), (unsigned)l->config->instances, &l->limiter, e);
	if (r == 0)
		r = sweep_new(l->platform, l->config->sweep_every_ms, &l->sweep, e);
	if (r == 0)
		r = listen_public(l, e);
	return r;
}

static void server_drained(void *arg)
{
	struct linkgen *l = arg;
	l->drained = true;
}

static bool busy(void *arg)
{
	struct linkgen *l = arg;
	return !l->drained || l->calls > 0;
}

void linkgen_drain(void *state)
{
	struct linkgen *l = state;
	sweep_stop(l->sweep);
	http_server_drain(l->server, server_drained, l);
	platform_drain(l->platform, busy, l);
}

int linkgen_reload(void *state, struct error *e)
{
	struct linkgen *l = state;
	int r = tls_reload(l->tls, e);
	return r < 0 ? r : platform_reload(l->platform, e);
}

/* The platform's pool ends before keys and page, which its work uses. After a drain no call is left; after a second
 * signal the ends of some still wait on the loop. */
void linkgen_stop(void *state)
{
	struct linkgen *l = state;
	http_server_free(l->server);
	platform_stop(l->platform);
	sweep_free(l->sweep);
	tls_free(l->tls);
	limiter_free(l->limiter);
	page_free(l->page);
	keyring_free(l->link_pepper);
	keyring_free(l->token_keys);
	l->stopped = true;
	if (l->calls == 0)
		free(l);
}
