#include "sealed_source.h"

#include "base/buffer.h"

#include <curl/curl.h>
#include <sodium.h>
#include <string.h>
#include <time.h>

/* One range: a keep-alive request for each, against the memory of one delivery. */
#define RANGE_BYTES  (8 * MIB)
#define RANGE_TRIES  3
#define PAUSE_MS     300
#define CONNECT_MS   5000L
#define IDLE_BYTES   1024L
#define IDLE_SECONDS 30L
/* Fed to the decoder at once; gives at most this and one slot of opened bytes. */
#define FEED_BYTES	 ((size_t)64 * 1024)
#define OPENED_BYTES	 (FEED_BYTES + 2 * SEALED_SLOT_BYTES)
#define ERROR_BODY_BYTES 4096

struct sealed_source {
	struct sealed_source_options o;
	CURL *curl;
	struct curl_slist *headers;
	char *url;
	struct sealed_decoder *decoder;
	uint64_t sealed_size, fetched;
	struct buffer range; /* sealed bytes that were fetched */
	size_t fed;	     /* of them */
	uint8_t *opened;     /* OPENED_BYTES */
	size_t opened_n, given;
	bool is_finished;
	size_t wanted; /* of the running request */
};

static int on_opened(void *arg, const uint8_t *data, size_t n, struct error *e)
{
	struct sealed_source *s = arg;
	if (n > OPENED_BYTES - s->opened_n)
		return error_set(e, ERR_FATAL, "the decoder gave more than it was fed");
	memcpy(s->opened + s->opened_n, data, n);
	s->opened_n += n;
	return 0;
}

static size_t on_body(char *data, size_t one, size_t n, void *arg)
{
	struct sealed_source *s = arg;
	size_t length = one * n;
	long status = 0;
	(void)curl_easy_getinfo(s->curl, CURLINFO_RESPONSE_CODE, &status);
	size_t limit = status / 100 == 2 ? s->wanted : ERROR_BODY_BYTES;
	/* more than was asked for ends the transfer */
	if (length > limit - MIN(limit, s->range.size))
		return 0;
	return buffer_append(&s->range, data, length) < 0 ? 0 : length;
}

static int on_progress(void *arg, curl_off_t a _unused_, curl_off_t b _unused_, curl_off_t c _unused_,
		       curl_off_t d _unused_)
{
	struct sealed_source *s = arg;
	return s->o.stop && s->o.stop(s->o.stop_arg);
}

static int add_header(struct sealed_source *s, const char *name, const char *value, struct error *e)
{
	char line[256];
	(void)snprintf(line, sizeof(line), "%s: %s", name, value);
	struct curl_slist *longer = curl_slist_append(s->headers, line);
	if (!longer)
		return error_nomem(e);
	s->headers = longer;
	return 0;
}

static void set_options(struct sealed_source *s)
{
	CURL *h = s->curl;
	curl_easy_setopt(h, CURLOPT_URL, s->url);
	curl_easy_setopt(h, CURLOPT_HTTPHEADER, s->headers);
	curl_easy_setopt(h, CURLOPT_PROTOCOLS_STR, "https");
	curl_easy_setopt(h, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
	curl_easy_setopt(h, CURLOPT_PROXY, "");
	curl_easy_setopt(h, CURLOPT_NOPROXY, "*");
	curl_easy_setopt(h, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(h, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
	curl_easy_setopt(h, CURLOPT_SSLCERT, s->o.certificate);
	curl_easy_setopt(h, CURLOPT_SSLKEY, s->o.key);
	curl_easy_setopt(h, CURLOPT_CAINFO, s->o.ca);
	curl_easy_setopt(h, CURLOPT_CAPATH, NULL);
	curl_easy_setopt(h, CURLOPT_CONNECTTIMEOUT_MS, CONNECT_MS);
	curl_easy_setopt(h, CURLOPT_LOW_SPEED_LIMIT, IDLE_BYTES);
	curl_easy_setopt(h, CURLOPT_LOW_SPEED_TIME, IDLE_SECONDS);
	curl_easy_setopt(h, CURLOPT_WRITEFUNCTION, on_body);
	curl_easy_setopt(h, CURLOPT_WRITEDATA, s);
	curl_easy_setopt(h, CURLOPT_NOPROGRESS, 0L);
	curl_easy_setopt(h, CURLOPT_XFERINFOFUNCTION, on_progress);
	curl_easy_setopt(h, CURLOPT_XFERINFODATA, s);
}

static int prepare(struct sealed_source *s, struct error *e)
{
	char attempt[16];
	size_t n = strlen(s->o.peer_url);
	while (n > 0 && s->o.peer_url[n - 1] == '/')
		n--;
	if (asprintf(&s->url, "%.*s/spool/v1/copies/%s", (int)n, s->o.peer_url, s->o.copy) < 0) {
		s->url = NULL;
		return error_nomem(e);
	}
	(void)snprintf(attempt, sizeof(attempt), "%u", s->o.attempt);
	int r = add_header(s, "Rushes-Job", s->o.job, e);
	if (r == 0)
		r = add_header(s, "Rushes-Attempt", attempt, e);
	if (r == 0 && s->o.traceparent)
		r = add_header(s, "traceparent", s->o.traceparent, e);
	if (r < 0)
		return r;
	s->curl = curl_easy_init();
	if (!s->curl)
		return error_nomem(e);
	set_options(s);
	return sealed_decoder_new(s->o.data_key, s->o.expected, on_opened, s, &s->decoder, e);
}

int sealed_source_new(const struct sealed_source_options *o, struct sealed_source **ret, struct error *e)
{
	_cleanup_(sealed_source_freep) struct sealed_source *s = calloc(1, sizeof(*s));
	if (!s)
		return error_nomem(e);
	s->o = *o;
	s->sealed_size = sealed_file_size(o->size);
	buffer_init(&s->range, RANGE_BYTES);
	s->opened = malloc(OPENED_BYTES);
	if (!s->opened)
		return error_nomem(e);
	int r = prepare(s, e);
	if (r < 0)
		return r;
	*ret = TAKE_PTR(s);
	return 0;
}

void sealed_source_free(struct sealed_source *s)
{
	if (!s)
		return;
	if (s->opened)
		sodium_memzero(s->opened, OPENED_BYTES);
	free(s->opened);
	sealed_decoder_free(s->decoder);
	buffer_done(&s->range);
	if (s->curl)
		curl_easy_cleanup(s->curl);
	curl_slist_free_all(s->headers);
	free(s->url);
	free(s);
}

static int status_error(long status, struct error *e)
{
	if (status == 410)
		return error_set(e, ERR_CANCELLED, "the spool says that the recording is being deleted");
	if (status == 403)
		return error_set(e, ERR_CONFLICT, "the spool says that this attempt no longer holds the job");
	return error_set(e, ERR_RETRY, "the spool answers %ld", status);
}

/* One range request; *ret_again: another may work at once. */
static int fetch_once(struct sealed_source *s, bool *ret_again, struct error *e)
{
	char range[64];
	uint64_t n = MIN(RANGE_BYTES, s->sealed_size - s->fetched);
	(void)snprintf(range, sizeof(range), "%llu-%llu", (unsigned long long)s->fetched,
		       (unsigned long long)(s->fetched + n - 1));
	*ret_again = false;
	s->wanted = (size_t)n;
	buffer_clear(&s->range);
	s->fed = 0;
	curl_easy_setopt(s->curl, CURLOPT_RANGE, range);
	CURLcode code = curl_easy_perform(s->curl);
	long status = 0;
	(void)curl_easy_getinfo(s->curl, CURLINFO_RESPONSE_CODE, &status);
	if (code == CURLE_ABORTED_BY_CALLBACK)
		return error_set(e, ERR_CANCELLED, "the transfer is no longer wanted");
	if (status >= 300) {
		*ret_again = status >= 500;
		return status_error(status, e);
	}
	if (code != CURLE_OK) {
		*ret_again = true;
		return error_set(e, ERR_RETRY, "pulling from the spool: %s", curl_easy_strerror(code));
	}
	bool whole = status == 200 && s->fetched == 0 && n == s->sealed_size;
	if ((status != 206 && !whole) || s->range.size != n)
		return error_set(e, ERR_RETRY, "the spool answers %ld with %zu bytes where %llu were asked for", status,
				 s->range.size, (unsigned long long)n);
	s->fetched += n;
	return 0;
}

static int fetch(struct sealed_source *s, struct error *e)
{
	for (unsigned n = 1;; n++) {
		bool again = false;
		int r = fetch_once(s, &again, e);
		if (r == 0 || !again || n == RANGE_TRIES)
			return r;
		buffer_clear(&s->range);
		(void)nanosleep(&(struct timespec){.tv_nsec = PAUSE_MS * 1000000L}, NULL);
	}
}

/* Opens the next piece. Leaves opened_n 0 only at the end. */
static int open_more(struct sealed_source *s, struct error *e)
{
	int r = 0;
	s->given = s->opened_n = 0;
	while (r == 0 && s->opened_n == 0 && !s->is_finished) {
		size_t left = s->range.size - s->fed;
		if (left > 0) {
			size_t n = MIN(left, FEED_BYTES);
			r = sealed_decoder_feed(s->decoder, s->range.data + s->fed, n, e);
			s->fed += n;
		} else if (s->fetched < s->sealed_size) {
			r = fetch(s, e);
		} else {
			r = sealed_decoder_finish(s->decoder, e);
			s->is_finished = r == 0;
			if (r == 0 && sealed_decoder_size(s->decoder) != s->o.size)
				r = error_set(e, ERR_CORRUPT,
					      "the sealed file opens to another size than its row says");
		}
	}
	return r;
}

int sealed_source_read(void *source, void *buf, size_t n, size_t *ret, struct error *e)
{
	struct sealed_source *s = source;
	*ret = 0;
	if (s->given == s->opened_n) {
		int r = open_more(s, e);
		if (r < 0)
			return r;
	}
	*ret = MIN(n, s->opened_n - s->given);
	memcpy(buf, s->opened + s->given, *ret);
	s->given += *ret;
	return 0;
}
