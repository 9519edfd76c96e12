#include "fence.h"

#include "base/clock.h"
#include "intake.h"

#include <string.h>

#define FENCE_PATH "/spool/v1/fence"

/* A node that is gone is found out sooner than one that thinks. */
#define FENCE_CONNECT_MS 1000

#define BODY_BYTES	 128
#define ANSWER_BYTES_MAX 4096

/* A peer that asks this node to let a recording go. */
struct plea {
	struct plea *next;
	struct fences *fences;
	struct http_request *request;
	struct uuid recording;
	int64_t epoch;
	int64_t since_us;
	bool is_waiting; /* for the intake */
	bool closes;	 /* the pool may close what is open: no intake of this process writes it */
	/* the pool's answer */
	bool is_open;
	uint64_t offset;
	int result;
	struct error error;
};

struct fences {
	struct fences_options o;
	struct intakes *intakes;
	struct plea *pleas;
	struct metric *asked, *answered;
	struct metric_series *seconds;
};

/* An owner that is being asked. */
struct fence {
	struct fences *fences;
	struct http_exchange *exchange;
	loop_function *done; /* NULL: cancelled */
	void *arg;
	char recording[UUID_TEXT_BYTES], node[UUID_TEXT_BYTES];
	char body[BODY_BYTES];
	int64_t since_us;
};

int fences_new(const struct fences_options *o, struct fences **ret, struct error *e)
{
	static const char *const labels[] = {"result", NULL};
	static const double bounds[] = {0.01, 0.03, 0.1, 0.3, 1, 2};
	struct fences *f = calloc(1, sizeof(*f));
	if (!f)
		return error_nomem(e);
	f->o = *o;
	f->asked = metrics_counter(o->metrics, "rushes_ingest_fences_total",
				   "Nodes that were asked to let a recording go: answered, stale, silent.", labels);
	f->answered =
	    metrics_counter(o->metrics, "rushes_ingest_fences_answered_total",
			    "Peers that asked this node to let a recording go, by what they were told.", labels);
	f->seconds = metric_series(metrics_histogram(o->metrics, "rushes_ingest_fence_seconds",
						     "What it took to be answered by the node that held a recording.",
						     NULL, bounds, ARRAY_SIZE(bounds)),
				   NULL);
	*ret = f;
	return 0;
}

void fences_free(struct fences *f)
{
	if (!f)
		return;
	while (f->pleas) {
		struct plea *p = f->pleas;
		f->pleas = p->next;
		http_request_unref(p->request);
		free(p);
	}
	free(f);
}

void fences_close(struct fences *f)
{
	f->o.pool = NULL;
}

void fences_set_intakes(struct fences *f, struct intakes *s)
{
	f->intakes = s;
}

/* Asking. */

static void on_end(struct http_exchange *x, int result, struct http_client_answer *a, const struct error *e, void *arg)
{
	(void)x;
	struct fence *f = arg;
	const struct log_context ctx = {.recording = f->recording};
	int64_t us = clock_monotonic_us() - f->since_us;
	if (f->done && result == 0) {
		metric_count(f->fences->asked, "answered");
		metric_observe(f->fences->seconds, (double)us / 1e6);
		log_info(&ctx, "node %s let the recording go in %lld ms", f->node, (long long)us / 1000);
	} else if (f->done && a->status == 409) {
		metric_count(f->fences->asked, "stale");
		log_info(&ctx, "node %s keeps the recording: %s", f->node, e->text);
	} else if (f->done) {
		metric_count(f->fences->asked, "silent");
		log_warning(&ctx, "node %s, which holds the recording, does not answer: %s", f->node, e->text);
	}
	if (f->done)
		f->done(f->arg);
	free(f);
}

int fence_ask(struct fences *f, const struct segment_owner *owner, const struct uuid *recording, int64_t epoch,
	      const struct trace *trace, loop_function *done, void *arg, struct fence **ret)
{
	static const struct http_exchange_callbacks callbacks = {.on_end = on_end};
	static const struct http_client_header headers[] = {{"Content-Type", "application/json"}};
	char url[SEGMENT_URL_BYTES + sizeof(FENCE_PATH)];
	struct fence *x = calloc(1, sizeof(*x));
	if (!x)
		return ERR_NOMEM;
	x->fences = f;
	x->done = done;
	x->arg = arg;
	x->since_us = clock_monotonic_us();
	uuid_format(recording, x->recording);
	uuid_format(&owner->node, x->node);
	size_t n = strlen(owner->url);
	while (n > 0 && owner->url[n - 1] == '/')
		n--;
	(void)snprintf(url, sizeof(url), "%.*s" FENCE_PATH, (int)n, owner->url);
	int length =
	    snprintf(x->body, sizeof(x->body), "{\"recording\":\"%s\",\"epoch\":%lld}", x->recording, (long long)epoch);
	const struct http_client_request rq = {.method = "POST",
					       .url = url,
					       .headers = headers,
					       .n_headers = ARRAY_SIZE(headers),
					       .trace = trace,
					       .body = x->body,
					       .body_bytes = (size_t)length,
					       .answer_bytes_max = ANSWER_BYTES_MAX,
					       .connect_ms = FENCE_CONNECT_MS,
					       .total_ms = FENCE_ANSWER_MS};
	struct error e = {0};
	int r = http_client_start(f->o.http, &rq, &callbacks, x, &x->exchange, &e);
	if (r < 0) {
		const struct log_context ctx = {.recording = x->recording};
		log_warning(&ctx, "node %s, which holds the recording, cannot be asked: %s", x->node, e.text);
		free(x);
		return r;
	}
	*ret = x;
	return 0;
}

void fence_cancel(struct fence *x)
{
	x->done = NULL;
	http_exchange_cancel(x->exchange);
}

/* Answering. */

static int check(struct plea *p, int64_t *ret_number, struct uuid *ret_copy)
{
	static const struct db_statement st = {"fence_check",
					       "SELECT coalesce(open_number, -1), open_copy, closed_end FROM "
					       "rushes.fence_check($1::uuid, $2::uuid, $3::integer)",
					       3};
	char recording[UUID_TEXT_BYTES], epoch[DB_INT_BYTES];
	_cleanup_(db_result_freep) struct db_result *rows = NULL;
	uuid_format(&p->recording, recording);
	const char *params[] = {recording, spool_node_text(p->fences->o.host->spool), db_param_int(p->epoch, epoch)};
	int r = db_run(p->fences->o.host->db, &st, params, &rows, &p->error);
	if (r < 0)
		return r;
	*ret_number = db_int(rows, 0, 0);
	p->is_open = db_uuid(rows, 0, 1, ret_copy);
	p->offset = (uint64_t)db_int(rows, 0, 2);
	return 0;
}

/* On the pool. */
static void work(void *arg)
{
	struct plea *p = arg;
	int64_t number = -1;
	struct uuid copy;
	p->error = (struct error){0};
	p->result = check(p, &number, &copy);
	if (p->result < 0 || !p->is_open || !p->closes)
		return;
	struct salvage found;
	if (live_copies_has(p->fences->o.host->live, &copy)) {
		p->result = error_set(&p->error, ERR_RETRY, "the recording is being closed here");
		return;
	}
	p->result = segment_salvage(p->fences->o.host, &p->recording, number, &copy, false, &found, &p->error);
	if (p->result == 0)
		p->result = check(p, &number, &copy);
}

static void answer(struct plea *p)
{
	const char *told = p->result == 0 ? "closed" : p->result == ERR_CONFLICT ? "stale" : "failed";
	char recording[UUID_TEXT_BYTES];
	uuid_format(&p->recording, recording);
	const struct log_context ctx = {.recording = recording};
	metric_count(p->fences->answered, told);
	if (p->result == 0) {
		json_t *body = json_pack("{s:I}", "offset", (json_int_t)p->offset);
		log_info(&ctx, "let go to another node at %llu, %lld ms after it asked", (unsigned long long)p->offset,
			 (long long)(clock_monotonic_us() - p->since_us) / 1000);
		(void)http_respond_json(p->request, 200, body);
		json_decref(body);
	} else {
		log_info(&ctx, "not let go to another node: %s", p->error.text);
		(void)http_respond_error(p->request, &p->error);
	}
	struct plea **at = &p->fences->pleas;
	while (*at != p)
		at = &(*at)->next;
	*at = p->next;
	http_request_unref(p->request);
	free(p);
}

static void worked(void *arg);

static void submit(struct plea *p)
{
	p->is_waiting = false;
	if (p->fences->o.pool && pool_submit(p->fences->o.pool, work, worked, p) == 0)
		return;
	p->result = error_set(&p->error, ERR_RETRY, "too much waits to be done");
	answer(p);
}

/* Back on the loop. */
static void worked(void *arg)
{
	struct plea *p = arg;
	struct intakes *s = p->fences->intakes;
	if (p->result < 0 || p->closes) {
		answer(p);
		return;
	}
	p->closes = true;
	struct intake *i = s ? intakes_find(s, &p->recording) : NULL;
	/* before the intake is told: it may leave at once */
	p->is_waiting = i != NULL;
	if (i && intake_supersede(i))
		return;
	p->is_waiting = false;
	if (p->is_open)
		submit(p);
	else
		answer(p);
}

void fences_released(struct fences *f, const struct uuid *recording)
{
	struct plea *next;
	for (struct plea *p = f->pleas; p; p = next) {
		next = p->next;
		if (p->is_waiting && uuid_equal(&p->recording, recording))
			submit(p);
	}
}

static int read_plea(struct http_request *r, struct plea *p)
{
	json_t *body = NULL;
	int result = http_request_json(r, &body, &p->error);
	if (result < 0)
		return result;
	const char *recording = json_string_value(json_object_get(body, "recording"));
	json_t *epoch = json_object_get(body, "epoch");
	p->epoch = json_integer_value(epoch);
	bool is_whole = recording && uuid_parse(recording, &p->recording) && json_is_integer(epoch) && p->epoch > 0 &&
			p->epoch <= INT32_MAX;
	json_decref(body);
	return is_whole ? 0 : error_set(&p->error, ERR_REJECT, "want a recording and its epoch");
}

void fence_handle(struct http_request *r, void *arg)
{
	struct fences *f = arg;
	const struct tls_identity *peer = http_request_peer(r);
	if (!peer || strcmp(peer->service, "ingest") != 0) {
		(void)http_respond_problem(r, 403, "peer", "only ingest nodes may ask for this");
		return;
	}
	struct plea *p = calloc(1, sizeof(*p));
	if (!p) {
		(void)http_respond_problem(r, 503, "busy", "out of memory");
		return;
	}
	*p = (struct plea){.fences = f, .since_us = clock_monotonic_us()};
	if (read_plea(r, p) < 0) {
		(void)http_respond_error(r, &p->error);
		free(p);
		return;
	}
	p->request = http_request_ref(r);
	p->next = f->pleas;
	f->pleas = p;
	submit(p);
}
