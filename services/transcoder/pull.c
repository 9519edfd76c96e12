#include "pull.h"

#include "base/clock.h"

#include <string.h>

/* Ends a pull that stands still well before a drain's patience does. */
#define PULL_STALL_MS 15000
/* An open segment may have nothing new for a while: a peer that died without a word is found out by asking again. */
#define FOLLOW_STALL_MS 60000
/* Nothing came for so long: the database may know that nothing will. */
#define FOLLOW_DOUBT_MS 3000

struct pull {
	const struct job *job;
	uint32_t segment;
	struct sealed_decoder *decoder;
	struct sha256 *sha256;
	uint32_t crc32;
	bool is_whole;
	pull_sink *sink;
	pull_doubt *doubt;
	void *sink_arg;
	int64_t news_us; /* when bytes came last, or it was last doubted */
};

static int on_opened(void *arg, const uint8_t *data, size_t n, struct error *e)
{
	struct pull *p = arg;
	sha256_update(p->sha256, data, n);
	p->crc32 = crc32_update(p->crc32, data, n);
	return p->sink(p->sink_arg, data, n, e);
}

int pull_new(const struct job *j, uint32_t segment, const uint8_t key[SEALED_KEY_BYTES], pull_sink *sink,
	     pull_doubt *doubt, void *arg, struct pull **ret, struct error *e)
{
	const struct sealed_header expected = {.kind = SEALED_RAW_SEGMENT,
					       .account = j->account,
					       .recording = j->recording,
					       .segment = segment};
	_cleanup_(pull_freep) struct pull *p = calloc(1, sizeof(*p));
	if (!p)
		return error_nomem(e);
	p->job = j;
	p->segment = segment;
	p->sink = sink;
	p->doubt = doubt;
	p->sink_arg = arg;
	int r = sealed_decoder_new(key, &expected, on_opened, p, &p->decoder, e);
	if (r == 0)
		r = sha256_new(&p->sha256, e);
	if (r == 0)
		*ret = TAKE_PTR(p);
	return r;
}

void pull_free(struct pull *p)
{
	if (!p)
		return;
	sealed_decoder_free(p->decoder);
	sha256_free(p->sha256);
	free(p);
}

uint32_t pull_segment(const struct pull *p)
{
	return p->segment;
}

static int on_body(void *arg, const void *data, size_t n, struct error *e)
{
	struct pull *p = arg;
	p->news_us = clock_monotonic_us();
	return sealed_decoder_feed(p->decoder, data, n, e);
}

static bool is_over(void *arg)
{
	struct pull *p = arg;
	int64_t now = clock_monotonic_us();
	if (now - p->news_us < (int64_t)FOLLOW_DOUBT_MS * 1000)
		return false;
	p->news_us = now;
	return p->doubt(p->sink_arg);
}

static int perform(struct http_client *http, struct pull *p, const struct raw_segment *s, struct error *e)
{
	struct job_params params;
	char from[24];
	job_params(p->job, &params);
	uint64_t offset = sealed_decoder_rewind(p->decoder);
	(void)snprintf(from, sizeof(from), "%llu", (unsigned long long)offset);
	const struct http_client_header headers[] = {{"Rushes-Job", params.id},
						     {"Rushes-Attempt", params.attempt},
						     {"Rushes-Follow", from}};
	bool follows = s->is_open || offset > 0;
	const struct http_client_request rq = {
	    .url = s->url,
	    .headers = headers,
	    .n_headers = follows ? ARRAY_SIZE(headers) : ARRAY_SIZE(headers) - 1,
	    .trace = &p->job->trace,
	    .sink = on_body,
	    .arg = p,
	    .answer_bytes_max = s->is_open ? 0 : sealed_file_size(s->bytes),
	    .stall_ms = s->is_open ? FOLLOW_STALL_MS : PULL_STALL_MS,
	    .cancelled = &p->job->is_stopping,
	    .is_over = s->is_open ? is_over : NULL,
	};
	p->news_us = clock_monotonic_us();
	struct http_client_answer answer = {0};
	int r = http_client_perform(http, &rq, &answer, e);
	http_client_answer_done(&answer);
	/* whatever a peer answers proves nothing about the recording: only the owner's row would */
	if (r == ERR_NOTFOUND || r == ERR_DENIED || r == ERR_REJECT)
		r = ERR_RETRY;
	if (r == ERR_CANCELLED && job_stop(p->job) == JOB_GO_ON)
		r = ERR_RETRY;
	if (r < 0 && e)
		e->code = r;
	return r;
}

int pull_run(struct pull *p, struct http_client *http, const struct raw_segment *s, struct error *e)
{
	if (p->is_whole)
		return 0;
	int r = perform(http, p, s, e);
	if (r == 0)
		r = sealed_decoder_finish(p->decoder, e);
	p->is_whole = r == 0;
	if (r < 0)
		(void)error_wrap(e, "segment %u from %s", s->number, s->url);
	return r;
}

int pull_check(const struct pull *p, const struct raw_segment *s, struct error *e)
{
	uint8_t digest[SHA256_BYTES];
	sha256_peek(p->sha256, digest);
	if (sealed_decoder_size(p->decoder) != s->bytes)
		return error_set(e, ERR_CORRUPT, "segment %u has %lu bytes, its row says %lu", s->number,
				 (unsigned long)sealed_decoder_size(p->decoder), (unsigned long)s->bytes);
	if (memcmp(digest, s->sha256, sizeof(digest)) != 0 || p->crc32 != s->crc32)
		return error_set(e, ERR_CORRUPT, "segment %u is not what its row's digests say", s->number);
	return 0;
}
