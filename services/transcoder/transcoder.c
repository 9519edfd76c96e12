#include "transcoder.h"

#include "convert_job.h"
#include "copy_job.h"
#include "facts.h"
#include "supervisor.h"

#include <sched.h>
#include <stddef.h>

/* More encoder threads than this gain nothing at the sizes that are recorded. */
#define ENCODER_THREADS_MAX 2

/* Threads of copy jobs are those of due ones and of these. */
#define FOLLOW_MAX (WORKER_SLOTS_MAX / 2)

#define FIELD(member) offsetof(struct transcoder_config, member)

const struct config_option transcoder_options[] = {
    {"RUSHES_PEER_LISTEN", CONFIG_ADDRESS, "127.0.0.1:0", 0, 0, NULL, FIELD(peer_listen),
     "Address where other services fetch sealed files, with mutual TLS"},
    {"RUSHES_PEER_URL", CONFIG_STRING, NULL, 0, 0, NULL, FIELD(peer_url),
     "https:// address by which other services reach that listener"},
    {"RUSHES_SPOOL_PATH", CONFIG_PATH, NULL, 0, 0, NULL, FIELD(spool_path),
     "Folder of the spool; its superblock is made in an empty one"},
    {"RUSHES_SPOOL_RESERVE", CONFIG_BYTES, "1GiB", 0, 0, NULL, FIELD(spool_reserve),
     "Room on the spool's disk that is kept free"},
    {"RUSHES_SPOOL_ROOT_KEY_FILE", CONFIG_PATH, NULL, 0, 0, NULL, FIELD(spool_root_key_file),
     "Key file of purpose spool-root"},
    {"RUSHES_TRANSCODER_SLOTS", CONFIG_UINT, "0", 0, WORKER_SLOTS_MAX, NULL, FIELD(slots),
     "Conversions at once; 0: one per processor"},
    {"RUSHES_TRANSCODER_FOLLOW", CONFIG_UINT, "16", 0, FOLLOW_MAX, NULL, FIELD(follow),
     "Recordings that are copied while they are still being received, each with a thread; 0: none"},
    {0},
};

static unsigned processors(void)
{
	cpu_set_t set;
	int n = sched_getaffinity(0, sizeof(set), &set) == 0 ? CPU_COUNT(&set) : 1;
	return n > 0 ? (unsigned)n : 1;
}

static void choose_slots(struct transcoder *t)
{
	unsigned cores = processors();
	t->slots = t->config->slots ? (unsigned)t->config->slots : MIN(cores, (unsigned)WORKER_SLOTS_MAX);
	unsigned threads = cores / t->slots;
	t->encoder_threads = (int)MIN(MAX(threads, 1U), (unsigned)ENCODER_THREADS_MAX);
}

static double following_of(void *arg)
{
	return ((struct transcoder *)arg)->following;
}

static void make_metrics(struct transcoder *t)
{
	static const char *const results[] = {"result", NULL};
	struct metrics *m = platform_metrics(t->platform);
	t->copied_bytes = metric_series(metrics_counter(m, "rushes_transcoder_copied_bytes_total",
							"Raw bytes pulled and checked", NULL),
					NULL);
	t->converted_seconds = metric_series(metrics_counter(m, "rushes_transcoder_converted_seconds_total",
							     "Playing time converted", NULL),
					     NULL);
	t->differing_overlaps =
	    metric_series(metrics_counter(m, "rushes_transcoder_overlaps_that_differ_total",
					  "Segments that differ from an earlier one of their recording where they "
					  "overlap: the earlier one's bytes count.",
					  NULL),
			  NULL);
	t->alarms = metric_series(metrics_counter(m, "rushes_transcoder_alarms_total",
						  "Conversion children killed for a forbidden system call", NULL),
				  NULL);
	static const char *const ends[] = {"end", NULL};
	t->follows = metrics_counter(m, "rushes_transcoder_follows_total",
				     "Recordings that were followed, by their end: copied, or left before.", ends);
	metrics_gauge_function(m, "rushes_transcoder_following",
			       "Recordings that are copied while they are being received.", following_of, t);
	t->conversions_total =
	    metrics_counter(m, "rushes_transcoder_conversions_total",
			    "Conversions by their end: copied, encoded, or the error's class", results);
}

/* Everything that needs no database. */
static int open_own(struct transcoder *t, struct error *e)
{
	const struct transcoder_config *c = t->config;
	const struct spool_options spool = {.path = c->spool_path,
					    .region = c->platform.region,
					    .service = "transcoder",
					    .reserve_bytes = c->spool_reserve};
	const struct tls_settings identity = {.certificate_path = c->platform.tls_certificate,
					      .key_path = c->platform.tls_key,
					      .ca_path = c->platform.tls_ca};
	int r = keyring_load(c->spool_root_key_file, KEY_SPOOL_ROOT, &t->root, e);
	if (r == 0)
		r = tls_server_new(&identity, &t->peer_server, e);
	if (r == 0)
		r = tls_client_new(&identity, &t->peer_client, e);
	return r == 0 ? spool_open(&spool, &t->spool, e) : r;
}

static int open_peers(struct transcoder *t, struct error *e)
{
	struct platform *p = t->platform;
	const struct keeper_options keeper = {.spool = t->spool,
					      .db = platform_db(p),
					      .peer_url = t->config->peer_url,
					      .metrics = platform_metrics(p),
					      .service = platform_service(p)};
	const struct serve_options serve = {.loop = platform_loop(p),
					    .pool = platform_pool(p),
					    .db = platform_db(p),
					    .spool = t->spool,
					    .tls = t->peer_server,
					    .metrics = platform_metrics(p),
					    .listen = t->config->peer_listen};
	/* each follower holds a connection to the node that receives its recording */
	const struct http_client_options client = {.tls = t->peer_client,
						   .connections_max = 2 * WORKER_SLOTS_MAX,
						   .host_connections_max = 2 * WORKER_SLOTS_MAX};
	int r = keeper_start(&keeper, &t->keeper, e);
	if (r == 0)
		r = serve_new(&serve, &t->serve, e);
	if (r == 0)
		r = http_client_new(platform_loop(p), &client, &t->http, e);
	t->serving = t->serve != NULL;
	return r;
}

static int open_jobs(struct transcoder *t, struct error *e)
{
	int r = platform_worker(t->platform, spool_node(t->spool), &t->worker, e);
	unsigned copies = t->slots + (unsigned)t->config->follow;
	const struct worker_kind copy = {.kind = JOB_COPY,
					 .slots = MIN(copies, (unsigned)WORKER_SLOTS_MAX),
					 .run = copy_job_run,
					 .may_take = copy_job_may_take,
					 .may_take_early = copy_job_may_follow,
					 .state = t};
	const struct worker_kind convert = {.kind = JOB_CONVERT,
					    .slots = t->slots,
					    .run = convert_job_run,
					    .may_take = convert_job_may_take,
					    .state = t};
	if (r == 0)
		r = worker_add(t->worker, &convert, e);
	return r == 0 ? worker_add(t->worker, &copy, e) : r;
}

static bool spool_is_ready(void *arg, const char **ret_why)
{
	struct transcoder *t = arg;
	*ret_why = "the spool is read-only or full";
	return spool_admits(t->spool, 0);
}

int transcoder_start(struct service *s, const void *config, void **ret_state, struct error *e)
{
	struct transcoder *t = calloc(1, sizeof(*t));
	if (!t)
		return error_nomem(e);
	*ret_state = t;
	t->config = config;
	conversions_init(&t->conversions);
	choose_slots(t);
	int r = open_own(t, e);
	if (r == 0)
		r = platform_start(s, &t->config->platform, PLATFORM_BUS, &t->platform, e);
	t->witness = (struct witness){.spool = t->spool, .peer_url = t->config->peer_url};
	if (r == 0)
		r = witness_pass_gate(&t->witness, t->platform, e);
	if (r < 0)
		return r;
	make_metrics(t);
	r = open_peers(t, e);
	if (r == 0)
		r = platform_ready_add(t->platform, spool_is_ready, t);
	if (r == 0)
		r = open_jobs(t, e);
	if (r < 0)
		return r;
	platform_debug_add(t->platform, "conversions", conversions_debug, &t->conversions);
	platform_debug_add(t->platform, "keeper", keeper_debug, t->keeper);
	platform_debug_add(t->platform, "peers", serve_debug, t->serve);
	log_info(NULL, "spool %s, %u slots of %d encoder threads", spool_node_text(t->spool), t->slots,
		 t->encoder_threads);
	return 0;
}

static void on_served(void *arg)
{
	struct transcoder *t = arg;
	t->serving = false;
}

static bool is_busy(void *arg)
{
	struct transcoder *t = arg;
	return t->serving;
}

void transcoder_drain(void *state)
{
	struct transcoder *t = state;
	serve_drain(t->serve, on_served, t);
	platform_drain(t->platform, is_busy, t);
}

int transcoder_reload(void *state, struct error *e)
{
	struct transcoder *t = state;
	int r = tls_reload(t->peer_server, e);
	if (r == 0)
		r = tls_reload(t->peer_client, e);
	return r == 0 ? platform_reload(t->platform, e) : r;
}

void transcoder_stop(void *state)
{
	struct transcoder *t = state;
	keeper_free(t->keeper);
	serve_free(t->serve);
	/* ends the jobs, which use what follows */
	platform_stop(t->platform);
	http_client_free(t->http);
	tls_free(t->peer_server);
	tls_free(t->peer_client);
	spool_free(t->spool);
	keyring_free(t->root);
	free(t);
}
