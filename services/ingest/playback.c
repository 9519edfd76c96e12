#include "playback.h"

#include "admission.h"
#include "answer.h"
#include "playback_source.h"

#include <sodium.h>
#include <string.h>

/* At once, each with a reader of 350 KiB and one of these pieces. */
#define PLAYBACKS_MAX 32
#define PIECE_BYTES   ((size_t)128 * 1024)

#define ETAG_BYTES 64

/* One answer. On the loop, but for what a job does meanwhile. */
struct playback {
	struct ingest *g;
	struct http_request *r;
	struct playback_question question;
	struct playback_source *source;
	uint64_t offset, left;
	bool is_busy; /* a job is under way */
	bool is_over; /* the request has ended */
	/* the job's */
	uint8_t *piece;
	size_t piece_want, piece_n;
	int result;
	struct error error;
};

static void count(struct playback *p, const char *outcome)
{
	static const char *const labels[] = {"outcome", NULL};
	metric_count(metrics_counter(platform_metrics(p->g->platform), "rushes_ingest_playbacks_total",
				     "Requests of recorders to play their own take, by how they were answered.",
				     labels),
		     outcome);
}

static void playback_free(struct playback *p)
{
	p->g->playbacks--;
	playback_source_free(p->source);
	if (p->piece)
		sodium_memzero(p->piece, PIECE_BYTES);
	free(p->piece);
	http_request_unref(p->r);
	free(p);
}

static void read_piece(void *arg)
{
	struct playback *p = arg;
	p->result = playback_source_read(p->source, p->offset, p->piece, p->piece_want, &p->piece_n, &p->error);
}

static void give_piece(void *arg);

/* Reads the next piece when the answer has room for it. */
static void pump(struct playback *p)
{
	size_t room = http_response_room(p->r);
	if (p->is_busy || p->is_over || p->left == 0 || room == 0)
		return;
	p->piece_want = (size_t)MIN(MIN((uint64_t)room, p->left), PIECE_BYTES);
	/* a node that stops does not wait for players: they go on with a range */
	if (!p->g->is_draining && pool_submit(platform_pool(p->g->platform), read_piece, give_piece, p) == 0)
		p->is_busy = true;
	else
		http_response_abort(p->r);
}

static void give_piece(void *arg)
{
	struct playback *p = arg;
	p->is_busy = false;
	if (p->is_over) {
		playback_free(p);
		return;
	}
	if (p->result < 0 || http_response_write(p->r, p->piece, p->piece_n) < 0) {
		char recording[UUID_TEXT_BYTES];
		uuid_format(&p->question.recording, recording);
		struct log_context ctx = {.recording = recording};
		if (p->result < 0)
			log_error(&ctx, "a recorder's playback broke off: %s", p->error.text);
		http_response_abort(p->r);
		return;
	}
	p->offset += p->piece_n;
	p->left -= p->piece_n;
	if (p->left == 0)
		(void)http_response_end(p->r);
	else
		pump(p);
}

static void on_writable(struct http_request *r, void *arg)
{
	(void)r;
	pump(arg);
}

static void on_end(struct http_request *r, bool complete, void *arg)
{
	(void)r;
	(void)complete;
	struct playback *p = arg;
	p->is_over = true;
	if (!p->is_busy)
		playback_free(p);
}

/* Bytes that were once durable stay as they are: a growing recording is another representation at each size, of which
 * the former is the beginning. */
static void etag_of(const struct playback *p, char ret[ETAG_BYTES])
{
	char recording[UUID_TEXT_BYTES];
	uuid_format(&p->question.recording, recording);
	(void)snprintf(ret, ETAG_BYTES, "\"%s-%llu\"", recording, (unsigned long long)playback_source_size(p->source));
}

static void answer_bytes(struct playback *p)
{
	char etag[ETAG_BYTES], range[80];
	uint64_t size = playback_source_size(p->source);
	etag_of(p, etag);
	int status = http_request_range_of(p->r, etag, size, &p->offset, &p->left);
	(void)http_response_security_headers(p->r, NULL);
	(void)http_response_header(p->r, "Accept-Ranges", "bytes");
	if (status == 416) {
		(void)snprintf(range, sizeof(range), "bytes */%llu", (unsigned long long)size);
		(void)http_response_header(p->r, "Content-Range", range);
		p->left = 0;
		(void)http_respond_problem(p->r, 416, "range", "there are %llu bytes", (unsigned long long)size);
		return;
	}
	(void)http_response_header(p->r, "ETag", etag);
	if (status == 206) {
		(void)snprintf(range, sizeof(range), "bytes %llu-%llu/%llu", (unsigned long long)p->offset,
			       (unsigned long long)(p->offset + p->left - 1), (unsigned long long)size);
		(void)http_response_header(p->r, "Content-Range", range);
	}
	if (http_response_start(p->r, status, playback_source_mime(p->source), (int64_t)p->left) < 0)
		return;
	if (strcmp(http_request_method(p->r), "HEAD") == 0)
		p->left = 0;
	if (p->left == 0)
		(void)http_response_end(p->r);
}

static void answer_error(struct playback *p)
{
	switch (p->result) {
	case ERR_NOTFOUND:
		(void)http_respond_problem(p->r, 404, "unknown-recording", "%s", p->error.text);
		break;
	case ERR_CANCELLED:
		(void)http_respond_problem(p->r, 410, "gone", "%s", p->error.text);
		break;
	case ERR_DENIED:
		(void)http_respond_problem(p->r, 403, p->error.text, "the session may not play its recording");
		break;
	case ERR_CONFLICT:
		(void)http_respond_problem(p->r, 409, "elsewhere", "%s", p->error.text);
		break;
	default:
		answer_problem(p->r, "unavailable", true, "the recording cannot be read now");
	}
}

static void look_up(void *arg)
{
	struct playback *p = arg;
	p->result = playback_source_new(&p->g->host, &p->question, &p->source, &p->error);
}

static void looked_up(void *arg)
{
	struct playback *p = arg;
	p->is_busy = false;
	if (p->is_over) {
		playback_free(p);
		return;
	}
	count(p, p->result == 0 ? "played" : error_code_to_string(p->result));
	if (p->result == 0)
		answer_bytes(p);
	else
		answer_error(p);
}

static int begin(struct playback *p, const struct session_token *token)
{
	static const struct http_request_callbacks callbacks = {.on_writable = on_writable, .on_end = on_end};
	const struct intake *i = intakes_find(p->g->intakes, &p->question.recording);
	p->question.account = token->account;
	p->question.session = token->session;
	p->question.is_live = i != NULL;
	p->question.durable = i ? intake_durable(i) : 0;
	p->piece = malloc(PIECE_BYTES);
	if (!p->piece || pool_submit(platform_pool(p->g->platform), look_up, looked_up, p) < 0)
		return ERR_FULL;
	p->is_busy = true;
	http_request_set_callbacks(p->r, &callbacks, p);
	return 0;
}

void playback_handle(struct http_request *r, void *arg)
{
	struct ingest *g = arg;
	struct session_token token;
	struct uuid recording;
	const char *code = "token-invalid";
	const char *bearer = http_request_bearer(r);
	const char *id = http_request_parameter(r, "recording");
	struct error e = {0};
	if (!bearer || admission_check(g, bearer, &token, &code, &e) < 0) {
		answer_problem(r, code, false, bearer ? e.text : "a session token is needed");
		return;
	}
	if (!id || !uuid_parse(id, &recording)) {
		(void)http_respond_problem(r, 404, "unknown-recording", "this session has no such recording");
		return;
	}
	struct playback *p = g->playbacks < PLAYBACKS_MAX && !g->is_draining ? calloc(1, sizeof(*p)) : NULL;
	if (!p) {
		answer_problem(r, "unavailable", true, "too many recordings are being played");
		return;
	}
	*p = (struct playback){.g = g, .r = http_request_ref(r), .question = {.recording = recording}};
	g->playbacks++;
	if (begin(p, &token) < 0) {
		answer_problem(r, "unavailable", true, "too many requests wait");
		playback_free(p);
	}
}

void playback_preflight_handle(struct http_request *r, void *arg)
{
	(void)arg;
	answer_preflight(r, "GET, HEAD, OPTIONS");
}
