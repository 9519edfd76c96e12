#include "net/admin.h"

#include <assert.h>
#include <string.h>

#define STATE_PARTS_MAX 32
/* Of a scrape: far above what 500 rows of each family take. */
#define METRICS_BYTES_MAX (8 * 1024 * 1024)

struct state_part {
	const char *name;
	admin_state_function *fn;
	void *arg;
};

struct admin {
	struct http_server *server;
	struct metrics *metrics;
	const struct service *service;
	bool (*ready)(void *arg, const char **ret_reason);
	void *arg;
	struct state_part parts[STATE_PARTS_MAX];
	unsigned n_parts;
};

static void answer_text(struct http_request *r, int status, const char *text)
{
	(void)http_response_security_headers(r, NULL);
	(void)http_respond(r, status, "text/plain; charset=utf-8", text, strlen(text));
}

static void get_health(struct http_request *r, void *arg _unused_)
{
	answer_text(r, 200, "ok\n");
}

static void get_ready(struct http_request *r, void *arg)
{
	struct admin *a = arg;
	char text[512];
	const char *reason = NULL;
	enum service_phase phase = a->service ? service_phase(a->service) : SERVICE_READY;
	if (phase != SERVICE_READY) {
		reason = service_phase_to_string(phase);
		/* a start that is held has its own reason */
		if (phase == SERVICE_STARTING && a->ready)
			(void)a->ready(a->arg, &reason);
	} else if (!a->ready || a->ready(a->arg, &reason))
		reason = NULL;
	else if (!reason)
		reason = "not ready";
	(void)snprintf(text, sizeof(text), "%s\n", reason ? reason : "ready");
	answer_text(r, reason ? 503 : 200, text);
}

static void get_metrics(struct http_request *r, void *arg)
{
	struct admin *a = arg;
	struct buffer text;
	buffer_init(&text, METRICS_BYTES_MAX);
	if (metrics_print(a->metrics, &text) < 0)
		(void)http_respond_problem(r, 500, "internal", "the metrics do not fit");
	else
		(void)http_respond(r, 200, "text/plain; version=0.0.4; charset=utf-8", text.data, text.size);
	buffer_done(&text);
}

static void get_state(struct http_request *r, void *arg)
{
	struct admin *a = arg;
	json_t *all = json_object();
	int failed = !all;
	for (unsigned i = 0; i < a->n_parts && !failed; i++) {
		json_t *part = a->parts[i].fn(a->parts[i].arg);
		failed = json_object_set_new(all, a->parts[i].name, part ? part : json_null());
	}
	if (failed)
		(void)http_respond_problem(r, 500, "internal", "no memory");
	else
		(void)http_respond_json(r, 200, all);
	json_decref(all);
}

static const struct http_route routes[] = {
    {.method = "GET", .pattern = "/healthz", .handler = get_health},
    {.method = "GET", .pattern = "/readyz", .handler = get_ready},
    {.method = "GET", .pattern = "/metrics", .handler = get_metrics},
    {.method = "GET", .pattern = "/debug/state", .handler = get_state},
    {0},
};

int admin_new(struct loop *l, const struct admin_options *o, struct admin **ret, struct error *e)
{
	_cleanup_(admin_freep) struct admin *a = calloc(1, sizeof(*a));
	if (!a)
		return error_nomem(e);
	a->metrics = o->metrics;
	a->service = o->service;
	a->ready = o->ready;
	a->arg = o->arg;
	const struct http_server_options server = {
	    .address = o->address,
	    .tls = o->tls,
	    .routes = routes,
	    .arg = a,
	    .limits = {.connections_max = 64},
	    .metrics = o->metrics,
	    .name = "admin",
	};
	int r = http_server_new(l, &server, &a->server, e);
	if (r < 0)
		return r;
	admin_add_state(a, "admin", http_server_state, a->server);
	*ret = TAKE_PTR(a);
	return 0;
}

void admin_free(struct admin *a)
{
	if (!a)
		return;
	http_server_free(a->server);
	free(a);
}

uint16_t admin_port(const struct admin *a)
{
	return http_server_port(a->server);
}

void admin_add_state(struct admin *a, const char *name, admin_state_function *fn, void *arg)
{
	assert(a->n_parts < STATE_PARTS_MAX);
	a->parts[a->n_parts++] = (struct state_part){.name = name, .fn = fn, .arg = arg};
}
