#include "upload.h"

#include "admission.h"
#include "answer.h"
#include "digest_field.h"
#include "inflow.h"
#include "message.h"
#include "multipart.h"

#include <string.h>
#include <strings.h>

/* What a form may have before its file: a token and some names. */
#define FORM_HEAD_BYTES 65536

/* Content-Digest and Repr-Digest, each by each algorithm. */
#define DIGESTS_MAX (2 * DIGEST_FIELD_MAX)

/* A digest that the client gave. In a form that of the representation may be meant for the form or for its file. */
struct digest {
	struct checksum *body;
	struct checksum *file; /* NULL: only the body's counts */
};

/* A body that is being received. Freed at the request's end. */
struct upload {
	struct ingest *g;
	struct http_request *r;
	struct inflow flow;
	struct multipart *multipart; /* NULL: the body is the file */
	bool has_token;
	struct session_token token;
	struct uuid take;
	bool is_repeatable; /* the client named its take */
	bool is_begun;	    /* the file is */
	bool is_answered;
	uint64_t head_bytes; /* of a form, before its file */
	char *file_name;
	struct digest digests[DIGESTS_MAX];
	unsigned n_digests;
	struct intake_total total;
};

static void fail(struct upload *u, const char *code, bool retry, const char *text)
{
	if (u->is_answered)
		return;
	u->is_answered = true;
	answer_problem(u->r, code, retry, text);
}

/* A body cannot go on where it broke off: what came of it goes, unless its take may be sent again. */
static void give_up(struct upload *u, bool is_refused)
{
	struct intake *i = TAKE_PTR(u->flow.intake);
	if (!i)
		return;
	bool is_done = intake_state(i) == INTAKE_SAVING || intake_state(i) == INTAKE_SAVED;
	intake_hold(i);
	if (!is_done && (is_refused || !u->is_repeatable))
		intake_abort(i);
	intake_detach(i, true);
	intake_let_go(i);
}

/* All bytes are there: they are checked, made durable and released. */
static void finish(struct upload *u)
{
	struct intake *i = u->flow.intake;
	u->total.has_bytes = true;
	u->total.bytes = u->flow.offset;
	intake_hold(i);
	intake_stop(i, &u->total);
	intake_send(i);
	intake_let_go(i);
}

static void on_open(void *arg, const struct uuid *recording, uint64_t offset, bool send_on_stop)
{
	struct upload *u = arg;
	struct error e = {0};
	(void)recording;
	(void)offset;
	(void)send_on_stop;
	/* a repeated one begins at its beginning too: what is there already is passed over */
	if (intake_state(u->flow.intake) == INTAKE_RECEIVING && inflow_open(&u->flow, 0, &e) < 0) {
		fail(u, "bad-request", false, e.text);
		give_up(u, false);
	}
}

static void on_room(void *arg)
{
	struct upload *u = arg;
	inflow_room(&u->flow);
}

static void on_saved(void *arg, bool is_copied)
{
	struct upload *u = arg;
	(void)is_copied;
	if (u->is_answered)
		return;
	struct uuid id = intake_recording(u->flow.intake);
	char text[UUID_TEXT_BYTES];
	uuid_format(&id, text);
	json_t *body = json_pack("{s:s, s:I, s:s}", "recording", text, "bytes",
				 (json_int_t)intake_received(u->flow.intake), "state", "saved");
	u->is_answered = true;
	(void)http_response_header(u->r, "Cache-Control", "no-store");
	(void)http_respond_json(u->r, 201, body);
	json_decref(body);
}

static void on_discarded(void *arg)
{
	struct upload *u = arg;
	u->flow.intake = NULL;
	fail(u, "empty", false, "the body holds no bytes of a recording");
}

static void on_failed(void *arg, const struct intake_failure *why)
{
	struct upload *u = arg;
	u->flow.intake = NULL;
	fail(u, why->code, why->retry, why->message);
}

static const struct intake_callbacks intake_callbacks = {
    .on_open = on_open,
    .on_ack = NULL,
    .on_room = on_room,
    .on_saved = on_saved,
    .on_discarded = on_discarded,
    .on_failed = on_failed,
};

/* The file begins: its recording is opened. False when that was answered with a refusal. */
static bool begin(struct upload *u, const char *file_name, const char *type)
{
	struct intake_start start;
	struct error e = {0};
	bool retry = true;
	int64_t length = http_request_content_length(u->r);
	/* what programs send that do not know the type */
	if (type && (!*type || strncasecmp(type, "application/x-www-form-urlencoded", 33) == 0))
		type = NULL;
	u->is_begun = true;
	http_request_pause(u->r);
	admission_start(&u->token, u->r, &start);
	start.is_upload = start.is_single = true;
	start.is_repeatable = u->is_repeatable;
	start.has_declared = length > 0;
	start.declared_bytes = start.has_declared ? (uint64_t)length : 0;
	start.mime = type;
	start.file_name = u->file_name ? u->file_name : file_name;
	int r = message_recording(&u->token.session, &u->take, &start.recording, &e);
	if (r == 0)
		r = intake_attach(u->g->intakes, &start, &intake_callbacks, u, &u->flow.intake, &e);
	if (r < 0) {
		const char *code = admission_code(r, &retry);
		fail(u, code, retry, e.text);
	}
	return r == 0;
}

/* Bytes of the file, out of the body. */
static int take(void *arg, const void *data, size_t n, struct error *e)
{
	struct upload *u = arg;
	uint64_t max = u->flow.intake && u->flow.is_open ? intake_max_bytes(u->flow.intake) : u->token.max_bytes;
	if (u->flow.offset + u->flow.waiting.bytes + n > max) {
		fail(u, "too-large", false, "the recording is larger than the session allows");
		return error_set(e, ERR_REJECT, "too large");
	}
	for (unsigned d = 0; d < u->n_digests; d++)
		if (u->digests[d].file)
			checksum_update(u->digests[d].file, data, n);
	return inflow_give(&u->flow, data, n, e);
}

static bool admit(struct upload *u, const char *token)
{
	const char *code = "token-invalid";
	struct error e = {0};
	u->has_token = token && admission_check(u->g, token, &u->token, &code, &e) == 0;
	if (!u->has_token)
		fail(u, code, false, token ? e.text : "a session token is needed");
	return u->has_token;
}

static bool set_take(struct upload *u, const char *text)
{
	u->is_repeatable = text != NULL;
	if (!text || uuid_parse(text, &u->take))
		return true;
	fail(u, "bad-request", false, "the take is no UUID");
	return false;
}

/* A field of a form. Those behind the file come too late. */
static int on_field(void *arg, const char *name, const char *value, struct error *e)
{
	struct upload *u = arg;
	bool ok = true;
	if (u->is_begun)
		return 0;
	if (strcmp(name, "token") == 0 && !u->has_token) {
		ok = admit(u, value);
	} else if (strcmp(name, "take") == 0) {
		ok = set_take(u, value);
	} else if (strcmp(name, "file_name") == 0 && *value) {
		free(u->file_name);
		u->file_name = strdup(value);
	}
	return ok ? 0 : error_set(e, ERR_CANCELLED, "the form was refused");
}

static int on_file(void *arg, const struct multipart_file *file, struct error *e)
{
	struct upload *u = arg;
	bool ok = (u->has_token || admit(u, NULL)) && begin(u, file->name[0] ? file->name : NULL, file->type);
	return ok ? 0 : error_set(e, ERR_CANCELLED, "the form was refused");
}

static const struct multipart_callbacks multipart_callbacks = {.on_field = on_field,
							       .on_file = on_file,
							       .on_bytes = take};

static void on_body(struct http_request *r, const void *data, size_t n, void *arg)
{
	(void)r;
	struct upload *u = arg;
	struct error e = {0};
	if (u->is_answered)
		return;
	for (unsigned d = 0; d < u->n_digests; d++)
		checksum_update(u->digests[d].body, data, n);
	u->head_bytes += u->is_begun ? 0 : n;
	int rc = u->multipart ? multipart_feed(u->multipart, data, n, &e) : take(u, data, n, &e);
	if (rc == 0 && !u->is_begun && u->head_bytes > FORM_HEAD_BYTES)
		rc = error_set(&e, ERR_REJECT, "a form has at most %d bytes before its file", FORM_HEAD_BYTES);
	if (rc < 0) {
		fail(u, rc == ERR_REJECT ? "bad-request" : "unavailable", rc != ERR_REJECT, e.text);
		give_up(u, rc == ERR_REJECT);
	}
}

static bool digests_match(struct upload *u)
{
	bool all = true;
	for (unsigned d = 0; d < u->n_digests; d++) {
		bool is_body = checksum_matches(u->digests[d].body);
		bool is_file = u->digests[d].file && checksum_matches(u->digests[d].file);
		all = all && (is_body || is_file);
	}
	return all;
}

static void on_body_end(struct http_request *r, void *arg)
{
	(void)r;
	struct upload *u = arg;
	struct error e = {0};
	if (u->is_answered)
		return;
	const char *code = NULL;
	if (u->multipart && multipart_finish(u->multipart, &e) < 0)
		code = "bad-request";
	else if (!digests_match(u))
		code = "total-mismatch";
	if (code) {
		fail(u, code, false, e.text[0] ? e.text : "the bytes are not those of the digest");
		give_up(u, true);
		return;
	}
	if (u->flow.intake)
		finish(u);
}

static void on_end(struct http_request *r, bool complete, void *arg)
{
	(void)complete;
	struct upload *u = arg;
	give_up(u, false);
	inflow_done(&u->flow);
	multipart_free(u->multipart);
	for (unsigned d = 0; d < u->n_digests; d++) {
		checksum_free(u->digests[d].body);
		checksum_free(u->digests[d].file);
	}
	free(u->file_name);
	http_request_unref(r);
	free(u);
}

static const struct http_request_callbacks request_callbacks = {.on_body = on_body,
								.on_body_end = on_body_end,
								.on_end = on_end};

static int add_digests(struct upload *u, const char *header, bool may_be_file, struct error *e)
{
	struct checksum_value values[DIGEST_FIELD_MAX];
	unsigned n = 0;
	const char *text = http_request_header(u->r, header);
	int r = text ? digest_field_read(text, values, &n, e) : 0;
	for (unsigned v = 0; r == 0 && v < n; v++) {
		struct digest *d = &u->digests[u->n_digests++];
		r = checksum_new(&values[v], &d->body, e);
		if (r == 0 && may_be_file)
			r = checksum_new(&values[v], &d->file, e);
		/* of a plain body: the transcoder compares what it copied with it too */
		if (!u->multipart && values[v].kind == CHECKSUM_SHA256) {
			memcpy(u->total.sha256, values[v].bytes, sizeof(u->total.sha256));
			u->total.has_sha256 = true;
		}
	}
	return r;
}

/* The name in `Content-Disposition: attachment; filename="..."`, or behind the path of a PUT. */
static const char *name_of(const struct http_request *r, char *room, size_t size)
{
	const char *disposition = http_request_header(r, "content-disposition");
	if (disposition && multipart_parameter(disposition, "filename", room, size))
		return room;
	return http_request_parameter(r, "name");
}

static int read_head(struct upload *u, struct error *e)
{
	const char *type = http_request_header(u->r, "content-type");
	const char *coding = http_request_header(u->r, "content-encoding");
	if (coding && strcasecmp(coding, "identity") != 0)
		return error_set(e, ERR_REJECT, "a recording is sent without a content coding");
	int r = multipart_is(type) ? multipart_new(type, &multipart_callbacks, u, &u->multipart, e) : 0;
	if (r == 0)
		r = add_digests(u, "content-digest", false, e);
	return r == 0 ? add_digests(u, "repr-digest", u->multipart != NULL, e) : r;
}

static void receive(struct upload *u)
{
	char room[MULTIPART_NAME_CHARS];
	struct error e = {0};
	const char *bearer = http_request_bearer(u->r);
	int64_t length = http_request_content_length(u->r);
	int r = read_head(u, &e);
	if (r < 0) {
		fail(u, r == ERR_REJECT ? "bad-request" : "internal", r != ERR_REJECT, e.text);
		return;
	}
	/* a form of a page without scripts brings its token as a field */
	if ((bearer || !u->multipart) && !admit(u, bearer))
		return;
	u->take = uuid_v4();
	uint64_t max = u->token.max_bytes + (u->multipart ? FORM_HEAD_BYTES : 0);
	if (u->has_token && length > 0 && (uint64_t)length > max) {
		fail(u, "too-large", false, "the recording is larger than the session allows");
		return;
	}
	if (!set_take(u, http_request_header(u->r, "rushes-take")))
		return;
	if (u->multipart)
		http_request_resume(u->r);
	else
		(void)begin(u, name_of(u->r, room, sizeof(room)), http_request_header(u->r, "content-type"));
}

void upload_handle(struct http_request *r, void *arg)
{
	struct error e = {0};
	struct upload *u = calloc(1, sizeof(*u));
	if (!u || inflow_init(&u->flow, arg, r, &e) < 0) {
		free(u);
		answer_problem(r, "unavailable", true, "no memory");
		return;
	}
	u->g = arg;
	u->r = http_request_ref(r);
	http_request_set_callbacks(r, &request_callbacks, u);
	receive(u);
}

void upload_options_handle(struct http_request *r, void *arg)
{
	(void)arg;
	answer_preflight(r, http_request_parameter(r, "name") ? "OPTIONS, PUT" : "OPTIONS, POST, PUT");
}
