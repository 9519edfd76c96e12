/* The HTTP/1.1 server of all services (RFC 9110, RFC 9112): streaming bodies both ways with back-pressure, keep-alive,
 * strict framing, limits against slow and greedy clients, drain. One server belongs to one loop; everything here is
 * called on that loop's thread and nothing blocks. Plain HTTP is allowed on loopback addresses only. */
#ifndef RUSHES_NET_HTTP_H
#define RUSHES_NET_HTTP_H

#include "base/json.h"
#include "base/log.h"
#include "base/loop.h"
#include "base/metrics.h"
#include "base/pool.h"
#include "net/tls.h"

struct http_server;
struct http_request;

/* Called when a request's head (HTTP_BODY_BUFFERED: and its whole body) has arrived. Answers at once, or keeps a
 * reference and answers later from the loop. A request that is released unanswered gets 500. */
typedef void http_handler(struct http_request *r, void *arg);

enum http_body_mode {
	HTTP_BODY_NONE,	    /* a request with a body is answered 413 */
	HTTP_BODY_BUFFERED, /* collected up to the route's limit before the handler is called: http_request_body() */
	HTTP_BODY_STREAM,   /* given to on_body piece by piece; the handler is called with the head */
	HTTP_BODY_MODE_MAX
};

struct http_route {
	const char *method; /* "GET" also answers HEAD; a table ends with NULL */
	/* "/v1/recordings/:id": ":name" takes one segment, a last "*name" the (not empty) rest. The first route that
	 * fits wins. */
	const char *pattern;
	http_handler *handler;
	enum http_body_mode body;
	uint64_t body_bytes_max; /* more is answered 413; STREAM: 0 means no limit here */
};

/* Zero takes the default. Times in milliseconds. */
struct http_limits {
	size_t head_bytes_max;		  /* request line and headers: 16 KiB; above 431 */
	size_t target_bytes_max;	  /* 4 KiB; above 414 */
	unsigned headers_max;		  /* 64; above 431 */
	unsigned connections_max;	  /* 4096; idle ones make room, then new ones wait in the kernel's queue */
	unsigned address_connections_max; /* of one IPv4 address or IPv6 /64; 0: no limit of its own */
	unsigned requests_max;		  /* on one connection: 1000 */
	size_t output_bytes_max;	  /* queued for one client: 256 KiB */
	int64_t handshake_ms;		  /* 10 s */
	int64_t head_ms;		  /* from a head's first byte to its end, and for a new connection: 10 s; 408 */
	int64_t idle_ms;		  /* between requests: 60 s */
	int64_t body_idle_ms;		  /* between two pieces of a body that is not paused: 30 s; 408 */
	int64_t write_idle_ms;		  /* a client that takes nothing of its answer: 30 s */
	uint64_t rate_min_bytes;	  /* a second, over windows of 30 s, of bodies and answers: 128 */
};

struct http_server_options {
	const char *address;		 /* "127.0.0.1:8443", "[::1]:0"; port 0 takes a free one */
	struct tls_context *tls;	 /* borrowed; NULL: plain, refused with other than a loopback address */
	const struct http_route *routes; /* borrowed */
	void *arg;			 /* for the handlers */
	struct http_limits limits;
	/* Headers put into every answer, a NULL-ended list of name, value, name, value...; NULL for none. Borrowed. */
	const char *const *headers;
	/* Asked for each new connection before anything is spent on it, with its address_network(). False closes it.
	 * NULL: everybody may come. */
	bool (*admit)(void *arg, uint64_t network);
	void *admit_arg;
	struct metrics *metrics; /* borrowed, NULL for none */
	const char *name;	 /* label of the metrics: "public", "peer", "admin" */
};

/* Listens at once. ERR_FATAL names the address and the reason. */
int http_server_new(struct loop *l, const struct http_server_options *o, struct http_server **ret,
		    struct error *e) _must_check_;

/* Aborts what is left; requests that are still referenced answer into nothing. NULL is allowed. */
void http_server_free(struct http_server *s);
DEFINE_CLEANUP(struct http_server, http_server_free)

/* Stops listening, closes idle connections, lets requests and WebSockets (told by on_drain) finish, then calls
 * done(arg) from the loop, once. May be called once. */
void http_server_drain(struct http_server *s, loop_function *done, void *arg);

uint16_t http_server_port(const struct http_server *s);

struct http_load {
	unsigned connections;
	unsigned idle;	   /* of these, between requests */
	unsigned requests; /* being received, handled or answered */
	unsigned websockets;
	uint64_t accepted; /* since the start */
};

void http_server_load(const struct http_server *s, struct http_load *ret);

/* The same as an object, for /debug/state: a new reference. `arg` is the server. */
json_t *http_server_state(void *arg);

/* Strings are valid as long as the caller may use the request: inside the callbacks, else while it holds a reference.
 */
const char *http_request_method(const struct http_request *r);	/* "HEAD" stays "HEAD" */
const char *http_request_path(const struct http_request *r);	/* as sent, without the query */
const char *http_request_pattern(const struct http_request *r); /* of its route */
const char *http_request_remote(const struct http_request *r);	/* the address without port; personal data */

/* A header's value by its name in any case; NULL when absent. Of a repeated header the first; headers that mean one
 * thing (Host, Content-*, Authorization, Range...) are refused when repeated. */
const char *http_request_header(const struct http_request *r, const char *name);

/* A path parameter by its pattern name, percent-decoded: valid UTF-8 without control characters. NULL: no such name. */
const char *http_request_parameter(const struct http_request *r, const char *name);

/* A query parameter, decoded ('+' and %XX), the first of its name; NULL when absent or badly encoded. */
const char *http_request_query(struct http_request *r, const char *name);

/* The token of "Authorization: Bearer <token>", NULL without one. A secret. */
const char *http_request_bearer(const struct http_request *r);

/* The peer's identity by its client certificate; NULL when the server asks for none or it carries none. */
const struct tls_identity *http_request_peer(const struct http_request *r);

/* The trace of the request's `traceparent` with a span of its own, or a new trace. */
const struct trace *http_request_trace(const struct http_request *r);

/* Bytes of the body as announced; -1 for chunked, 0 for none. */
int64_t http_request_content_length(const struct http_request *r);

/* The collected body of an HTTP_BODY_BUFFERED route, ended by a NUL; never NULL. */
const char *http_request_body(const struct http_request *r, size_t *ret_n);

/* The collected body as one JSON object. ERR_REJECT with the place, to be answered 400. */
int http_request_json(const struct http_request *r, json_t **ret, struct error *e) _must_check_;

/* The Range of a GET on something of `size` bytes (RFC 9110 section 14): 200 for the whole (no Range, or one that is
 * to be ignored: several ranges, another unit), 206 with offset and length of one range, 416. */
int http_request_range(const struct http_request *r, uint64_t size, uint64_t *ret_offset, uint64_t *ret_length);

/* The same for an answer with a strong ETag: a Range with If-Range counts when that names it. */
int http_request_range_of(const struct http_request *r, const char *etag, uint64_t size, uint64_t *ret_offset,
			  uint64_t *ret_length);

/* References for answers that come later. A request whose client vanished stays valid: calls on it do nothing and
 * return ERR_CANCELLED. */
struct http_request *http_request_ref(struct http_request *r);
void http_request_unref(struct http_request *r);
DEFINE_CLEANUP(struct http_request, http_request_unref)

/* False once the client vanished or the answer is complete. */
bool http_request_alive(const struct http_request *r);

/* Any may be NULL. None is called after on_end. */
struct http_request_callbacks {
	/* A piece of the body, valid during the call. */
	void (*on_body)(struct http_request *r, const void *data, size_t n, void *arg);
	/* The whole body has come. */
	void (*on_body_end)(struct http_request *r, void *arg);
	/* An answer that was started has room: after http_response_start() and each time the queue has emptied to less
	 * than half. Who writes nothing now writes when it has something; it is not called again before that went out.
	 */
	void (*on_writable)(struct http_request *r, void *arg);
	/* Exactly once, last: `complete` when the whole answer went to the kernel, false when the client vanished, was
	 * too slow, or sent a broken body. The place to release what `arg` holds. */
	void (*on_end)(struct http_request *r, bool complete, void *arg);
};

/* Inside the handler. Bodies of HTTP_BODY_STREAM routes without on_body are read and dropped. */
void http_request_set_callbacks(struct http_request *r, const struct http_request_callbacks *c, void *arg);

/* Back-pressure: after pause at most nothing more is given to on_body and the socket is not read. */
void http_request_pause(struct http_request *r);
void http_request_resume(struct http_request *r);

/* Puts a header in the answer, before it is started. Values with control characters are refused: ERR_REJECT. */
int http_response_header(struct http_request *r, const char *name, const char *value);

/* Headers that keep browsers from guessing, framing and leaking: nosniff, no referrer, no framing, no store, a
 * Content-Security-Policy (`csp`, NULL: "default-src 'none'; frame-ancestors 'none'") and HSTS over TLS. */
int http_response_security_headers(struct http_request *r, const char *csp);

/* A whole answer; the body is copied. Results of all answering functions: 0, ERR_CANCELLED when nobody waits for it any
 * more, ERR_CONFLICT when an answer was already started, ERR_NOMEM (the connection is then aborted). They may be
 * ignored: on_end tells. An answer given before the request's body was read closes the connection. */
int http_respond(struct http_request *r, int status, const char *content_type, const void *body, size_t n);
int http_respond_json(struct http_request *r, int status, const json_t *body);

/* application/problem+json (RFC 9457): {"type":"about:blank","title":...,"status":...,"code":code,"detail":...}. `code`
 * is the documented word of the error that programs look at; the detail is for people and holds no secrets. */
int http_respond_problem(struct http_request *r, int status, const char *code, const char *fmt, ...) _printf_(4, 5);

/* The same from an error of a lower layer: REJECT 400, DENIED 403, NOTFOUND 404, CONFLICT 409, FULL 503, RETRY 503,
 * others 500 without the detail, which is the log's. */
int http_respond_error(struct http_request *r, const struct error *e);

/* A streamed answer. `content_length` -1: chunked (HTTP/1.0: until close). To HEAD the head alone is sent and writes
 * are dropped. */
int http_response_start(struct http_request *r, int status, const char *content_type, int64_t content_length);

/* Bytes that may be queued now; 0 before the start. */
size_t http_response_room(const struct http_request *r);

/* Queues a copy. ERR_FULL, and nothing queued, when n is more than the room; ERR_REJECT beyond the content length. */
int http_response_write(struct http_request *r, const void *data, size_t n) _must_check_;

/* The end of a streamed answer; short of the content length it aborts. */
int http_response_end(struct http_request *r);

/* Gives up an answer: the connection is cut so that the client cannot take it for whole. */
void http_response_abort(struct http_request *r);

/* Sends `length` bytes of an open file from `offset`, read on the pool; owns and closes `fd` whatever happens. Status
 * 200 or 206 and the headers are the caller's choice before it. A file that is shorter cuts the answer. Replaces the
 * request's callbacks. */
int http_respond_file(struct http_request *r, struct pool *p, int fd, int status, const char *content_type,
		      uint64_t offset, uint64_t length);

/* "Not Found"; "Unknown" for numbers without a name. */
const char *http_status_title(int status);

#endif
