#include "recordings.h"

#include "call.h"

#include "base/clock.h"

#include <inttypes.h>
#include <string.h>

#define LIST_DEFAULT	 50
#define REASON_BYTES_MAX 500

static const char *const states[] = {"open",	 "saved",  "processed", "closed", "failed-copy", "failed-conversion",
				     "deleting", "deleted"};

struct list {
	/* borrowed from the request */
	const char *state;
	const char *before;
	unsigned limit;
};

static int list_read(struct call *c, struct error *e)
{
	struct list *in = c->input;
	int64_t before_us;
	bool known = false;
	in->state = http_request_query(c->request, "state");
	in->before = http_request_query(c->request, "before");
	const char *limit = http_request_query(c->request, "limit");
	for (size_t i = 0; in->state && i < ARRAY_SIZE(states); i++)
		known = known || strcmp(states[i], in->state) == 0;
	if (in->state && !known)
		return error_set(e, ERR_REJECT, "state: there is no such state");
	if (in->before && !clock_parse(in->before, &before_us))
		return error_set(e, ERR_REJECT, "before: want a time as 2026-11-22T14:00:00Z");
	in->limit = LIST_DEFAULT;
	if (limit) {
		char *end = NULL;
		unsigned long n = strtoul(limit, &end, 10);
		if (*limit < '0' || *limit > '9' || *end || n < 1 || n > API_LIST_MAX)
			return error_set(e, ERR_REJECT, "limit: want a number from 1 to %d", API_LIST_MAX);
		in->limit = (unsigned)n;
	}
	return 0;
}

/* The address of what follows: recordings that were opened before the last one here. */
static json_t *next_page(const struct list *in, json_t *recordings)
{
	size_t n = json_array_size(recordings);
	if (n < in->limit)
		return json_null();
	const char *last = json_string_value(json_object_get(json_array_get(recordings, n - 1), "opened_at"));
	int64_t last_us;
	if (!last || !clock_parse(last, &last_us))
		return NULL;
	char before[CLOCK_TEXT_BYTES];
	clock_format(last_us, before);
	return json_sprintf("/v1/recordings?before=%s&limit=%u%s%s", before, in->limit, in->state ? "&state=" : "",
			    in->state ? in->state : "");
}

static int list_work(struct call *c, struct db *d, struct error *e)
{
	const struct list *in = c->input;
	struct api_recordings f = {&c->account, in->state, in->before, in->limit};
	json_t *recordings = NULL;
	int r = api_recording_list(d, &f, &recordings, e);
	if (r < 0)
		return r;
	json_t *next = next_page(in, recordings);
	c->answer = json_pack("{s:o, s:o}", "recordings", recordings, "next", next);
	return c->answer ? 0 : error_nomem(e);
}

static int get_read(struct call *c, struct error *e)
{
	return call_read_id(c, c->input, e);
}

static int get_work(struct call *c, struct db *d, struct error *e)
{
	return api_recording_get(d, &c->account, c->input, &c->answer, e);
}

struct removal {
	struct uuid id;
	const char *reason; /* borrowed */
};

static int delete_read(struct call *c, struct error *e)
{
	struct removal *in = c->input;
	in->reason = http_request_query(c->request, "reason");
	if (in->reason && strlen(in->reason) > REASON_BYTES_MAX)
		return error_set(e, ERR_REJECT, "reason: want at most %d bytes", REASON_BYTES_MAX);
	return call_read_id(c, &in->id, e);
}

static int delete_work(struct call *c, struct db *d, struct error *e)
{
	const struct removal *in = c->input;
	char id[UUID_TEXT_BYTES];
	int r = api_recording_delete(d, c->actor, &c->account, &in->id, in->reason, e);
	if (r == 0)
		r = api_recording_deletion(d, &c->account, &in->id, &c->answer, e);
	if (r < 0)
		return r;
	uuid_format(&in->id, id);
	c->status = 202;
	if (asprintf(&c->location, "/v1/recordings/%s/deletion", id) < 0) {
		c->location = NULL;
		return error_nomem(e);
	}
	return 0;
}

static int deletion_work(struct call *c, struct db *d, struct error *e)
{
	return api_recording_deletion(d, &c->account, c->input, &c->answer, e);
}

void recordings_list(struct http_request *r, void *arg)
{
	static const struct call_kind kind = {
	    .operation = "recording-list",
	    .scope = API_RECORDINGS_READ,
	    .limit = LIMIT_API,
	    .input_bytes = sizeof(struct list),
	    .read = list_read,
	    .work = list_work,
	};
	call_begin(r, arg, &kind);
}

void recordings_get(struct http_request *r, void *arg)
{
	static const struct call_kind kind = {
	    .operation = "recording-get",
	    .scope = API_RECORDINGS_READ,
	    .limit = LIMIT_API,
	    .input_bytes = sizeof(struct uuid),
	    .read = get_read,
	    .work = get_work,
	};
	call_begin(r, arg, &kind);
}

void recordings_delete(struct http_request *r, void *arg)
{
	static const struct call_kind kind = {
	    .operation = "recording-delete",
	    .scope = API_RECORDINGS_DELETE,
	    .limit = LIMIT_API,
	    .input_bytes = sizeof(struct removal),
	    .read = delete_read,
	    .work = delete_work,
	};
	call_begin(r, arg, &kind);
}

void recordings_deletion(struct http_request *r, void *arg)
{
	static const struct call_kind kind = {
	    .operation = "recording-deletion",
	    .scope = API_RECORDINGS_READ | API_RECORDINGS_DELETE,
	    .limit = LIMIT_API,
	    .input_bytes = sizeof(struct uuid),
	    .read = get_read,
	    .work = deletion_work,
	};
	call_begin(r, arg, &kind);
}
