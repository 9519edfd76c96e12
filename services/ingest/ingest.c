#include "ingest.h"

#include "answer.h"
#include "chores.h"
#include "fence.h"
#include "gate.h"
#include "playback.h"
#include "recover.h"
#include "stream.h"
#include "tus.h"
#include "upload.h"

#include <malloc.h>
#include <stddef.h>
#include <sys/resource.h>

/* Threads that seal and write borrow one of these for the length of a turn. */
#define WRITE_BUFFER_BYTES (4 * MIB)

#define FIELD(member) offsetof(struct ingest_config, member)

const struct config_option ingest_options[] = {
    {"RUSHES_INGEST_LISTEN", CONFIG_ADDRESS, "127.0.0.1:8443", 0, 0, NULL, FIELD(listen),
     "Public address of the recorder's stream and of uploads, with TLS"},
    {"RUSHES_INGEST_CERTIFICATE", CONFIG_PATH, NULL, 0, 0, NULL, FIELD(certificate),
     "Certificate chain of the public address"},
    {"RUSHES_INGEST_KEY", CONFIG_PATH, NULL, 0, 0, NULL, FIELD(key), "Private key of that certificate"},
    {"RUSHES_INGEST_URL", CONFIG_STRING, NULL, 0, 0, NULL, FIELD(url), "wss:// address by which pages reach it"},
    {"RUSHES_PEER_LISTEN", CONFIG_ADDRESS, "127.0.0.1:0", 0, 0, NULL, FIELD(peer_listen),
     "Address where other services fetch sealed files, with mutual TLS"},
    {"RUSHES_PEER_URL", CONFIG_STRING, NULL, 0, 0, NULL, FIELD(peer_url),
     "https:// address by which other services reach that listener"},
    {"RUSHES_SPOOL_PATH", CONFIG_PATH, NULL, 0, 0, NULL, FIELD(spool_path),
     "Folder of the spool; its superblock is made in an empty one"},
    {"RUSHES_SPOOL_RESERVE", CONFIG_BYTES, "1GiB", 0, 0, NULL, FIELD(spool_reserve_bytes),
     "Room on the spool's disk that is kept for recordings that finish"},
    {"RUSHES_INGEST_STREAM_RATE", CONFIG_BYTES, "128KiB", 1024, 1024 * MIB, NULL, FIELD(stream_rate),
     "Bytes per second for which a new stream claims a minute's room, until its own rate is measured"},
    {"RUSHES_SPOOL_ROOT_KEY_FILE", CONFIG_PATH, NULL, 0, 0, NULL, FIELD(root_key_file),
     "Key file of purpose spool-root"},
    {"RUSHES_TOKEN_PUBLIC_KEY_FILE", CONFIG_PATH, NULL, 0, 0, NULL, FIELD(token_key_file),
     "Public halves of the keys of purpose token-sign"},
    {"RUSHES_INGEST_BUFFERS", CONFIG_BYTES, "64MiB", 1024 * 1024, 0, NULL, FIELD(buffer_bytes),
     "Memory for received bytes that wait to be written; all streams share it"},
    {"RUSHES_INGEST_JOURNAL", CONFIG_BYTES, "1GiB", JOURNAL_TOTAL_MIN, 0, NULL, FIELD(journal_bytes),
     "Size of the journal by which slow streams become durable together; one stream at once for each 128 KiB of it"},
    {"RUSHES_INGEST_THREADS", CONFIG_UINT, "8", 1, 64, NULL, FIELD(threads),
     "Threads that seal, write and flush, and as many that ask the database"},
    {"RUSHES_INGEST_CONNECTIONS", CONFIG_UINT, "8192", 1, 100000, NULL, FIELD(connections_max),
     "Most public connections at once"},
    {"RUSHES_INGEST_ADDRESS_CONNECTIONS", CONFIG_UINT, "0", 0, 100000, NULL, FIELD(address_connections_max),
     "Most public connections of one IPv4 address or IPv6 /64; 0: no limit of its own"},
    {"RUSHES_INGEST_RECORDING_MAX", CONFIG_BYTES, "100GiB", 1, 0, NULL, FIELD(recording_bytes_max),
     "Largest recording that this node takes, whatever an environment allows"},
    {"RUSHES_INGEST_ADDRESS_RATE", CONFIG_UINT, "100", 0, 100000, NULL, FIELD(address_rate),
     "New connections a second of one IPv4 address or IPv6 /64; 0: no limit. Counted by all nodes together where they "
     "share a Redis"},
    {"RUSHES_INGEST_ADDRESS_BURST", CONFIG_UINT, "2000", 1, 1000000, NULL, FIELD(address_burst),
     "New connections at once of one IPv4 address or IPv6 /64, as when an office behind one address begins its day"},
    {"RUSHES_INGEST_LINGER", CONFIG_DURATION, "10s", 0, 3600000, NULL, FIELD(linger_ms),
     "How long a recording that lost its connection keeps its segment open"},
    {"RUSHES_INGEST_TOKEN_WAIT", CONFIG_DURATION, "5s", 100, 60000, NULL, FIELD(token_ms),
     "How long a stream may take to send its token"},
    {"RUSHES_INGEST_GRACE", CONFIG_DURATION, "20s", 0, 45000, NULL, FIELD(grace_ms),
     "How long uploads and takes that are stopped already may finish at a SIGTERM; streams are sent on at once"},
    {0},
};

static const struct http_route routes[] = {
    {"GET", "/v1/stream", stream_handle, HTTP_BODY_NONE, 0},
    {"POST", "/v1/recordings", upload_handle, HTTP_BODY_STREAM, 0},
    {"GET", "/v1/recordings/:recording/raw", playback_handle, HTTP_BODY_NONE, 0},
    {"OPTIONS", "/v1/recordings/:recording/raw", playback_preflight_handle, HTTP_BODY_NONE, 0},
    {"PUT", "/v1/recordings", upload_handle, HTTP_BODY_STREAM, 0},
    {"PUT", "/v1/recordings/:name", upload_handle, HTTP_BODY_STREAM, 0},
    {"OPTIONS", "/v1/recordings", upload_options_handle, HTTP_BODY_NONE, 0},
    {"OPTIONS", "/v1/recordings/:name", upload_options_handle, HTTP_BODY_NONE, 0},
    {"OPTIONS", "/v1/tus", tus_uploads_handle, HTTP_BODY_STREAM, 0},
    {"POST", "/v1/tus", tus_uploads_handle, HTTP_BODY_STREAM, 0},
    {"GET", "/v1/tus", tus_uploads_handle, HTTP_BODY_STREAM, 0},
    {"PUT", "/v1/tus", tus_uploads_handle, HTTP_BODY_STREAM, 0},
    {"OPTIONS", "/v1/tus/", tus_uploads_handle, HTTP_BODY_STREAM, 0},
    {"POST", "/v1/tus/", tus_uploads_handle, HTTP_BODY_STREAM, 0},
    {"OPTIONS", "/v1/tus/:id", tus_upload_handle, HTTP_BODY_STREAM, 0},
    {"GET", "/v1/tus/:id", tus_upload_handle, HTTP_BODY_STREAM, 0},
    {"PATCH", "/v1/tus/:id", tus_upload_handle, HTTP_BODY_STREAM, 0},
    {"DELETE", "/v1/tus/:id", tus_upload_handle, HTTP_BODY_STREAM, 0},
    {"POST", "/v1/tus/:id", tus_upload_handle, HTTP_BODY_STREAM, 0},
    {"PUT", "/v1/tus/:id", tus_upload_handle, HTTP_BODY_STREAM, 0},
    {0},
};

/* Each public connection has a socket and a file; beside them stand listeners, peers, servers and the log. */
#define DESCRIPTORS_PER_CONNECTION 2
#define DESCRIPTORS_BESIDE	   512

/* Shells and supervisors give a low soft limit for the sake of programs that use select(). */
static void raise_descriptors(uint64_t connections)
{
	struct rlimit l;
	if (getrlimit(RLIMIT_NOFILE, &l) < 0)
		return;
	l.rlim_cur = l.rlim_max;
	(void)setrlimit(RLIMIT_NOFILE, &l);
	uint64_t wanted = connections * DESCRIPTORS_PER_CONNECTION + DESCRIPTORS_BESIDE;
	if (l.rlim_max != RLIM_INFINITY && l.rlim_max < wanted)
		log_warning(NULL,
			    "%llu connections need %llu file descriptors, the limit is %llu: raise it (LimitNOFILE=)",
			    (unsigned long long)connections, (unsigned long long)wanted,
			    (unsigned long long)l.rlim_max);
}

/* Everything that needs no database. */
static int open_own(struct ingest *g, struct error *e)
{
	const struct ingest_config *c = g->config;
	const struct spool_options spool = {.path = c->spool_path,
					    .region = c->platform.region,
					    .service = "ingest",
					    .reserve_bytes = c->spool_reserve_bytes};
	const struct tls_settings front = {.certificate_path = c->certificate, .key_path = c->key};
	const struct tls_settings peers = {.certificate_path = c->platform.tls_certificate,
					   .key_path = c->platform.tls_key,
					   .ca_path = c->platform.tls_ca};
	int r = keyring_load(c->root_key_file, KEY_SPOOL_ROOT, &g->root, e);
	if (r == 0)
		r = keyring_load_public(c->token_key_file, KEY_TOKEN_SIGN, &g->token_keys, e);
	if (r == 0)
		r = tls_server_new(&front, &g->tls, e);
	if (r == 0)
		r = tls_server_new(&peers, &g->peer_tls, e);
	if (r == 0)
		r = tls_client_new(&peers, &g->peer_client, e);
	if (r == 0)
		r = slab_new(CHUNK_BUFFER_BYTES, (unsigned)(c->buffer_bytes / CHUNK_BUFFER_BYTES), &g->chunks, e);
	if (r == 0)
		r = slab_new(WRITE_BUFFER_BYTES, (unsigned)c->threads, &g->host.buffers, e);
	return r == 0 ? spool_open(&spool, &g->spool, e) : r;
}

/* On a thread of the journal. */
static void on_commit(void *arg)
{
	struct ingest *g = arg;
	intakes_journal_changed(g->intakes);
}

static int open_journal(struct ingest *g, struct error *e)
{
	int r = spool_open_journal(g->spool, &g->journal_fd, e);
	const struct journal_options o = {.folder_fd = g->journal_fd,
					  .node = *spool_node(g->spool),
					  .total_bytes = g->config->journal_bytes,
					  .on_commit = on_commit,
					  .arg = g,
					  .metrics = platform_metrics(g->platform)};
	if (r == 0)
		r = journal_open(&o, &g->host.journal, e);
	if (r == 0 && journal_gaps(g->host.journal) > 0)
		log_error(NULL, "ALARM: %u batches of the journal do not read", journal_gaps(g->host.journal));
	return r;
}

/* Without room for its journal a node takes nothing, but it goes on serving what it holds. */
static int start_journal(struct ingest *g, struct error *e)
{
	struct error why = {0};
	int r = spool_is_read_only(g->spool)
		    ? error_set(&why, ERR_FULL, "it still has what could not be kept elsewhere (tails.h)")
		    : journal_start(g->host.journal, &why);
	if (r == 0)
		return 0;
	if (r != ERR_FULL)
		return error_set(e, r, "%s", why.text);
	log_error(NULL, "ALARM: the disk has no room for the journal, this node takes nothing: %s", why.text);
	spool_set_read_only(g->spool);
	return 0;
}

/* A segment waits for the recovery. */
static void on_broken(void *arg)
{
	struct ingest *g = arg;
	chores_recover_soon(g->chores);
}

static int open_intakes(struct ingest *g, struct error *e)
{
	struct platform *p = g->platform;
	g->host.db = platform_db(p);
	g->host.spool = g->spool;
	g->host.root = g->root;
	const struct recover_options recover = {&g->host, platform_bus(p), platform_metrics(p),
						g->config->platform.region};
	const struct room_options room = {.spool = g->spool,
					  .reserve_bytes = g->config->spool_reserve_bytes,
					  .metrics = platform_metrics(p)};
	const struct http_client_options peers = {.tls = g->peer_client};
	int r = growing_new(platform_loop(p), &g->host.growing, e);
	if (r == 0)
		r = room_new(&room, &g->room, e);
	if (r < 0)
		return r;
	g->host.room = g->room;
	r = pool_new(platform_loop(p), "intake", (unsigned)g->config->threads, 2 * INTAKES_MAX, &g->pool, e);
	if (r == 0)
		r = pool_new(platform_loop(p), "writer", (unsigned)g->config->threads, INTAKES_MAX, &g->writers, e);
	if (r == 0)
		r = http_client_new(platform_loop(p), &peers, &g->http, e);
	const struct fences_options fences = {.loop = platform_loop(p),
					      .pool = g->pool,
					      .host = &g->host,
					      .http = g->http,
					      .metrics = platform_metrics(p)};
	if (r == 0)
		r = fences_new(&fences, &g->fences, e);
	const struct intakes_options intakes = {.loop = platform_loop(p),
						.pool = g->pool,
						.writers = g->writers,
						.host = &g->host,
						.fences = g->fences,
						.bus = platform_bus(p),
						.chunks = g->chunks,
						.region = g->config->platform.region,
						.metrics = platform_metrics(p),
						.linger_ms = g->config->linger_ms,
						.stream_rate = g->config->stream_rate,
						.on_broken = on_broken,
						.arg = g};
	if (r == 0)
		r = open_journal(g, e);
	if (r == 0)
		r = recover_from_journal(&recover, e);
	if (r == 0)
		r = intakes_new(&intakes, &g->intakes, e);
	if (r == 0)
		r = start_journal(g, e);
	if (r == 0)
		r = recover_at_start(&recover, e);
	if (r == 0)
		fences_set_intakes(g->fences, g->intakes);
	return r == 0 ? chores_new(g, &g->chores, e) : r;
}

static bool is_live(void *arg, const struct uuid *copy)
{
	struct ingest *g = arg;
	return live_copies_has(g->host.live, copy);
}

static int open_listeners(struct ingest *g, struct error *e)
{
	struct platform *p = g->platform;
	const struct keeper_options keeper = {.spool = g->spool,
					      .db = platform_db(p),
					      .peer_url = g->config->peer_url,
					      .metrics = platform_metrics(p),
					      .service = platform_service(p),
					      .is_live = is_live,
					      .arg = g};
	const struct serve_options serve = {.loop = platform_loop(p),
					    .pool = platform_pool(p),
					    .db = platform_db(p),
					    .spool = g->spool,
					    .tls = g->peer_tls,
					    .metrics = platform_metrics(p),
					    .listen = g->config->peer_listen,
					    .growing = g->host.growing,
					    .fence = fence_handle,
					    .fence_arg = g->fences};
	const struct http_server_options front = {.address = g->config->listen,
						  .tls = g->tls,
						  .routes = routes,
						  .arg = g,
						  .headers = answer_headers,
						  .limits = {.connections_max = (unsigned)g->config->connections_max,
							     .address_connections_max =
								 (unsigned)g->config->address_connections_max},
						  .admit = gate_admit,
						  .admit_arg = g->gate,
						  .metrics = platform_metrics(p),
						  .name = "public"};
	int r = keeper_start(&keeper, &g->keeper, e);
	if (r == 0)
		r = serve_new(&serve, &g->serve, e);
	g->is_serving_peers = r == 0;
	if (r == 0)
		r = http_server_new(platform_loop(p), &front, &g->server, e);
	g->is_serving = r == 0;
	return r;
}

static int open_gate(struct ingest *g, struct error *e)
{
	const struct gate_options o = {.redis = platform_redis(g->platform),
				       .rate_per_s = g->config->address_rate,
				       .burst = g->config->address_burst};
	return gate_new(&o, &g->gate, e);
}

static bool spool_is_ready(void *arg, const char **ret_why)
{
	struct ingest *g = arg;
	*ret_why = "the spool is read-only or full";
	return intakes_have_room(g->intakes);
}

int ingest_start(struct service *s, const void *config, void **ret_state, struct error *e)
{
	struct ingest *g = calloc(1, sizeof(*g));
	if (!g)
		return error_nomem(e);
	*ret_state = g;
	g->config = config;
	/* thousands of streams, opened by any of the threads: with an arena for each thread their pieces lie scattered
	 */
	(void)mallopt(M_ARENA_MAX, 1);
	raise_descriptors(g->config->connections_max);
	g->journal_fd = -1;
	(void)pthread_mutex_init(&g->host.salvage, NULL);
	int r = live_copies_new(&g->host.live, e);
	if (r == 0)
		r = open_own(g, e);
	if (r == 0)
		r = platform_start(s, &g->config->platform,
				   PLATFORM_BUS | PLATFORM_OUTBOX | PLATFORM_REDIS | PLATFORM_FAILS_FAST, &g->platform,
				   e);
	g->witness = (struct witness){.spool = g->spool, .peer_url = g->config->peer_url};
	if (r == 0)
		r = witness_pass_gate(&g->witness, g->platform, e);
	if (r == 0)
		r = open_intakes(g, e);
	if (r == 0)
		r = open_gate(g, e);
	if (r == 0)
		r = open_listeners(g, e);
	if (r == 0)
		r = platform_ready_add(g->platform, spool_is_ready, g);
	if (r < 0)
		return r;
	platform_debug_add(g->platform, "recordings", intakes_debug, g->intakes);
	platform_debug_add(g->platform, "journal", journal_debug, g->host.journal);
	platform_debug_add(g->platform, "room", room_debug, g->room);
	platform_debug_add(g->platform, "keeper", keeper_debug, g->keeper);
	platform_debug_add(g->platform, "peers", serve_debug, g->serve);
	platform_debug_add(g->platform, "public", http_server_state, g->server);
	log_info(NULL, "spool %s, receiving on port %u", spool_node_text(g->spool), http_server_port(g->server));
	return 0;
}

static void on_served(void *arg)
{
	struct ingest *g = arg;
	g->is_serving = false;
}

static void on_peers_served(void *arg)
{
	struct ingest *g = arg;
	g->is_serving_peers = false;
}

static bool is_busy(void *arg)
{
	struct ingest *g = arg;
	return g->is_serving || g->is_serving_peers || intakes_count(g->intakes) > 0;
}

void ingest_drain(void *state)
{
	struct ingest *g = state;
	g->is_draining = true;
	chores_stop(g->chores);
	/* connections of recordings are told before the listener tells the others */
	intakes_drain(g->intakes, g->config->grace_ms);
	http_server_drain(g->server, on_served, g);
	serve_drain(g->serve, on_peers_served, g);
	platform_drain(g->platform, is_busy, g);
}

int ingest_reload(void *state, struct error *e)
{
	struct ingest *g = state;
	int r = tls_reload(g->tls, e);
	if (r == 0)
		r = tls_reload(g->peer_tls, e);
	if (r == 0)
		r = tls_reload(g->peer_client, e);
	return r == 0 ? platform_reload(g->platform, e) : r;
}

static void end_turn(void *arg)
{
	loop_stop(arg);
}

/* Ends the pools and lets what they posted to the loop happen before anything they touch is freed. */
static void end_pools(struct ingest *g)
{
	if (!g->pool)
		return;
	struct loop *l = platform_loop(g->platform);
	if (g->intakes)
		intakes_close(g->intakes);
	if (g->fences)
		fences_close(g->fences);
	if (g->chores)
		chores_stop(g->chores);
	pool_free(TAKE_PTR(g->pool));
	pool_free(TAKE_PTR(g->writers));
	journal_stop(g->host.journal);
	loop_post(l, end_turn, l);
	loop_run(l);
}

void ingest_stop(void *state)
{
	struct ingest *g = state;
	keeper_free(g->keeper);
	/* connections end first: their streams let go of the intakes */
	http_server_free(g->server);
	serve_free(g->serve);
	end_pools(g);
	chores_free(g->chores);
	intakes_free(g->intakes);
	/* ends what is being asked of peers */
	http_client_free(g->http);
	fences_free(g->fences);
	journal_free(g->host.journal);
	closep(&g->journal_fd);
	growing_free(g->host.growing);
	platform_stop(g->platform);
	gate_free(g->gate);
	slab_free(g->chunks);
	slab_free(g->host.buffers);
	live_copies_free(g->host.live);
	(void)pthread_mutex_destroy(&g->host.salvage);
	tls_free(g->tls);
	tls_free(g->peer_tls);
	room_free(g->room);
	tls_free(g->peer_client);
	spool_free(g->spool);
	keyring_free(g->root);
	keyring_free(g->token_keys);
	free(g);
}
