/* The HTTP client: libcurl's multi interface on the loop, TLS with verified names (and our certificate, for peers), no
 * proxies, no redirects, every wait limited. Two faces: callbacks on the loop, and a blocking call for worker threads.
 */
#ifndef RUSHES_NET_CLIENT_H
#define RUSHES_NET_CLIENT_H

#include "base/buffer.h"
#include "base/log.h"
#include "base/loop.h"
#include "net/tls.h"

#include <stdatomic.h>

struct http_client;

struct http_client_options {
	struct tls_context *tls;       /* a client context, borrowed; NULL: https is refused */
	bool plain_loopback;	       /* also http:// to 127.0.0.0/8, [::1] and localhost */
	unsigned connections_max;      /* 0: 64 */
	unsigned host_connections_max; /* 0: 16; further exchanges wait */
};

/* Belongs to the loop: made and freed on its thread, when no thread is inside http_client_perform() any more. Freeing
 * cancels what runs. */
int http_client_new(struct loop *l, const struct http_client_options *o, struct http_client **ret,
		    struct error *e) _must_check_;
void http_client_free(struct http_client *c);
DEFINE_CLEANUP(struct http_client, http_client_free)

struct loop *http_client_loop(struct http_client *c);

struct http_client_header {
	const char *name;
	const char *value;
};

/* Gives up to `n` bytes of an upload: their number, 0 at the end, or an ERR_*. Blocking face: on the worker's thread
 * and may block. */
typedef ssize_t http_client_source(void *arg, void *buffer, size_t n, struct error *e);

/* Takes a piece of a 2xx answer's body; a negative result ends the exchange with it. Blocking face: on the worker's
 * thread and may block; the transfer is paused meanwhile when more than 1 MiB waits. */
typedef int http_client_sink(void *arg, const void *data, size_t n, struct error *e);

/* What is asked. Everything is borrowed until the end of the exchange. Zero takes the default. */
struct http_client_request {
	const char *method; /* NULL: GET */
	const char *url;    /* https://..., http:// only as the options say */
	const struct http_client_header *headers;
	size_t n_headers;
	const struct trace *trace; /* sent as traceparent; NULL: none */
	const void *body;	   /* the whole body... */
	size_t body_bytes;
	http_client_source *source; /* ...or where it comes from, source_bytes long */
	uint64_t source_bytes;
	http_client_sink *sink;	   /* where a 2xx body goes; NULL: into the answer */
	void *arg;		   /* of source and sink */
	uint64_t answer_bytes_max; /* longer bodies end the exchange with ERR_REJECT; 0: 1 MiB without a sink, no limit
				      with */
	int64_t connect_ms;	   /* name, TCP and TLS: 10 s */
	int64_t stall_ms;	   /* slower than one byte a second for so long: 30 s */
	int64_t total_ms;	   /* 0: no limit of the whole */
	const _Atomic bool *cancelled; /* looked at between pieces and every 200 ms; NULL: none */
	/* Blocking face: asked as often, on the worker's thread, and may block; true cancels. NULL: none. */
	bool (*is_over)(void *arg);
};

/* Most bytes of an error answer's body that are kept. */
#define HTTP_CLIENT_ERROR_BODY_BYTES 65536

struct http_client_answer {
	int status;	     /* 0 when none arrived */
	struct buffer head;  /* header lines as received, for http_client_answer_header() */
	struct buffer body;  /* of answers without a sink, and of all that are not 2xx (cut at 64 KiB) */
	uint64_t body_bytes; /* of the body as received */
};

void http_client_answer_done(struct http_client_answer *a);

/* Copies a header's value (the last of its name), cut of spaces; false when absent or longer than `size` - 1. */
bool http_client_answer_header(const struct http_client_answer *a, const char *name, char *ret,
			       size_t size) _must_check_;

/* The class of a status: 0 for 2xx; DENIED 401 403; NOTFOUND 404 410; CONFLICT 409 412; RETRY 408 425 429 and 5xx but
 * 501 and 505; all others REJECT. */
int http_client_status_class(int status);

/* Blocking, on any thread but the loop's: runs the exchange on the loop, source and sink on the calling thread. 0 for a
 * 2xx answer; else the status' class, RETRY for connection and time limits, FATAL for certificates that do not verify,
 * CANCELLED, or the error of source or sink. `ret` (zeroed by the caller) is filled as far as the answer came and
 * always to be released by http_client_answer_done(). A cut body is RETRY, and the sink has seen a part of it. */
int http_client_perform(struct http_client *c, const struct http_client_request *rq, struct http_client_answer *ret,
			struct error *e) _must_check_;

struct http_exchange;

/* Any may be NULL but on_end. */
struct http_exchange_callbacks {
	/* Status and header lines have come. Negative ends the exchange with it. */
	int (*on_head)(struct http_exchange *x, const struct http_client_answer *a, void *arg);
	/* A piece of a body of any status. Negative ends the exchange. After http_exchange_pause() inside it at most
	 * 64 KiB that were already read still come until resumed. NULL: collected into the answer as with
	 * http_client_perform(). */
	int (*on_body)(struct http_exchange *x, const void *data, size_t n, void *arg);
	/* Up to n bytes of the upload; 0 with http_exchange_pause() called: nothing now. */
	ssize_t (*on_source)(struct http_exchange *x, void *buffer, size_t n, void *arg);
	/* Exactly once, last, never inside another call of this module. The exchange is gone when it returns. Result as
	 * of http_client_perform(); `a` may be taken from. */
	void (*on_end)(struct http_exchange *x, int result, struct http_client_answer *a, const struct error *e,
		       void *arg);
};

/* Starts an exchange; not from inside on_head, on_body or on_source. Source, sink and cancelled of `rq` are not used
 * (on_source gives rq->source_bytes). What `rq` points to but the body is copied. */
int http_client_start(struct http_client *c, const struct http_client_request *rq,
		      const struct http_exchange_callbacks *cb, void *arg, struct http_exchange **ret,
		      struct error *e) _must_check_;
void http_exchange_pause(struct http_exchange *x);
void http_exchange_resume(struct http_exchange *x);

/* on_end follows with ERR_CANCELLED. */
void http_exchange_cancel(struct http_exchange *x);

#endif
