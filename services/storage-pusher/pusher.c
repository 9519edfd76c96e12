#include "pusher.h"

#include "base/log.h"
#include "node/slice.h"
#include "push_job.h"

#include <string.h>

#define SLICE "storage-pusher"

#define OPTION(member) offsetof(struct pusher_config, member)

const struct config_option pusher_options[] = {
    {"RUSHES_PUSHER_SLOTS", CONFIG_UINT, "4", 1, WORKER_SLOTS_MAX, NULL, OPTION(slots),
     "Deliveries at once, each in a process of its own that holds a part of an upload in memory"},
    {"RUSHES_PUSHER_DELETE_SLOTS", CONFIG_UINT, "2", 1, WORKER_SLOTS_MAX, NULL, OPTION(delete_slots),
     "Removals at targets at once"},
    {"RUSHES_SPOOL_ROOT_KEY_FILE", CONFIG_PATH, NULL, 0, 0, NULL, OPTION(spool_root_key_file),
     "Key file of purpose spool-root; opened by delivery children only"},
    {"RUSHES_VAULT_SECRET_KEY_FILE", CONFIG_PATH, NULL, 0, 0, NULL, OPTION(vault_secret_key_file),
     "Key file of purpose vault; opened by delivery children only"},
    {"RUSHES_PUSHER_FILE_ROOT", CONFIG_PATH, "", 0, 0, NULL, OPTION(file_root),
     "Folder that targets of kind file must lie below; without it they may lie anywhere"},
    {"RUSHES_PUSHER_PRIVATE_ADDRESSES", CONFIG_BOOL, "no", 0, 0, NULL, OPTION(private_addresses),
     "Whether a client's target may lead to loopback and private addresses, where it asks for it; ours may"},
    {"RUSHES_PUSHER_LOOK_SLOTS", CONFIG_UINT, "2", 1, LOOKS_SLOTS_MAX, NULL, OPTION(look_slots),
     "Second looks at once, for what was removed at targets, one at each target"},
    {"RUSHES_PUSHER_LOOK_EVERY", CONFIG_DURATION, "5s", 100, 3600000, NULL, OPTION(look_every_ms),
     "Time between two questions for second looks that are due, while there are none"},
    {"RUSHES_PUSHER_SWEEP_EVERY", CONFIG_DURATION, "2s", 100, 3600000, NULL, OPTION(sweep_every_ms),
     "Time between two sweeps for copies that are due by this service's rules"},
    {0},
};

/* What the children are told: names of files, never what is in them. */
static json_t *child_settings(const struct pusher_config *c)
{
	return json_pack("{s:s,s:s,s:s,s:s,s:s,s:s,s:b}", "spool_root_key_file", c->spool_root_key_file,
			 "vault_secret_key_file", c->vault_secret_key_file, "tls_certificate",
			 c->platform.tls_certificate, "tls_key", c->platform.tls_key, "tls_ca", c->platform.tls_ca,
			 "file_root", c->file_root, "private_addresses", (int)c->private_addresses);
}

static int open_deliveries(struct pusher *p, struct error *e)
{
	json_t *settings = child_settings(p->config);
	if (!settings)
		return error_nomem(e);
	int r = delivery_pool_new(platform_loop(p->platform), settings, &p->deliveries, e);
	json_decref(settings);
	return r;
}

static double count_children(void *arg)
{
	return delivery_children(arg);
}

static void make_metrics(struct pusher *p)
{
	static const char *const push_labels[] = {"target", "file", "result", NULL};
	static const char *const removal_labels[] = {"target", "result", NULL};
	struct metrics *m = platform_metrics(p->platform);
	p->pushes =
	    metrics_counter(m, "rushes_pusher_pushes_total",
			    "Attempts to deliver, by kind of target and file and by their end: delivered, or the "
			    "error's class",
			    push_labels);
	p->removals = metrics_counter(m, "rushes_pusher_removals_total",
				      "Attempts to remove at targets, by their end: removed, or the error's class",
				      removal_labels);
	p->bytes =
	    metric_series(metrics_counter(m, "rushes_pusher_delivered_bytes_total", "Bytes of delivered files", NULL),
			  NULL);
	metrics_gauge_function(m, "rushes_pusher_children", "Delivery children that run now", count_children,
			       p->deliveries);
}

static int open_jobs(struct pusher *p, struct error *e)
{
	const struct worker_kind push = {.kind = JOB_PUSH,
					 .slots = (unsigned)p->config->slots,
					 .run = push_job_run,
					 .state = p};
	const struct worker_kind removal = {.kind = JOB_DELETE,
					    .slots = (unsigned)p->config->delete_slots,
					    .run = delete_job_run,
					    .state = p};
	int r = platform_worker(p->platform, NULL, &p->worker, e);
	if (r == 0)
		r = worker_add(p->worker, &push, e);
	return r == 0 ? worker_add(p->worker, &removal, e) : r;
}

static int open_looks(struct pusher *p, struct error *e)
{
	const struct looks_options o = {.platform = p->platform,
					.deliveries = p->deliveries,
					.slots = (unsigned)p->config->look_slots,
					.every_ms = p->config->look_every_ms};
	int r = looks_new(&o, &p->looks, e);
	if (r == 0)
		platform_debug_add(p->platform, "looks", looks_debug, p->looks);
	return r;
}

static void sweep(void *arg)
{
	struct pusher *p = arg;
	unsigned n = 0;
	struct error e = {0};
	int r = slice_sweep(platform_db(p->platform), SLICE, platform_metrics(p->platform), &n, &e);
	/* the same trouble is told once */
	if (r < 0 && p->sweep_error.code == 0)
		log_warning(NULL, "the sweep of the retention rules cannot work: %s", e.text);
	p->sweep_error = e;
	p->decided += n;
}

static void on_swept(void *arg)
{
	struct pusher *p = arg;
	p->sweep_runs = false;
	if (!p->sweep_stopped)
		loop_timer_set(p->sweep_timer, p->config->sweep_every_ms);
}

static void on_sweep_timer(void *arg)
{
	struct pusher *p = arg;
	p->sweep_runs = pool_submit(platform_pool(p->platform), sweep, on_swept, p) == 0;
	if (!p->sweep_runs)
		loop_timer_set(p->sweep_timer, p->config->sweep_every_ms);
}

int pusher_start(struct service *s, const void *config, void **ret_state, struct error *e)
{
	struct pusher *p = calloc(1, sizeof(*p));
	if (!p)
		return error_nomem(e);
	*ret_state = p;
	p->config = config;
	int r = platform_start(s, &p->config->platform, PLATFORM_BUS | PLATFORM_OUTBOX, &p->platform, e);
	if (r == 0)
		r = platform_gate(p->platform, NULL, NULL, e);
	if (r == 0)
		r = open_deliveries(p, e);
	if (r < 0)
		return r;
	make_metrics(p);
	platform_debug_add(p->platform, "deliveries", delivery_debug, p->deliveries);
	if (loop_timer_new(platform_loop(p->platform), on_sweep_timer, p, &p->sweep_timer) < 0)
		return error_nomem(e);
	loop_timer_set(p->sweep_timer, MIN(p->config->sweep_every_ms, 1000));
	r = open_jobs(p, e);
	return r < 0 ? r : open_looks(p, e);
}

static bool is_busy(void *arg)
{
	const struct pusher *p = arg;
	return p->sweep_runs || looks_are_running(p->looks);
}

void pusher_drain(void *state)
{
	struct pusher *p = state;
	p->sweep_stopped = true;
	loop_timer_cancel(p->sweep_timer);
	looks_stop(p->looks);
	platform_drain(p->platform, is_busy, p);
}

int pusher_reload(void *state, struct error *e)
{
	struct pusher *p = state;
	/* keys and certificates are read by each child for itself */
	return platform_reload(p->platform, e);
}

void pusher_stop(void *state)
{
	struct pusher *p = state;
	looks_free(p->looks);
	/* ends the jobs, which use the children */
	platform_stop(p->platform);
	loop_timer_free(p->sweep_timer);
	delivery_pool_free(p->deliveries);
	free(p);
}
