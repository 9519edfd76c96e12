#include "net/client.h"

#include "base/service.h"

#include <arpa/inet.h>
#include <assert.h>
#include <curl/curl.h>
#include <pthread.h>
#include <string.h>
#include <strings.h>

/* Header lines of one answer. */
#define HEAD_BYTES_MAX 65536
/* Of an error's body so much is read before the exchange ends. */
#define ERROR_BODY_READ_BYTES_MAX (1024 * 1024)
#define BODY_BYTES_DEFAULT	  (1024 * 1024)
#define CONNECT_DEFAULT_MS	  10000
#define STALL_DEFAULT_MS	  30000
#define TRANSFER_BUFFER_BYTES	  65536

struct http_client {
	struct loop *loop;
	CURLM *multi;
	struct tls_context *tls;
	bool plain_loopback;
	struct loop_timer *timer; /* libcurl's */
	struct loop_timer *sweep; /* resumes and cancels what was asked for since the last turn */
	struct http_exchange *first;
	bool leaving;
};

struct http_exchange {
	struct http_exchange *prev, *next;
	struct http_client *client;
	CURL *easy;
	struct curl_slist *lines;
	struct http_exchange_callbacks callbacks;
	void *arg;
	char host[256];
	char reason[CURL_ERROR_SIZE];
	struct http_client_answer answer;
	uint64_t body_bytes_max;
	int paused; /* CURLPAUSE_* */
	bool in_source, resume_due, cancelled;
	bool enough;	   /* an error's body was long enough: the status counts */
	int result;	   /* negative: what a callback, or a limit, ended it with */
	const char *limit; /* the limit's name */
};

static pthread_once_t global_once = PTHREAD_ONCE_INIT;

static void global_init(void)
{
	if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK)
		abort();
}

void http_client_answer_done(struct http_client_answer *a)
{
	buffer_done(&a->head);
	buffer_done(&a->body);
}

bool http_client_answer_header(const struct http_client_answer *a, const char *name, char *ret, size_t size)
{
	size_t name_n = strlen(name);
	bool found = false;
	for (const char *line = a->head.data; line && *line;) {
		const char *end = strchr(line, '\n');
		size_t n = end ? (size_t)(end - line) : strlen(line);
		if (n > name_n && line[name_n] == ':' && strncasecmp(line, name, name_n) == 0) {
			const char *value = line + name_n + 1;
			size_t value_n = n - name_n - 1;
			while (value_n > 0 && strchr(" \t", *value)) {
				value++;
				value_n--;
			}
			while (value_n > 0 && strchr(" \t\r", value[value_n - 1]))
				value_n--;
			if (value_n >= size)
				return false;
			memcpy(ret, value, value_n);
			ret[value_n] = '\0';
			found = true;
		}
		line = end ? end + 1 : NULL;
	}
	return found;
}

int http_client_status_class(int status)
{
	if (status >= 200 && status < 300)
		return 0;
	switch (status) {
	case 401:
	case 403:
		return ERR_DENIED;
	case 404:
	case 410:
		return ERR_NOTFOUND;
	case 409:
	case 412:
		return ERR_CONFLICT;
	case 408:
	case 425:
	case 429:
		return ERR_RETRY;
	case 501:
	case 505:
		return ERR_REJECT;
	default:
		return status >= 500 ? ERR_RETRY : ERR_REJECT;
	}
}

static int class_of(CURLcode code)
{
	switch (code) {
	case CURLE_PEER_FAILED_VERIFICATION:
	case CURLE_SSL_CERTPROBLEM:
	case CURLE_SSL_CACERT_BADFILE:
	case CURLE_SSL_CIPHER:
	case CURLE_SSL_ISSUER_ERROR:
		return ERR_FATAL;
	case CURLE_UNSUPPORTED_PROTOCOL:
	case CURLE_URL_MALFORMAT:
		return ERR_REJECT;
	case CURLE_OUT_OF_MEMORY:
		return ERR_NOMEM;
	default:
		return ERR_RETRY;
	}
}

/* Texts name the host alone: paths and queries may hold what grants access. */
static int explain(struct http_exchange *x, CURLcode code, struct error *e)
{
	if (x->cancelled)
		return error_set(e, ERR_CANCELLED, "%s: no longer wanted", x->host);
	if (x->result < 0)
		return error_set(e, x->result, "%s: %s", x->host, x->limit ? x->limit : "ended by its caller");
	if (code != CURLE_OK && !x->enough)
		return error_set(e, class_of(code), "%s: %s", x->host,
				 x->reason[0] ? x->reason : curl_easy_strerror(code));
	int r = http_client_status_class(x->answer.status);
	if (r < 0)
		return error_set(e, r, "%s answered with status %d", x->host, x->answer.status);
	return 0;
}

static void exchange_free(struct http_exchange *x)
{
	struct http_client *c = x->client;
	if (x->prev)
		x->prev->next = x->next;
	else if (c->first == x)
		c->first = x->next;
	if (x->next)
		x->next->prev = x->prev;
	if (x->easy)
		curl_easy_cleanup(x->easy);
	curl_slist_free_all(x->lines);
	http_client_answer_done(&x->answer);
	free(x);
}

static void finish(struct http_exchange *x, CURLcode code)
{
	struct error e = {0};
	(void)curl_multi_remove_handle(x->client->multi, x->easy);
	int result = explain(x, code, &e);
	x->callbacks.on_end(x, result, &x->answer, &e, x->arg);
	exchange_free(x);
}

static void take_finished(struct http_client *c)
{
	int left;
	for (CURLMsg *m; (m = curl_multi_info_read(c->multi, &left));) {
		if (m->msg != CURLMSG_DONE)
			continue;
		struct http_exchange *x = NULL;
		CURLcode code = m->data.result;
		(void)curl_easy_getinfo(m->easy_handle, CURLINFO_PRIVATE, (char **)&x);
		finish(x, code);
	}
}

static void on_timer(void *arg)
{
	struct http_client *c = arg;
	int running;
	(void)curl_multi_socket_action(c->multi, CURL_SOCKET_TIMEOUT, 0, &running);
	take_finished(c);
}

static void on_socket(evutil_socket_t fd, short what, void *arg)
{
	struct http_client *c = arg;
	int running;
	int mask = (what & EV_READ ? CURL_CSELECT_IN : 0) | (what & EV_WRITE ? CURL_CSELECT_OUT : 0);
	(void)curl_multi_socket_action(c->multi, fd, mask, &running);
	take_finished(c);
}

static int set_timer(CURLM *multi _unused_, long ms, void *arg)
{
	struct http_client *c = arg;
	if (ms < 0)
		loop_timer_cancel(c->timer);
	else
		loop_timer_set(c->timer, ms);
	return 0;
}

static int set_socket(CURL *easy _unused_, curl_socket_t fd, int what, void *arg, void *old)
{
	struct http_client *c = arg;
	struct event *ev = old;
	if (ev)
		event_free(ev);
	if (what == CURL_POLL_REMOVE) {
		(void)curl_multi_assign(c->multi, fd, NULL);
		return 0;
	}
	short events =
	    (short)((what & CURL_POLL_IN ? EV_READ : 0) | (what & CURL_POLL_OUT ? EV_WRITE : 0) | EV_PERSIST);
	ev = event_new(loop_base(c->loop), fd, events, on_socket, c);
	(void)curl_multi_assign(c->multi, fd, ev);
	return ev && event_add(ev, NULL) == 0 ? 0 : -1;
}

static void on_sweep(void *arg)
{
	struct http_client *c = arg;
	for (struct http_exchange *x = c->first; x; x = x->next)
		if (x->resume_due && !x->cancelled) {
			x->resume_due = false;
			x->paused = 0;
			(void)curl_easy_pause(x->easy, CURLPAUSE_CONT);
		}
	/* what a callback does may cancel or start others: begin anew after each */
	for (struct http_exchange *x = c->first; x;) {
		if (!x->cancelled) {
			x = x->next;
			continue;
		}
		finish(x, CURLE_ABORTED_BY_CALLBACK);
		x = c->first;
	}
	take_finished(c);
}

int http_client_new(struct loop *l, const struct http_client_options *o, struct http_client **ret, struct error *e)
{
	(void)pthread_once(&global_once, global_init);
	_cleanup_(http_client_freep) struct http_client *c = calloc(1, sizeof(*c));
	if (!c)
		return error_nomem(e);
	c->loop = l;
	c->tls = o->tls;
	c->plain_loopback = o->plain_loopback;
	c->multi = curl_multi_init();
	if (!c->multi || loop_timer_new(l, on_timer, c, &c->timer) < 0 || loop_timer_new(l, on_sweep, c, &c->sweep) < 0)
		return error_nomem(e);
	long total = o->connections_max ? (long)o->connections_max : 64;
	long host = o->host_connections_max ? (long)o->host_connections_max : 16;
	(void)curl_multi_setopt(c->multi, CURLMOPT_SOCKETFUNCTION, set_socket);
	(void)curl_multi_setopt(c->multi, CURLMOPT_SOCKETDATA, c);
	(void)curl_multi_setopt(c->multi, CURLMOPT_TIMERFUNCTION, set_timer);
	(void)curl_multi_setopt(c->multi, CURLMOPT_TIMERDATA, c);
	(void)curl_multi_setopt(c->multi, CURLMOPT_MAX_TOTAL_CONNECTIONS, total);
	(void)curl_multi_setopt(c->multi, CURLMOPT_MAX_HOST_CONNECTIONS, host);
	*ret = TAKE_PTR(c);
	return 0;
}

void http_client_free(struct http_client *c)
{
	if (!c)
		return;
	c->leaving = true;
	while (c->first) {
		c->first->cancelled = true;
		finish(c->first, CURLE_ABORTED_BY_CALLBACK);
	}
	if (c->multi)
		(void)curl_multi_cleanup(c->multi);
	loop_timer_free(c->timer);
	loop_timer_free(c->sweep);
	free(c);
}

struct loop *http_client_loop(struct http_client *c)
{
	return c->loop;
}

static size_t on_header(char *data, size_t size _unused_, size_t n, void *arg)
{
	struct http_exchange *x = arg;
	struct http_client_answer *a = &x->answer;
	/* an interim answer's head makes way for the next one's */
	if (n >= 5 && memcmp(data, "HTTP/", 5) == 0)
		buffer_clear(&a->head);
	int r = buffer_append(&a->head, data, n);
	if (r < 0) {
		x->result = r == ERR_FULL ? ERR_REJECT : r;
		x->limit = "the answer's head is too long";
		return CURL_WRITEFUNC_ERROR;
	}
	bool ends = (n == 2 && memcmp(data, "\r\n", 2) == 0) || (n == 1 && data[0] == '\n');
	long status = 0;
	(void)curl_easy_getinfo(x->easy, CURLINFO_RESPONSE_CODE, &status);
	if (!ends || status < 200 || a->status != 0)
		return n;
	a->status = (int)status;
	if (x->callbacks.on_head && (r = x->callbacks.on_head(x, a, x->arg)) < 0) {
		x->result = r;
		return CURL_WRITEFUNC_ERROR;
	}
	return n;
}

/* Keeps a body that nobody takes; of an error's only the beginning. */
static size_t collect(struct http_exchange *x, const char *data, size_t n)
{
	struct http_client_answer *a = &x->answer;
	bool good = http_client_status_class(a->status) == 0;
	size_t keep = n;
	if (!good)
		keep = a->body.size < HTTP_CLIENT_ERROR_BODY_BYTES ? MIN(n, HTTP_CLIENT_ERROR_BODY_BYTES - a->body.size)
								   : 0;
	int r = buffer_append(&a->body, data, keep);
	if (r < 0) {
		x->result = r == ERR_FULL ? ERR_REJECT : r;
		x->limit = "the answer is too long";
		return CURL_WRITEFUNC_ERROR;
	}
	return n;
}

static size_t on_body(char *data, size_t size _unused_, size_t n, void *arg)
{
	struct http_exchange *x = arg;
	bool good = http_client_status_class(x->answer.status) == 0;
	x->answer.body_bytes += n;
	if (!good && x->answer.body_bytes > ERROR_BODY_READ_BYTES_MAX) {
		x->enough = true;
		return CURL_WRITEFUNC_ERROR;
	}
	if (good && x->body_bytes_max && x->answer.body_bytes > x->body_bytes_max) {
		x->result = ERR_REJECT;
		x->limit = "the answer is too long";
		return CURL_WRITEFUNC_ERROR;
	}
	if (!x->callbacks.on_body)
		return collect(x, data, n);
	int r = x->callbacks.on_body(x, data, n, x->arg);
	if (r < 0) {
		x->result = r;
		return CURL_WRITEFUNC_ERROR;
	}
	return n;
}

static size_t on_read(char *buffer, size_t size _unused_, size_t n, void *arg)
{
	struct http_exchange *x = arg;
	x->in_source = true;
	ssize_t got = x->callbacks.on_source(x, buffer, n, x->arg);
	x->in_source = false;
	if (got < 0) {
		x->result = (int)got;
		return CURL_READFUNC_ABORT;
	}
	assert((size_t)got <= n);
	return got == 0 && (x->paused & CURLPAUSE_SEND) ? CURL_READFUNC_PAUSE : (size_t)got;
}

static CURLcode on_ssl_context(CURL *easy _unused_, void *ctx, void *arg)
{
	struct http_exchange *x = arg;
	return tls_apply(x->client->tls, ctx) == 0 ? CURLE_OK : CURLE_SSL_CERTPROBLEM;
}

static bool is_loopback(const char *host)
{
	struct in_addr a;
	if (inet_pton(AF_INET, host, &a) == 1)
		return (ntohl(a.s_addr) >> 24) == 127;
	return strcmp(host, "[::1]") == 0 || strcasecmp(host, "localhost") == 0;
}

/* Only https, or http as the options say; no login in a URL. */
static int check_url(struct http_exchange *x, const char *url, struct error *e)
{
	CURLU *u = curl_url();
	if (!u)
		return error_nomem(e);
	char *scheme = NULL, *host = NULL, *user = NULL;
	int r = 0;
	if (curl_url_set(u, CURLUPART_URL, url, 0) != CURLUE_OK ||
	    curl_url_get(u, CURLUPART_SCHEME, &scheme, 0) != CURLUE_OK ||
	    curl_url_get(u, CURLUPART_HOST, &host, 0) != CURLUE_OK)
		r = error_set(e, ERR_REJECT, "malformed URL");
	else if (curl_url_get(u, CURLUPART_USER, &user, 0) == CURLUE_OK)
		r = error_set(e, ERR_REJECT, "a URL with a login is refused");
	else if (strcmp(scheme, "https") == 0 && !x->client->tls)
		r = error_set(e, ERR_FATAL, "no TLS is set up to ask %s", host);
	else if (strcmp(scheme, "https") != 0 &&
		 (strcmp(scheme, "http") != 0 || !x->client->plain_loopback || !is_loopback(host)))
		r = error_set(e, ERR_REJECT, "%s is not allowed to %s", scheme, host);
	if (r == 0)
		(void)snprintf(x->host, sizeof(x->host), "%s", host);
	curl_free(scheme);
	curl_free(host);
	curl_free(user);
	curl_url_cleanup(u);
	return r;
}

static int add_line(struct http_exchange *x, const char *name, const char *value)
{
	struct buffer line;
	buffer_init(&line, HEAD_BYTES_MAX);
	/* libcurl's way to send an empty header is a semicolon */
	int r = *value ? buffer_printf(&line, "%s: %s", name, value) : buffer_printf(&line, "%s;", name);
	if (r == 0 && strpbrk(line.data, "\r\n"))
		r = ERR_REJECT;
	struct curl_slist *more = r == 0 ? curl_slist_append(x->lines, line.data) : NULL;
	buffer_done(&line);
	if (!more)
		return r < 0 ? r : ERR_NOMEM;
	x->lines = more;
	return 0;
}

static int set_headers(struct http_exchange *x, const struct http_client_request *rq, struct error *e)
{
	bool typed = false;
	for (size_t i = 0; i < rq->n_headers; i++) {
		typed = typed || strcasecmp(rq->headers[i].name, "content-type") == 0;
		int r = add_line(x, rq->headers[i].name, rq->headers[i].value);
		if (r < 0)
			return error_set(e, r, "header %s cannot be sent", rq->headers[i].name);
	}
	char traceparent[TRACEPARENT_BYTES] = "";
	if (rq->trace)
		trace_format(rq->trace, traceparent);
	if (traceparent[0] && add_line(x, "traceparent", traceparent) < 0)
		return error_nomem(e);
	/* libcurl would call every body a form */
	struct curl_slist *more = typed ? x->lines : curl_slist_append(x->lines, "Content-Type:");
	if (!more && !typed)
		return error_nomem(e);
	x->lines = more;
	return 0;
}

static void set_method(struct http_exchange *x, const struct http_client_request *rq)
{
	CURL *h = x->easy;
	const char *method = rq->method ? rq->method : "GET";
	if (strcmp(method, "HEAD") == 0) {
		(void)curl_easy_setopt(h, CURLOPT_NOBODY, 1L);
	} else if (x->callbacks.on_source) {
		(void)curl_easy_setopt(h, CURLOPT_UPLOAD, 1L);
		(void)curl_easy_setopt(h, CURLOPT_INFILESIZE_LARGE, (curl_off_t)rq->source_bytes);
		(void)curl_easy_setopt(h, CURLOPT_READFUNCTION, on_read);
		(void)curl_easy_setopt(h, CURLOPT_READDATA, x);
		(void)curl_easy_setopt(h, CURLOPT_CUSTOMREQUEST, method);
	} else if (rq->body_bytes > 0 || strcmp(method, "POST") == 0 || strcmp(method, "PUT") == 0 ||
		   strcmp(method, "PATCH") == 0) {
		(void)curl_easy_setopt(h, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)rq->body_bytes);
		(void)curl_easy_setopt(h, CURLOPT_POSTFIELDS, rq->body ? rq->body : "");
		(void)curl_easy_setopt(h, CURLOPT_CUSTOMREQUEST, method);
	} else {
		(void)curl_easy_setopt(h, CURLOPT_CUSTOMREQUEST, method);
	}
}

static void set_options(struct http_exchange *x, const struct http_client_request *rq)
{
	CURL *h = x->easy;
	int64_t stall_ms = rq->stall_ms ? rq->stall_ms : STALL_DEFAULT_MS;
	(void)curl_easy_setopt(h, CURLOPT_PRIVATE, x);
	(void)curl_easy_setopt(h, CURLOPT_URL, rq->url);
	(void)curl_easy_setopt(h, CURLOPT_PROTOCOLS_STR, x->client->plain_loopback ? "https,http" : "https");
	(void)curl_easy_setopt(h, CURLOPT_HTTP_VERSION, CURL_HTTP_VERSION_1_1);
	(void)curl_easy_setopt(h, CURLOPT_NOSIGNAL, 1L);
	/* an empty string also keeps the environment's proxies out */
	(void)curl_easy_setopt(h, CURLOPT_PROXY, "");
	(void)curl_easy_setopt(h, CURLOPT_FOLLOWLOCATION, 0L);
	(void)curl_easy_setopt(h, CURLOPT_USERAGENT, "rushes/" RUSHES_VERSION);
	(void)curl_easy_setopt(h, CURLOPT_HTTPHEADER, x->lines);
	(void)curl_easy_setopt(h, CURLOPT_ERRORBUFFER, x->reason);
	(void)curl_easy_setopt(h, CURLOPT_CONNECTTIMEOUT_MS,
			       (long)(rq->connect_ms ? rq->connect_ms : CONNECT_DEFAULT_MS));
	(void)curl_easy_setopt(h, CURLOPT_LOW_SPEED_LIMIT, 1L);
	(void)curl_easy_setopt(h, CURLOPT_LOW_SPEED_TIME, (long)((stall_ms + 999) / 1000));
	(void)curl_easy_setopt(h, CURLOPT_TIMEOUT_MS, (long)rq->total_ms);
	(void)curl_easy_setopt(h, CURLOPT_BUFFERSIZE, (long)TRANSFER_BUFFER_BYTES);
	(void)curl_easy_setopt(h, CURLOPT_HEADERFUNCTION, on_header);
	(void)curl_easy_setopt(h, CURLOPT_HEADERDATA, x);
	(void)curl_easy_setopt(h, CURLOPT_WRITEFUNCTION, on_body);
	(void)curl_easy_setopt(h, CURLOPT_WRITEDATA, x);
	(void)curl_easy_setopt(h, CURLOPT_SSL_VERIFYPEER, 1L);
	(void)curl_easy_setopt(h, CURLOPT_SSL_VERIFYHOST, 2L);
	(void)curl_easy_setopt(h, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
	/* authorities come from our own context */
	(void)curl_easy_setopt(h, CURLOPT_CAINFO, NULL);
	(void)curl_easy_setopt(h, CURLOPT_CAPATH, NULL);
	(void)curl_easy_setopt(h, CURLOPT_SSL_CTX_FUNCTION, on_ssl_context);
	(void)curl_easy_setopt(h, CURLOPT_SSL_CTX_DATA, x);
	set_method(x, rq);
}

int http_client_start(struct http_client *c, const struct http_client_request *rq,
		      const struct http_exchange_callbacks *cb, void *arg, struct http_exchange **ret, struct error *e)
{
	assert(cb->on_end);
	if (c->leaving)
		return error_set(e, ERR_CANCELLED, "the client is being closed");
	struct http_exchange *x = calloc(1, sizeof(*x));
	if (!x)
		return error_nomem(e);
	x->client = c;
	x->callbacks = *cb;
	x->arg = arg;
	x->body_bytes_max = rq->answer_bytes_max;
	if (!cb->on_body && x->body_bytes_max == 0)
		x->body_bytes_max = BODY_BYTES_DEFAULT;
	buffer_init(&x->answer.head, HEAD_BYTES_MAX);
	buffer_init(&x->answer.body, MAX((size_t)x->body_bytes_max, (size_t)HTTP_CLIENT_ERROR_BODY_BYTES));
	int r = check_url(x, rq->url, e);
	if (r == 0)
		r = set_headers(x, rq, e);
	if (r == 0 && !(x->easy = curl_easy_init()))
		r = error_nomem(e);
	if (r < 0) {
		exchange_free(x);
		return r;
	}
	set_options(x, rq);
	x->next = c->first;
	if (c->first)
		c->first->prev = x;
	c->first = x;
	CURLMcode code = curl_multi_add_handle(c->multi, x->easy);
	if (code != CURLM_OK) {
		exchange_free(x);
		return error_set(e, ERR_FATAL, "cannot start an exchange: %s", curl_multi_strerror(code));
	}
	if (ret)
		*ret = x;
	return 0;
}

void http_exchange_pause(struct http_exchange *x)
{
	x->resume_due = false;
	x->paused |= x->in_source ? CURLPAUSE_SEND : CURLPAUSE_RECV;
	/* sending is paused by the result of the read callback */
	if (!x->in_source)
		(void)curl_easy_pause(x->easy, x->paused);
}

void http_exchange_resume(struct http_exchange *x)
{
	if (x->paused == 0)
		return;
	/* libcurl calls back from inside the unpausing: not from here, where the caller does not expect it */
	x->resume_due = true;
	loop_timer_set(x->client->sweep, 0);
}

void http_exchange_cancel(struct http_exchange *x)
{
	x->cancelled = true;
	loop_timer_set(x->client->sweep, 0);
}
