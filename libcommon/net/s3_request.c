#include "net/s3_request.h"

#include "base/clock.h"
#include "base/service.h"
#include "net/address.h"

#include <assert.h>
#include <ctype.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#define KEY_BYTES_MAX 1024
/* A path escaped three bytes for one, bucket and query with it. */
#define URL_BYTES_MAX	  (16 * KIB)
#define HEADER_BYTES_MAX  (8 * KIB)
#define CONNECT_MS	  10000L
#define IDLE_BYTES_SECOND 1024L
#define PAUSE_STEP_MS	  50

/* What the callbacks of one transfer share. */
struct transfer {
	struct s3_client *client;
	const struct s3_request *request;
	struct s3_answer *answer;
	size_t sent;
	struct error *e;
	int failed; /* of sink or stop */
	bool blocked;
	enum address_scope blocked_scope;
};

void s3_answer_done(struct s3_answer *a)
{
	buffer_done(&a->body);
}

void s3_request_header(struct s3_request *r, const char *name, const char *value)
{
	assert(r->n_headers < S3_HEADERS_MAX);
	r->headers[r->n_headers++] = (struct s3_pair){name, value};
}

void s3_request_query(struct s3_request *r, const char *name, const char *value)
{
	assert(r->n_query < S3_QUERY_MAX);
	r->query[r->n_query++] = (struct s3_pair){name, value};
}

int s3_path(const struct s3_client *c, const char *key, struct buffer *ret)
{
	int r = buffer_append(ret, "/", 1);
	if (r == 0 && c->path_style)
		r = buffer_append_string(ret, c->bucket);
	if (r == 0 && c->path_style && key)
		r = buffer_append(ret, "/", 1);
	if (r == 0 && key)
		r = s3_escape(ret, key, true);
	return r;
}

int s3_check_key(const char *key, struct error *e)
{
	size_t n = strlen(key);
	if (n == 0 || n > KEY_BYTES_MAX)
		return error_set(e, ERR_REJECT, "an object's key has 1 to %d bytes, not %zu", KEY_BYTES_MAX, n);
	return 0;
}

int s3_classify(long status, const char *code, bool *ret_again)
{
	static const struct {
		const char *code;
		int class;
		bool again;
	} known[] = {
	    {"NoSuchKey", ERR_NOTFOUND, false},
	    {"NoSuchUpload", ERR_NOTFOUND, false},
	    {"NoSuchVersion", ERR_NOTFOUND, false},
	    {"NotImplemented", ERR_NOTFOUND, false},
	    {"KeyTooLongError", ERR_REJECT, false},
	    {"EntityTooLarge", ERR_REJECT, false},
	    {"QuotaExceeded", ERR_FULL, false},
	    {"BadDigest", ERR_RETRY, true},
	    {"XAmzContentSHA256Mismatch", ERR_RETRY, true},
	    {"RequestTimeout", ERR_RETRY, true},
	    {"OperationAborted", ERR_RETRY, true},
	    {"SlowDown", ERR_RETRY, true},
	    /* the bucket may be made, the login repaired, while the job still tries */
	    {"NoSuchBucket", ERR_RETRY, false},
	};
	*ret_again = status >= 500 || status == 429 || status == 408;
	for (size_t i = 0; i < ARRAY_SIZE(known); i++)
		if (strcmp(code, known[i].code) == 0) {
			*ret_again = known[i].again;
			return known[i].class;
		}
	return status == 412 ? ERR_CONFLICT : ERR_RETRY;
}

static void copy_value(const char *value, size_t n, char *ret, size_t capacity)
{
	if (n >= capacity)
		n = 0; /* half a value is worse than none */
	memcpy(ret, value, n);
	ret[n] = '\0';
}

static void read_header(struct s3_answer *a, const char *name, size_t name_n, const char *value, size_t n)
{
	struct s3_stored *s = &a->stored;
	const struct {
		const char *name;
		char *to;
		size_t capacity;
	} wanted[] = {
	    {"etag", s->etag, sizeof s->etag},
	    {"x-amz-checksum-sha256", s->checksum, sizeof s->checksum},
	    {"x-amz-version-id", s->version, sizeof s->version},
	    {"x-amz-storage-class", s->storage_class, sizeof s->storage_class},
	    {"x-amz-server-side-encryption", s->encryption, sizeof s->encryption},
	    {"content-type", s->content_type, sizeof s->content_type},
	    {"x-amz-bucket-region", a->region, sizeof a->region},
	};
	for (size_t i = 0; i < ARRAY_SIZE(wanted); i++)
		if (strlen(wanted[i].name) == name_n && strncasecmp(name, wanted[i].name, name_n) == 0) {
			if (i == 0 && n >= 2 && value[0] == '"' && value[n - 1] == '"')
				copy_value(value + 1, n - 2, wanted[i].to, wanted[i].capacity);
			else
				copy_value(value, n, wanted[i].to, wanted[i].capacity);
		}
	if (name_n == strlen("content-length") && strncasecmp(name, "content-length", name_n) == 0 && n < 20) {
		char digits[24], *end = NULL;
		copy_value(value, n, digits, sizeof digits);
		a->stored.size = strtoull(digits, &end, 10);
		a->has_size = n > 0 && isdigit((unsigned char)digits[0]) && *end == '\0';
	}
}

static size_t on_header(char *data, size_t one, size_t n, void *arg)
{
	struct transfer *t = arg;
	size_t length = one * n;
	if (length >= 5 && memcmp(data, "HTTP/", 5) == 0) {
		/* what came before was a 100 Continue */
		t->answer->stored = (struct s3_stored){0};
		t->answer->has_size = false;
		return length;
	}
	const char *colon = memchr(data, ':', length);
	if (!colon)
		return length;
	const char *value = colon + 1, *end = data + length;
	while (value < end && (*value == ' ' || *value == '\t'))
		value++;
	while (end > value && (end[-1] == '\n' || end[-1] == '\r' || end[-1] == ' '))
		end--;
	read_header(t->answer, data, (size_t)(colon - data), value, (size_t)(end - value));
	return length;
}

static size_t on_body(char *data, size_t one, size_t n, void *arg)
{
	struct transfer *t = arg;
	size_t length = one * n;
	long status = 0;
	(void)curl_easy_getinfo(t->client->curl, CURLINFO_RESPONSE_CODE, &status);
	if (t->request->sink && status / 100 == 2) {
		t->failed = t->request->sink->write(t->request->sink->arg, data, length, t->e);
		return t->failed < 0 ? 0 : length;
	}
	if (buffer_append(&t->answer->body, data, length) < 0) {
		t->failed = error_set(t->e, ERR_CORRUPT, "the answer is longer than %zu bytes", t->answer->body.limit);
		return 0;
	}
	return length;
}

static size_t on_read(char *to, size_t one, size_t n, void *arg)
{
	struct transfer *t = arg;
	size_t length = MIN(one * n, t->request->body_n - t->sent);
	if (length > 0)
		memcpy(to, (const char *)t->request->body + t->sent, length);
	t->sent += length;
	return length;
}

/* libcurl sends again from the start when a kept connection turns out to be closed. */
static int on_seek(void *arg, curl_off_t offset, int origin)
{
	struct transfer *t = arg;
	if (origin != SEEK_SET || offset < 0 || (uint64_t)offset > t->request->body_n)
		return CURL_SEEKFUNC_FAIL;
	t->sent = (size_t)offset;
	return CURL_SEEKFUNC_OK;
}

static int on_progress(void *arg, curl_off_t a _unused_, curl_off_t b _unused_, curl_off_t c _unused_,
		       curl_off_t d _unused_)
{
	struct transfer *t = arg;
	if (!t->client->stop || !t->client->stop(t->client->stop_arg))
		return 0;
	t->failed = error_set(t->e, ERR_CANCELLED, "the transfer is no longer wanted");
	return 1;
}

/* Judges the address that the name resolved to: a name may lead anywhere, and elsewhere the next time. */
static curl_socket_t on_socket(void *arg, curlsocktype purpose _unused_, struct curl_sockaddr *a)
{
	struct transfer *t = arg;
	enum address_scope scope = address_scope_of(&a->addr, a->addrlen);
	bool allowed = scope == ADDRESS_GLOBAL ||
		       (t->client->allow_private && (scope == ADDRESS_LOOPBACK || scope == ADDRESS_PRIVATE));
	if (!t->client->https && scope != ADDRESS_LOOPBACK)
		allowed = false;
	if (!allowed) {
		t->blocked = true;
		t->blocked_scope = scope;
		return CURL_SOCKET_BAD;
	}
	return socket(a->family, a->socktype | SOCK_CLOEXEC, a->protocol);
}

static void set_common(struct transfer *t, const char *url, struct curl_slist *headers)
{
	struct s3_client *c = t->client;
	CURL *h = c->curl;
	unsigned idle = MAX(t->request->idle_seconds, c->idle_seconds);
	curl_easy_reset(h); /* keeps connections and sessions */
	curl_easy_setopt(h, CURLOPT_URL, url);
	curl_easy_setopt(h, CURLOPT_PATH_AS_IS, 1L);
	curl_easy_setopt(h, CURLOPT_HTTPHEADER, headers);
	curl_easy_setopt(h, CURLOPT_USERAGENT, "rushes/" RUSHES_VERSION);
	curl_easy_setopt(h, CURLOPT_PROTOCOLS_STR, c->https ? "https" : "http");
	curl_easy_setopt(h, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
	curl_easy_setopt(h, CURLOPT_FOLLOWLOCATION, 0L);
	curl_easy_setopt(h, CURLOPT_PROXY, "");
	curl_easy_setopt(h, CURLOPT_NOPROXY, "*");
	curl_easy_setopt(h, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(h, CURLOPT_SSL_VERIFYPEER, 1L);
	curl_easy_setopt(h, CURLOPT_SSL_VERIFYHOST, 2L);
	curl_easy_setopt(h, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
	if (c->ca_file)
		curl_easy_setopt(h, CURLOPT_CAINFO, c->ca_file);
	if (c->resolve)
		curl_easy_setopt(h, CURLOPT_RESOLVE, c->resolve);
	curl_easy_setopt(h, CURLOPT_CONNECTTIMEOUT_MS, CONNECT_MS);
	curl_easy_setopt(h, CURLOPT_LOW_SPEED_LIMIT, IDLE_BYTES_SECOND);
	curl_easy_setopt(h, CURLOPT_LOW_SPEED_TIME, (long)idle);
	curl_easy_setopt(h, CURLOPT_OPENSOCKETFUNCTION, on_socket);
	curl_easy_setopt(h, CURLOPT_OPENSOCKETDATA, t);
	curl_easy_setopt(h, CURLOPT_HEADERFUNCTION, on_header);
	curl_easy_setopt(h, CURLOPT_HEADERDATA, t);
	curl_easy_setopt(h, CURLOPT_WRITEFUNCTION, on_body);
	curl_easy_setopt(h, CURLOPT_WRITEDATA, t);
	curl_easy_setopt(h, CURLOPT_NOPROGRESS, 0L);
	curl_easy_setopt(h, CURLOPT_XFERINFOFUNCTION, on_progress);
	curl_easy_setopt(h, CURLOPT_XFERINFODATA, t);
}

static void set_method(struct transfer *t)
{
	CURL *h = t->client->curl;
	const char *method = t->request->method;
	if (strcmp(method, "PUT") == 0) {
		curl_easy_setopt(h, CURLOPT_UPLOAD, 1L);
		curl_easy_setopt(h, CURLOPT_INFILESIZE_LARGE, (curl_off_t)t->request->body_n);
		curl_easy_setopt(h, CURLOPT_READFUNCTION, on_read);
		curl_easy_setopt(h, CURLOPT_READDATA, t);
		curl_easy_setopt(h, CURLOPT_SEEKFUNCTION, on_seek);
		curl_easy_setopt(h, CURLOPT_SEEKDATA, t);
	} else if (strcmp(method, "POST") == 0) {
		curl_easy_setopt(h, CURLOPT_POST, 1L);
		curl_easy_setopt(h, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)t->request->body_n);
		curl_easy_setopt(h, CURLOPT_POSTFIELDS, t->request->body ? t->request->body : "");
	} else if (strcmp(method, "HEAD") == 0) {
		curl_easy_setopt(h, CURLOPT_NOBODY, 1L);
	} else if (strcmp(method, "DELETE") == 0) {
		curl_easy_setopt(h, CURLOPT_CUSTOMREQUEST, "DELETE");
	}
}

static void slist_freep(struct curl_slist **l)
{
	curl_slist_free_all(*l);
}

static int add_header(struct curl_slist **l, const char *name, const char *value, struct error *e)
{
	char line[HEADER_BYTES_MAX];
	int n = snprintf(line, sizeof line, value[0] ? "%s: %s" : "%s;", name, value);
	if (n < 0 || n >= (int)sizeof line)
		return error_set(e, ERR_REJECT, "the header %s is too long", name);
	struct curl_slist *longer = curl_slist_append(*l, line);
	if (!longer)
		return error_nomem(e);
	*l = longer;
	return 0;
}

/* Signs, and gives URL and headers as they go over the wire. */
static int prepare(struct s3_client *c, const struct s3_request *r, struct buffer *url, struct curl_slist **headers,
		   struct error *e)
{
	_cleanup_(buffer_done) struct buffer path, authorization;
	char date[S3_DATE_BYTES], hash[S3_SHA256_HEX_BYTES];
	buffer_init(&path, URL_BYTES_MAX);
	buffer_init(&authorization, HEADER_BYTES_MAX);
	if (!r->body_sha256)
		s3_sha256_hex(r->body ? r->body : "", r->body_n, hash);
	if (s3_path(c, r->key, &path) < 0)
		return error_set(e, ERR_REJECT, "the object's key is too long");
	struct s3_sign_request s = {.method = r->method,
				    .host = c->host,
				    .path = path.data,
				    .query = r->query,
				    .n_query = r->n_query,
				    .headers = r->headers,
				    .n_headers = r->n_headers,
				    .payload_sha256 = r->body_sha256 ? r->body_sha256 : hash,
				    .region = c->region,
				    .wall_us = clock_wall_us()};
	int x = s3_sign(&s, &c->credentials, &authorization, date, e);
	if (x < 0)
		return x;
	x = buffer_printf(url, "%s://%s%s", c->https ? "https" : "http", c->host, path.data);
	if (x == 0 && r->n_query > 0)
		x = buffer_append(url, "?", 1);
	if (x == 0)
		x = s3_query_format(url, r->query, r->n_query);
	if (x < 0)
		return error_set(e, ERR_REJECT, "the request's URL is too long");
	x = add_header(headers, "Authorization", authorization.data, e);
	if (x == 0)
		x = add_header(headers, "x-amz-date", date, e);
	if (x == 0)
		x = add_header(headers, "x-amz-content-sha256", s.payload_sha256, e);
	if (x == 0 && c->credentials.session_token)
		x = add_header(headers, "x-amz-security-token", c->credentials.session_token, e);
	for (size_t i = 0; x == 0 && i < r->n_headers; i++)
		x = add_header(headers, r->headers[i].name, r->headers[i].value, e);
	return x;
}

static int transfer_error(const struct transfer *t, CURLcode code, const char *detail)
{
	if (t->failed < 0)
		return t->failed;
	t->answer->again = !t->blocked && code != CURLE_PEER_FAILED_VERIFICATION;
	if (t->blocked)
		return error_set(t->e, ERR_RETRY, "the endpoint %s has a %s address: %s", t->client->host,
				 address_scope_to_string(t->blocked_scope),
				 t->client->https ? "the target does not allow it" : "plain http is for loopback only");
	if (code == CURLE_OUT_OF_MEMORY)
		return error_nomem(t->e);
	return error_set(t->e, ERR_RETRY, "%s at %s: %s%s%s", t->request->method, t->client->host,
			 curl_easy_strerror(code), detail[0] ? ": " : "", detail);
}

/* What a status other than 2xx means, in the words of the server. */
static int answer_error(struct transfer *t)
{
	struct s3_answer *a = t->answer;
	struct error ignored = {0};
	if (a->body.size > 0 && s3_xml_error(a->body.data, a->body.size, &a->error, &ignored) < 0)
		a->error = (struct s3_error){0};
	int class = s3_classify(a->status, a->error.code, &a->again);
	/* only the answer to HEAD has no words; elsewhere a bare 404 may come from anything that is not S3 */
	if (a->status == 404 && strcmp(t->request->method, "HEAD") == 0)
		class = ERR_NOTFOUND;
	const char *region = a->error.region[0] ? a->error.region : a->region;
	if (a->status / 100 == 3 || strcmp(a->error.code, "AuthorizationHeaderMalformed") == 0)
		return error_set(t->e, class,
				 "the bucket is elsewhere (%ld %s): region %s, endpoint %s: change the target",
				 a->status, a->error.code, region[0] ? region : "not told",
				 a->error.endpoint[0] ? a->error.endpoint : "not told");
	return error_set(t->e, class, "%s at %s: %ld %s%s%s", t->request->method, t->client->host, a->status,
			 a->error.code, a->error.message[0] ? ": " : "", a->error.message);
}

int s3_request(struct s3_client *c, const struct s3_request *r, struct s3_answer *ret, struct error *e)
{
	char detail[CURL_ERROR_SIZE] = "";
	_cleanup_(slist_freep) struct curl_slist *headers = NULL;
	_cleanup_(buffer_done) struct buffer url;
	struct transfer t = {.client = c, .request = r, .answer = ret, .e = e};
	*ret = (struct s3_answer){0};
	buffer_init(&ret->body, S3_ANSWER_BYTES_MAX);
	buffer_init(&url, URL_BYTES_MAX);
	int x = prepare(c, r, &url, &headers, e);
	if (x < 0)
		return x;
	set_common(&t, url.data, headers);
	set_method(&t);
	curl_easy_setopt(c->curl, CURLOPT_ERRORBUFFER, detail);
	CURLcode code = curl_easy_perform(c->curl);
	curl_easy_setopt(c->curl, CURLOPT_ERRORBUFFER, NULL);
	(void)curl_easy_getinfo(c->curl, CURLINFO_RESPONSE_CODE, &ret->status);
	/* a refusal may come before the body was sent whole: then it is the answer that counts */
	if (code != CURLE_OK && !(code == CURLE_SEND_ERROR && ret->status >= 400))
		return transfer_error(&t, code, detail);
	return ret->status / 100 == 2 ? 0 : answer_error(&t);
}

int s3_pause(struct s3_client *c, unsigned n, struct error *e)
{
	unsigned wait = S3_PAUSE_MS;
	for (unsigned i = 1; i < n; i++)
		wait *= 4;
	for (unsigned waited = 0; waited < wait; waited += PAUSE_STEP_MS) {
		if (c->stop && c->stop(c->stop_arg))
			return error_set(e, ERR_CANCELLED, "the transfer is no longer wanted");
		(void)nanosleep(&(struct timespec){.tv_nsec = PAUSE_STEP_MS * 1000000L}, NULL);
	}
	return 0;
}

int s3_request_tries(struct s3_client *c, const struct s3_request *r, struct s3_answer *ret, struct error *e)
{
	assert(!r->sink);
	for (unsigned n = 1;; n++) {
		int x = s3_request(c, r, ret, e);
		if (x == 0 || !ret->again || n == S3_TRIES)
			return x;
		s3_answer_done(ret);
		x = s3_pause(c, n, e);
		if (x < 0)
			return x;
	}
}
