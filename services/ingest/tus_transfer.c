/* Creation, offset and bytes of uploads: requests that attach to an intake. */
#include "admission.h"
#include "answer.h"
#include "base/clock.h"
#include "inflow.h"
#include "tus_field.h"
#include "tus_internal.h"

#include <string.h>
#include <strings.h>
#include <time.h>

#define BODY_TYPE "application/offset+octet-stream"

/* Room for an upload that nobody brings bytes for is kept so long. */
#define KEEP_ROOM_MS ((int64_t)5 * 60 * 1000)

/* A body of so many bytes ends its segment, which makes it durable at once. Shorter ones share a segment and wait for
 * the journal, so that an upload in small pieces does not run out of segments. */
#define PAUSE_BYTES MIB

/* One request. Freed at its end. */
struct transfer {
	struct tus_request q;
	struct inflow flow;
	struct checksum *checksum; /* of the body; NULL: none given */
	uint64_t offset;	   /* PATCH: where the client goes on */
	bool has_length;	   /* given by this request */
	uint64_t length;
	bool has_body;
	bool is_ready;	   /* all that came before is durable, this request was found right */
	bool is_whole;	   /* its body has come */
	bool is_finishing; /* the last byte is there: the take is being released */
	bool is_answered;
	uint64_t begun; /* offset where its bytes begin */
	uint64_t limit; /* offset that they may reach */
};

static void fail(struct transfer *t, const char *code, bool retry, const char *text)
{
	if (t->is_answered)
		return;
	t->is_answered = true;
	answer_problem(t->q.r, code, retry, text);
}

/* The connection brings nothing more; what is durable stays for the next one. */
static void let_go(struct transfer *t)
{
	struct intake *i = TAKE_PTR(t->flow.intake);
	if (i)
		intake_detach(i, false);
}

/* Nothing of it is wanted. */
static void abandon(struct transfer *t)
{
	struct intake *i = TAKE_PTR(t->flow.intake);
	intake_hold(i);
	intake_abort(i);
	intake_detach(i, true);
	intake_let_go(i);
}

static void refuse(struct transfer *t, const char *code, const char *text)
{
	fail(t, code, false, text);
	let_go(t);
}

static void put_number(struct http_request *r, const char *name, uint64_t value)
{
	char text[24];
	(void)snprintf(text, sizeof(text), "%llu", (unsigned long long)value);
	(void)http_response_header(r, name, text);
}

/* RFC 9110 section 5.6.7. */
static void put_expiry(struct http_request *r, int64_t window_ms)
{
	char text[40];
	struct tm tm;
	time_t at = (time_t)((clock_wall_us() / 1000 + window_ms) / 1000);
	(void)gmtime_r(&at, &tm);
	(void)strftime(text, sizeof(text), "%a, %d %b %Y %H:%M:%S GMT", &tm);
	(void)http_response_header(r, "Upload-Expires", text);
}

static void put_location(struct transfer *t)
{
	char id[UUID_TEXT_BYTES], location[UUID_TEXT_BYTES + 16];
	uuid_format(&t->q.recording, id);
	(void)snprintf(location, sizeof(location), "/v1/tus/%s", id);
	(void)http_response_header(t->q.r, "Location", location);
}

/* Everything up to here is durable: the request has done what it asked. */
static void succeed(struct transfer *t, bool is_complete)
{
	if (t->is_answered)
		return;
	t->is_answered = true;
	struct http_request *r = t->q.r;
	const struct intake_upload *u = intake_upload(t->flow.intake);
	int status = t->q.action == TUS_CREATE ? 201 : t->q.action == TUS_HEAD ? 200 : 204;
	(void)http_response_header(r, "Cache-Control", "no-store");
	if (t->q.action != TUS_CREATE || t->has_body)
		put_number(r, "Upload-Offset", intake_durable(t->flow.intake));
	if (t->q.action == TUS_CREATE)
		put_location(t);
	if (t->q.action == TUS_HEAD && u->has_length)
		put_number(r, "Upload-Length", u->length);
	else if (t->q.action == TUS_HEAD)
		(void)http_response_header(r, "Upload-Defer-Length", "1");
	if (t->q.action == TUS_HEAD && u->metadata)
		(void)http_response_header(r, "Upload-Metadata", u->metadata);
	if (!is_complete)
		put_expiry(r, u->window_ms);
	(void)http_respond(r, status, NULL, NULL, 0);
}

static bool is_complete(const struct intake *i)
{
	const struct intake_upload *u = intake_upload(i);
	return u->has_length && intake_received(i) == u->length;
}

/* All bytes are there: they are made durable and released. */
static void finish(struct transfer *t)
{
	struct intake *i = t->flow.intake;
	const struct intake_total total = {.has_bytes = true, .bytes = intake_received(i)};
	t->is_finishing = true;
	intake_hold(i);
	intake_stop(i, &total);
	intake_send(i);
	intake_let_go(i);
}

/* The length that a PATCH brings, against what is known; false when it was refused. */
static bool take_length(struct transfer *t)
{
	struct intake *i = t->flow.intake;
	const struct intake_upload *u = intake_upload(i);
	uint64_t max = intake_max_bytes(i);
	if (t->has_length && u->has_length && t->length != u->length) {
		refuse(t, "length-changed", "the upload has another length");
		return false;
	}
	if (t->has_length && !u->has_length) {
		if (t->length > max || t->length < intake_durable(i)) {
			refuse(t, t->length > max ? "too-large" : "bad-request", "Upload-Length is out of bounds");
			return false;
		}
		if (t->length == 0) {
			intake_abort(i);
			return false;
		}
		intake_set_length(i, t->length);
	}
	t->limit = MAX(u->has_length ? u->length : max, intake_durable(i));
	return true;
}

/* What was received before is durable: what does this request want? */
static void begin(struct transfer *t)
{
	struct intake *i = t->flow.intake;
	struct error e = {0};
	uint64_t at = intake_durable(i);
	int64_t n = http_request_content_length(t->q.r);
	t->is_ready = true;
	t->begun = at;
	if (t->q.action == TUS_PATCH && t->offset != at) {
		refuse(t, "offset-mismatch", "Upload-Offset is not where the upload ends");
		return;
	}
	if (t->q.action != TUS_HEAD && !take_length(t))
		return;
	if (t->has_body && n > 0 && (uint64_t)n > t->limit - at) {
		refuse(t, "too-large", "the body reaches behind the end of the upload");
		return;
	}
	if (!t->has_body && is_complete(i)) {
		finish(t);
	} else if (!t->has_body) {
		succeed(t, false);
	} else if (inflow_open(&t->flow, at, &e) < 0) {
		refuse(t, "bad-request", e.text);
	}
}

static void proceed(struct transfer *t)
{
	const struct intake *i = t->flow.intake;
	if (intake_state(i) != INTAKE_RECEIVING || intake_durable(i) < intake_received(i))
		return;
	if (!t->is_ready)
		begin(t);
	else if (t->is_whole)
		succeed(t, false);
}

static void on_open(void *arg, const struct uuid *recording, uint64_t offset, bool send_on_stop)
{
	(void)recording;
	(void)offset;
	(void)send_on_stop;
	proceed(arg);
}

static void on_ack(void *arg, uint64_t offset)
{
	(void)offset;
	proceed(arg);
}

static void on_room(void *arg)
{
	struct transfer *t = arg;
	inflow_room(&t->flow);
}

/* The upload is complete; by this request, or it was before. */
static void on_saved(void *arg, bool is_copied)
{
	(void)is_copied;
	struct transfer *t = arg;
	bool is_idle = t->q.action == TUS_HEAD || t->is_finishing;
	if (!is_idle && t->offset != intake_durable(t->flow.intake))
		fail(t, "offset-mismatch", false, "Upload-Offset is not where the upload ends");
	else if (!is_idle && t->has_body)
		fail(t, "too-large", false, "the upload is complete");
	else if (!is_idle && t->has_length && t->length != intake_upload(t->flow.intake)->length)
		fail(t, "length-changed", false, "the upload has another length");
	else
		succeed(t, true);
}

static void on_discarded(void *arg)
{
	struct transfer *t = arg;
	t->flow.intake = NULL;
	fail(t, "empty", false, "a recording has at least one byte");
}

static void on_failed(void *arg, const struct intake_failure *why)
{
	struct transfer *t = arg;
	t->flow.intake = NULL;
	fail(t, why->code, why->retry, why->message);
}

static const struct intake_callbacks intake_callbacks = {
    .on_open = on_open,
    .on_ack = on_ack,
    .on_room = on_room,
    .on_saved = on_saved,
    .on_discarded = on_discarded,
    .on_failed = on_failed,
};

static void on_body(struct http_request *r, const void *data, size_t n, void *arg)
{
	(void)r;
	struct transfer *t = arg;
	struct error e = {0};
	if (t->is_answered || !t->flow.intake)
		return;
	if (n > t->limit - t->flow.offset) {
		refuse(t, "too-large", "the body reaches behind the end of the upload");
		return;
	}
	if (t->checksum)
		checksum_update(t->checksum, data, n);
	int rc = inflow_give(&t->flow, data, n, &e);
	if (rc < 0) {
		fail(t, rc == ERR_REJECT ? "bad-request" : "unavailable", rc != ERR_REJECT, e.text);
		let_go(t);
	}
}

static void on_body_end(struct http_request *r, void *arg)
{
	(void)r;
	struct transfer *t = arg;
	struct intake *i = t->flow.intake;
	if (t->is_answered || !i || !t->has_body)
		return;
	t->is_whole = true;
	if (t->checksum && !checksum_matches(t->checksum)) {
		fail(t, "checksum-mismatch", true, "the bytes fail their checksum: nothing of them was taken");
		/* an upload that was to begin with them is not begun */
		if (t->q.action == TUS_CREATE)
			abandon(t);
		let_go(t);
		return;
	}
	intake_hold(i);
	if (t->checksum)
		intake_accept(i);
	if (is_complete(i))
		finish(t);
	else if (t->flow.offset - t->begun < PAUSE_BYTES)
		intake_sync(i);
	else
		intake_pause(i);
	intake_let_go(i);
	if (t->flow.intake)
		proceed(t);
}

static void on_end(struct http_request *r, bool complete, void *arg)
{
	(void)complete;
	struct transfer *t = arg;
	struct intake *i = t->flow.intake;
	/* the last byte came and its sender went: nobody has to come back for the rest */
	if (i && t->is_ready && !t->checksum && intake_state(i) == INTAKE_RECEIVING && is_complete(i))
		finish(t);
	let_go(t);
	inflow_done(&t->flow);
	checksum_free(t->checksum);
	http_request_unref(r);
	free(t);
}

static const struct http_request_callbacks request_callbacks = {.on_body = on_body,
								.on_body_end = on_body_end,
								.on_end = on_end};

/* A creation tells its length, or that it will be told; a PATCH may tell one that was left open. */
static const char *read_length(struct transfer *t, struct error *e)
{
	const char *length = http_request_header(t->q.r, "upload-length");
	const char *deferred = http_request_header(t->q.r, "upload-defer-length");
	bool is_new = t->q.action == TUS_CREATE;
	/* parts of an upload would each become a recording */
	(void)error_set(e, ERR_REJECT, "concatenation is not offered");
	if (http_request_header(t->q.r, "upload-concat"))
		return "bad-request";
	(void)error_set(e, ERR_REJECT, "a creation has either Upload-Length or Upload-Defer-Length: 1");
	if (deferred && (!is_new || length || strcmp(deferred, "1") != 0))
		return "bad-request";
	if (!length)
		return is_new && !deferred ? "bad-request" : NULL;
	if (!tus_number_read(length, &t->length))
		return "bad-request";
	t->has_length = true;
	(void)error_set(e, ERR_REJECT, "a recording has at least one byte");
	if (t->length == 0 && is_new)
		return "empty";
	(void)error_set(e, ERR_REJECT, "a recording has at most %llu bytes", (unsigned long long)t->q.token.max_bytes);
	return t->length > t->q.token.max_bytes ? "too-large" : NULL;
}

static const char *read_checksum(struct transfer *t, struct error *e)
{
	struct checksum_value value;
	const char *text = http_request_header(t->q.r, "upload-checksum");
	const char *trailer = http_request_header(t->q.r, "trailer");
	if (trailer && strcasestr(trailer, "upload-checksum")) {
		(void)error_set(e, ERR_REJECT, "Upload-Checksum is read as a header only");
		return "bad-request";
	}
	if (!text)
		return NULL;
	int r = tus_checksum_read(text, &value, e);
	if (r == 0)
		r = checksum_new(&value, &t->checksum, e);
	return r == 0 ? NULL : r == ERR_NOTFOUND ? "checksum-unknown" : r == ERR_REJECT ? "bad-request" : "internal";
}

/* The head of the request. NULL, or the code with which it is refused. */
static const char *read_head(struct transfer *t, struct error *e)
{
	struct http_request *r = t->q.r;
	const char *type = http_request_header(r, "content-type");
	const char *coding = http_request_header(r, "content-encoding");
	const char *offset = http_request_header(r, "upload-offset");
	if (t->q.action == TUS_HEAD)
		return NULL;
	t->has_body = http_request_content_length(r) != 0;
	if ((t->has_body || t->q.action == TUS_PATCH) &&
	    (!type || strcasecmp(type, BODY_TYPE) != 0 || (coding && strcasecmp(coding, "identity") != 0))) {
		(void)error_set(e, ERR_REJECT, "bytes come as " BODY_TYPE ", without a content coding");
		return "unsupported-type";
	}
	if (t->q.action == TUS_PATCH && (!offset || !tus_number_read(offset, &t->offset))) {
		(void)error_set(e, ERR_REJECT, "Upload-Offset is missing or no number");
		return "bad-request";
	}
	const char *code = read_length(t, e);
	return code || !t->has_body ? code : read_checksum(t, e);
}

static const char *attach(struct transfer *t, bool *ret_retry, struct error *e)
{
	struct intake_start start;
	struct intake_upload upload = {.has_length = t->has_length, .length = t->length};
	struct tus_metadata metadata = {0};
	const char *text = http_request_header(t->q.r, "upload-metadata");
	admission_start(&t->q.token, t->q.r, &start);
	start.recording = t->q.recording;
	start.is_upload = true;
	start.is_provisional = t->checksum != NULL;
	start.tus = INTAKE_TUS_KNOWN;
	start.keep_room_ms = KEEP_ROOM_MS;
	if (t->q.action == TUS_CREATE) {
		if (text && *text && tus_metadata_read(text, &metadata, e) < 0)
			return "bad-request";
		start.tus = INTAKE_TUS_NEW;
		start.upload = &upload;
		upload.metadata = text && *text ? (char *)text : NULL;
		start.has_declared = t->has_length;
		start.declared_bytes = t->length;
		start.file_name = metadata.file_name;
		start.mime = metadata.file_type;
	}
	int r = intake_attach(t->q.g->intakes, &start, &intake_callbacks, t, &t->flow.intake, e);
	tus_metadata_done(&metadata);
	return r == 0 ? NULL : admission_code(r, ret_retry);
}

void tus_transfer(const struct tus_request *q)
{
	struct error e = {0};
	bool retry = false;
	struct transfer *t = calloc(1, sizeof(*t));
	if (!t || inflow_init(&t->flow, q->g, q->r, &e) < 0) {
		free(t);
		answer_problem(q->r, "unavailable", true, "no memory");
		return;
	}
	t->q = *q;
	t->q.r = http_request_ref(q->r);
	http_request_set_callbacks(q->r, &request_callbacks, t);
	const char *code = read_head(t, &e);
	if (!code)
		code = attach(t, &retry, &e);
	if (code)
		fail(t, code, retry, e.text);
}
