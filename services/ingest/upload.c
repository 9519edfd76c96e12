#include "upload.h"

#include "admission.h"
#include "message.h"
#include "multipart.h"

#include <sodium.h>
#include <string.h>

#define POOL_WAIT_MS 20

/* A body that is being received. Freed at the request's end. */
struct upload {
	struct ingest *g;
	struct http_request *r;
	struct intake *intake; /* NULL: none attached */
	struct multipart *multipart;
	struct loop_timer *timer;
	bool is_open;  /* the recording was opened: bytes may be given */
	bool is_whole; /* all bytes have come */
	bool is_answered;
	bool is_repeatable; /* the client named its take */
	uint64_t offset;    /* behind the last byte of the recording */
	struct intake_total total;
};

static void answer_problem(struct upload *u, int status, const char *code, const char *text)
{
	if (u->is_answered)
		return;
	u->is_answered = true;
	(void)http_respond_problem(u->r, status, code, "%s", text);
}

/* A body cannot go on where it broke off: what came of it goes, unless its take may be sent again. */
static void give_up(struct upload *u)
{
	struct intake *i = TAKE_PTR(u->intake);
	if (!i)
		return;
	bool is_done = intake_state(i) == INTAKE_SAVING || intake_state(i) == INTAKE_SAVED;
	intake_hold(i);
	if (!is_done && !u->is_repeatable)
		intake_abort(i);
	intake_detach(i, true);
	intake_let_go(i);
}

static int status_of(const char *code, bool retry)
{
	if (strcmp(code, "too-large") == 0)
		return 413;
	if (strcmp(code, "full") == 0)
		return 507;
	if (strcmp(code, "bytes-mismatch") == 0 || strcmp(code, "total-mismatch") == 0)
		return 400;
	return retry ? 503 : 403;
}

/* All bytes are there: they are checked, made durable and released. */
static void finish(struct upload *u)
{
	struct intake *i = u->intake;
	u->total.has_bytes = true;
	u->total.bytes = u->offset;
	intake_hold(i);
	intake_stop(i, &u->total);
	intake_send(i);
	intake_let_go(i);
}

static void on_open(void *arg, const struct uuid *recording, uint64_t offset, bool send_on_stop)
{
	struct upload *u = arg;
	(void)recording;
	(void)offset;
	(void)send_on_stop;
	u->is_open = true;
	http_request_resume(u->r);
	if (u->is_whole)
		finish(u);
}

static void on_room(void *arg)
{
	struct upload *u = arg;
	http_request_resume(u->r);
}

static void on_saved(void *arg, bool is_copied)
{
	struct upload *u = arg;
	(void)is_copied;
	if (u->is_answered)
		return;
	struct uuid id = intake_recording(u->intake);
	char text[UUID_TEXT_BYTES];
	uuid_format(&id, text);
	json_t *body = json_pack("{s:s, s:I, s:s}", "recording", text, "bytes", (json_int_t)intake_received(u->intake),
				 "state", "saved");
	u->is_answered = true;
	(void)http_respond_json(u->r, 201, body);
	json_decref(body);
}

static void on_discarded(void *arg)
{
	struct upload *u = arg;
	u->intake = NULL;
	answer_problem(u, 400, "empty", "the body holds no bytes of a recording");
}

static void on_failed(void *arg, const struct intake_failure *why)
{
	struct upload *u = arg;
	u->intake = NULL;
	answer_problem(u, status_of(why->code, why->retry), why->code, why->message);
}

static const struct intake_callbacks intake_callbacks = {
    .on_open = on_open,
    .on_room = on_room,
    .on_ack = NULL,
    .on_saved = on_saved,
    .on_discarded = on_discarded,
    .on_failed = on_failed,
};

/* Bytes of the recording, out of the body. */
static int take(void *arg, const void *data, size_t n, struct error *e)
{
	struct upload *u = arg;
	struct chunks bytes = {0};
	bool pool_is_empty = false;
	if (!u->intake)
		return error_set(e, ERR_CANCELLED, "the recording has ended");
	int r = chunks_add(&bytes, u->g->chunks, data, n, &pool_is_empty, e);
	if (r == 0) {
		u->offset += n;
		r = intake_give(u->intake, u->offset - n, &bytes, e);
	}
	if (r < 0) {
		chunks_clear(&bytes, u->g->chunks);
		return r;
	}
	if (intake_is_full(u->intake)) {
		http_request_pause(u->r);
	} else if (pool_is_empty) {
		http_request_pause(u->r);
		loop_timer_set(u->timer, POOL_WAIT_MS);
	}
	return 0;
}

static void on_body(struct http_request *r, const void *data, size_t n, void *arg)
{
	(void)r;
	struct upload *u = arg;
	struct error e = {0};
	if (u->is_answered)
		return;
	int rc = u->multipart ? multipart_feed(u->multipart, data, n, &e) : take(u, data, n, &e);
	if (rc < 0 && !u->is_answered) {
		answer_problem(u, rc == ERR_REJECT ? 400 : 503, rc == ERR_REJECT ? "bad-request" : "unavailable",
			       e.text);
		give_up(u);
	}
}

static void on_body_end(struct http_request *r, void *arg)
{
	(void)r;
	struct upload *u = arg;
	struct error e = {0};
	if (u->is_answered)
		return;
	if (u->multipart && multipart_finish(u->multipart, &e) < 0) {
		answer_problem(u, 400, "bad-request", e.text);
		give_up(u);
		return;
	}
	u->is_whole = true;
	if (u->intake && u->is_open)
		finish(u);
}

static void on_end(struct http_request *r, bool complete, void *arg)
{
	(void)r;
	(void)complete;
	struct upload *u = arg;
	give_up(u);
	loop_timer_free(u->timer);
	multipart_free(u->multipart);
	http_request_unref(u->r);
	free(u);
}

static const struct http_request_callbacks request_callbacks = {.on_body = on_body,
								.on_body_end = on_body_end,
								.on_end = on_end};

static void on_timer(void *arg)
{
	struct upload *u = arg;
	if (slab_has_spare(u->g->chunks))
		http_request_resume(u->r);
	else
		loop_timer_set(u->timer, POOL_WAIT_MS);
}

/* Repr-Digest: sha-256=:<base64>: (RFC 9530) is compared before the recording is saved; other algorithms are not
 * looked at. False for a malformed one. */
static bool read_digest(const struct http_request *r, struct intake_total *ret)
{
	static const char algorithm[] = "sha-256=:";
	const char *value = http_request_header(r, "repr-digest");
	const char *begin = value ? strstr(value, algorithm) : NULL;
	if (!begin)
		return true;
	begin += sizeof(algorithm) - 1;
	const char *end = NULL;
	size_t n = 0;
	if (sodium_base642bin(ret->sha256, sizeof(ret->sha256), begin, strcspn(begin, ":"), NULL, &n, &end,
			      sodium_base64_VARIANT_ORIGINAL) != 0 ||
	    n != sizeof(ret->sha256) || *end != ':')
		return false;
	ret->has_sha256 = true;
	return true;
}

/* The same `Rushes-Take` finds the same recording, so that an upload may be repeated; without one each is new. */
static int take_of(const struct http_request *r, struct uuid *ret, struct error *e)
{
	const char *text = http_request_header(r, "rushes-take");
	*ret = uuid_v4();
	if (text && !uuid_parse(text, ret))
		return error_set(e, ERR_REJECT, "Rushes-Take is no UUID");
	return 0;
}

static int begin(struct upload *u, const struct session_token *token, struct error *e)
{
	struct intake_start start;
	struct uuid id;
	const char *type = http_request_header(u->r, "content-type");
	admission_start(token, u->r, &start);
	start.is_upload = start.is_single = true;
	start.is_repeatable = u->is_repeatable = http_request_header(u->r, "rushes-take") != NULL;
	start.mime = type;
	int64_t length = http_request_content_length(u->r);
	start.has_declared = length > 0;
	start.declared_bytes = start.has_declared ? (uint64_t)length : 0;
	int r = take_of(u->r, &id, e);
	if (r == 0 && !read_digest(u->r, &u->total))
		r = error_set(e, ERR_REJECT, "Repr-Digest is malformed");
	if (r == 0 && multipart_is(type))
		r = multipart_new(type, take, u, &u->multipart, e);
	if (r == 0)
		r = message_recording(&token->session, &id, &start.recording, e);
	if (r == 0)
		r = loop_timer_new(platform_loop(u->g->platform), on_timer, u, &u->timer);
	if (r == 0)
		r = intake_attach(u->g->intakes, &start, &intake_callbacks, u, &u->intake, e);
	return r;
}

void upload_handle(struct http_request *r, void *arg)
{
	struct ingest *g = arg;
	struct session_token token;
	const char *code = "token-invalid";
	const char *bearer = http_request_bearer(r);
	struct error e = {0};
	if (!bearer || admission_check(g, bearer, &token, &code, &e) < 0) {
		(void)http_response_header(r, "WWW-Authenticate", "Bearer");
		(void)http_respond_problem(r, 401, code, "%s", bearer ? e.text : "a session token is needed");
		return;
	}
	int64_t length = http_request_content_length(r);
	if (length > 0 && (uint64_t)length > token.max_bytes) {
		(void)http_respond_problem(r, 413, "too-large", "a recording has at most %llu bytes",
					   (unsigned long long)token.max_bytes);
		return;
	}
	struct upload *u = calloc(1, sizeof(*u));
	if (!u) {
		(void)http_respond_problem(r, 503, "unavailable", "no memory");
		return;
	}
	u->g = g;
	u->r = http_request_ref(r);
	http_request_set_callbacks(r, &request_callbacks, u);
	http_request_pause(r);
	int rc = begin(u, &token, &e);
	if (rc == ERR_REJECT) {
		answer_problem(u, 400, "bad-request", e.text);
	} else if (rc < 0) {
		bool retry = true;
		const char *why = admission_code(rc, &retry);
		answer_problem(u, status_of(why, retry), why, e.text);
	}
}
