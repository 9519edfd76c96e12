#include "inflow.h"

/* How soon to look for free buffers again. */
#define POOL_WAIT_MS 20

static void on_timer(void *arg)
{
	struct inflow *f = arg;
	if (slab_has_spare(f->g->chunks))
		http_request_resume(f->r);
	else
		loop_timer_set(f->timer, POOL_WAIT_MS);
}

int inflow_init(struct inflow *f, struct ingest *g, struct http_request *r, struct error *e)
{
	*f = (struct inflow){.g = g, .r = r};
	http_request_pause(r);
	return loop_timer_new(platform_loop(g->platform), on_timer, f, &f->timer) < 0 ? error_nomem(e) : 0;
}

void inflow_done(struct inflow *f)
{
	if (f->timer)
		loop_timer_free(f->timer);
	if (f->g)
		chunks_clear(&f->waiting, f->g->chunks);
}

/* Hands on what waits. */
static int pass(struct inflow *f, struct error *e)
{
	uint64_t n = f->waiting.bytes;
	int r = intake_give(f->intake, f->offset, &f->waiting, e);
	if (r < 0)
		return r;
	f->offset += n;
	if (intake_is_full(f->intake))
		http_request_pause(f->r);
	return 0;
}

int inflow_open(struct inflow *f, uint64_t offset, struct error *e)
{
	f->is_open = true;
	f->offset = offset;
	http_request_resume(f->r);
	return f->waiting.bytes > 0 ? pass(f, e) : 0;
}

int inflow_give(struct inflow *f, const void *data, size_t n, struct error *e)
{
	bool pool_is_empty = false;
	if (!f->intake)
		return error_set(e, ERR_CANCELLED, "the recording has ended");
	int r = chunks_add(&f->waiting, f->g->chunks, data, n, &pool_is_empty, e);
	if (r < 0)
		return r;
	if (pool_is_empty) {
		http_request_pause(f->r);
		loop_timer_set(f->timer, POOL_WAIT_MS);
	}
	if (!f->is_open) {
		http_request_pause(f->r);
		return 0;
	}
	return pass(f, e);
}

void inflow_room(struct inflow *f)
{
	http_request_resume(f->r);
}
