#include "pull.h"

#include <string.h>

/* Ends a pull that stands still well before a drain's patience does. */
#define PULL_STALL_MS 15000

struct pull {
	const struct job *job;
	struct sealed_decoder *decoder;
	struct sha256 *sha256;
	uint32_t crc32;
	pull_sink *sink;
	void *sink_arg;
};

static int on_opened(void *arg, const uint8_t *data, size_t n, struct error *e)
{
	struct pull *p = arg;
	sha256_update(p->sha256, data, n);
	p->crc32 = crc32_update(p->crc32, data, n);
	return p->sink(p->sink_arg, data, n, e);
}

static int on_body(void *arg, const void *data, size_t n, struct error *e)
{
	struct pull *p = arg;
	if (job_stop(p->job) != JOB_GO_ON)
		return error_set(e, ERR_CANCELLED, "the copy is no longer wanted");
	return sealed_decoder_feed(p->decoder, data, n, e);
}

static int perform(struct http_client *http, struct pull *p, const struct raw_segment *s, struct error *e)
{
	struct job_params params;
	job_params(p->job, &params);
	const struct http_client_header headers[] = {{"Rushes-Job", params.id}, {"Rushes-Attempt", params.attempt}};
	const struct http_client_request rq = {
	    .url = s->url,
	    .headers = headers,
	    .n_headers = ARRAY_SIZE(headers),
	    .trace = &p->job->trace,
	    .sink = on_body,
	    .arg = p,
	    .answer_bytes_max = sealed_file_size(s->bytes),
	    .stall_ms = PULL_STALL_MS,
	};
	struct http_client_answer answer = {0};
	int r = http_client_perform(http, &rq, &answer, e);
	http_client_answer_done(&answer);
	/* whatever a peer answers proves nothing about the recording: only the owner's row would */
	if (r == ERR_NOTFOUND || r == ERR_DENIED || r == ERR_REJECT)
		r = ERR_RETRY;
	if (r < 0 && e)
		e->code = r;
	return r;
}

static int check(const struct pull *p, const struct raw_segment *s, struct error *e)
{
	uint8_t digest[SHA256_BYTES];
	sha256_finish(p->sha256, digest);
	if (sealed_decoder_size(p->decoder) != s->bytes)
		return error_set(e, ERR_CORRUPT, "segment %u has %lu bytes, its row says %lu", s->number,
				 (unsigned long)sealed_decoder_size(p->decoder), (unsigned long)s->bytes);
	if (memcmp(digest, s->sha256, sizeof(digest)) != 0 || p->crc32 != s->crc32)
		return error_set(e, ERR_CORRUPT, "segment %u is not what its row's digests say", s->number);
	return 0;
}

int pull_segment(struct http_client *http, const struct job *j, const struct raw_segment *s,
		 const uint8_t key[SEALED_KEY_BYTES], pull_sink *sink, void *arg, struct error *e)
{
	_cleanup_(sealed_decoder_freep) struct sealed_decoder *decoder = NULL;
	_cleanup_(sha256_freep) struct sha256 *sha256 = NULL;
	const struct sealed_header expected = {.kind = SEALED_RAW_SEGMENT,
					       .account = j->account,
					       .recording = j->recording,
					       .segment = s->number};
	struct pull p = {.job = j, .sink = sink, .sink_arg = arg};
	int r = sealed_decoder_new(key, &expected, on_opened, &p, &decoder, e);
	if (r == 0)
		r = sha256_new(&sha256, e);
	if (r < 0)
		return r;
	p.decoder = decoder;
	p.sha256 = sha256;
	r = perform(http, &p, s, e);
	if (r == 0)
		r = sealed_decoder_finish(decoder, e);
	if (r == 0)
		r = check(&p, s, e);
	if (r < 0)
		(void)error_wrap(e, "segment %u from %s", s->number, s->url);
	return r;
}
