#include "bus/bus.h"

#include "base/clock.h"
#include "base/thread.h"
#include "bus/bus_internal.h"

#include <assert.h>
#include <string.h>

#define POSTS_MAX	 1024
#define PUBLISH_MS	 1500
#define CONNECT_MS	 1000 /* a frozen server holds the connection's lock for this long */
#define PING_MS		 2000
#define RECONNECT_MS	 250
#define CLOSE_FLUSH_MS	 2000
#define CONNECT_AGAIN_US 2000000
#define IDLE_US		 1000000

void bus_wake(struct bus *b)
{
	b->work = true;
	(void)pthread_cond_signal(&b->wake);
}

bool bus_queue(struct bus *b, const char *subject, const void *body, size_t n, const char *id,
	       const struct trace *trace)
{
	struct bus_write *w = calloc(1, sizeof(*w));
	if (w) {
		w->subject = strdup(subject);
		w->body = malloc(n + 1);
	}
	if (!w || !w->subject || !w->body) {
		if (w) {
			free(w->subject);
			free(w->body);
		}
		free(w);
		return false;
	}
	memcpy(w->body, body, n);
	w->body_bytes = n;
	(void)snprintf(w->id, sizeof(w->id), "%s", id ? id : "");
	if (trace)
		trace_format(trace, w->traceparent);
	*b->last = w;
	b->last = &w->next;
	bus_wake(b);
	return true;
}

/* The library's callbacks: they only set a flag and wake the bus thread. */

static void with_bus(struct bus_link *l, void (*mark)(struct bus *b))
{
	(void)pthread_mutex_lock(&l->lock);
	struct bus *b = l->bus;
	if (b) {
		(void)pthread_mutex_lock(&b->lock);
		mark(b);
		bus_wake(b);
		(void)pthread_mutex_unlock(&b->lock);
	}
	(void)pthread_mutex_unlock(&l->lock);
}

static void mark_connected(struct bus *b)
{
	b->reconnected = true;
	b->stats.connects++;
	b->stats.connected = true;
}

static void mark_disconnected(struct bus *b)
{
	b->stats.connected = false;
}

static void on_connected(natsConnection *nc _unused_, void *arg)
{
	with_bus(arg, mark_connected);
}

static void on_disconnected(natsConnection *nc _unused_, void *arg)
{
	with_bus(arg, mark_disconnected);
}

/* The library gives up by itself only when the server refused the identity twice. */
static void mark_lost(struct bus *b)
{
	b->lost = true;
	b->stats.connected = false;
}

static void on_closed(natsConnection *nc _unused_, void *arg)
{
	struct bus_link *l = arg;
	(void)pthread_mutex_lock(&l->lock);
	l->closed++;
	(void)pthread_mutex_unlock(&l->lock);
	with_bus(l, mark_lost);
}

static void on_error(natsConnection *nc, natsSubscription *sub _unused_, natsStatus status, void *arg)
{
	if (status != NATS_NOT_PERMITTED)
		return;
	struct bus_link *l = arg;
	const char *text = NULL;
	(void)natsConnection_GetLastError(nc, &text);
	(void)pthread_mutex_lock(&l->lock);
	struct bus *b = l->bus;
	bool first = false;
	if (b) {
		(void)pthread_mutex_lock(&b->lock);
		first = !b->faulted;
		b->faulted = true;
		(void)pthread_mutex_unlock(&b->lock);
	}
	if (first && b->fault) {
		struct error e = {0};
		(void)
		    error_set(&e, ERR_FATAL,
			      "the broker does not permit %s what it needs: %s. Correct the permissions of the broker",
			      b->service, text ? text : "no reason given");
		b->fault(b->fault_arg, &e);
	}
	(void)pthread_mutex_unlock(&l->lock);
}

/* nats.c before 3.11 reads and writes one TLS connection from two threads without a lock between them (nats.c#913). At
 * worst a call misreads the other's state and the connection is lost; that is healed as any other loss. */
static natsStatus set_options(struct bus *b, natsOptions *o)
{
	char inbox[BUS_INBOX_BYTES];
	(void)snprintf(inbox, sizeof(inbox), "_INBOX.%.32s", b->service);
	natsStatus s = natsOptions_SetURL(o, b->url);
#define SET(call) s = s == NATS_OK ? (call) : s
	SET(natsOptions_SetName(o, b->service));
	SET(natsOptions_SetSecure(o, true));
	SET(natsOptions_LoadCATrustedCertificates(o, b->ca));
	SET(natsOptions_LoadCertificatesChain(o, b->certificate, b->key));
	SET(natsOptions_SetCustomInboxPrefix(o, inbox));
	SET(natsOptions_SetTimeout(o, CONNECT_MS));
	SET(natsOptions_SetMaxReconnect(o, -1));
	SET(natsOptions_SetReconnectWait(o, RECONNECT_MS));
	SET(natsOptions_SetReconnectJitter(o, RECONNECT_MS, RECONNECT_MS));
	SET(natsOptions_SetPingInterval(o, PING_MS));
	SET(natsOptions_SetMaxPingsOut(o, 2));
	/* without it the flusher holds each write back for about 1 ms; the rates here are low */
	SET(natsOptions_SetSendAsap(o, true));
	SET(natsOptions_SetFailRequestsOnDisconnect(o, true));
	SET(natsOptions_SetIgnoreDiscoveredServers(o, true));
	SET(natsOptions_SetRetryOnFailedConnect(o, true, on_connected, b->link));
	SET(natsOptions_SetReconnectedCB(o, on_connected, b->link));
	SET(natsOptions_SetDisconnectedCB(o, on_disconnected, b->link));
	SET(natsOptions_SetClosedCB(o, on_closed, b->link));
	SET(natsOptions_SetErrorHandler(o, on_error, b->link));
#undef SET
	return s;
}

static void use_connection(struct bus *b, natsConnection *nc, bool is_up)
{
	jsOptions options;
	jsCtx *js = NULL;
	(void)jsOptions_Init(&options);
	options.Wait = BUS_REQUEST_MS;
	natsStatus s = natsConnection_JetStream(&js, nc, &options);
	/* counted in every case: the library calls back for it */
	(void)pthread_mutex_lock(&b->link->lock);
	b->link->opened++;
	(void)pthread_mutex_unlock(&b->link->lock);
	if (s != NATS_OK) {
		natsConnection_Destroy(nc);
		return;
	}
	(void)pthread_rwlock_wrlock(&b->use);
	b->nc = nc;
	b->js = js;
	(void)pthread_rwlock_unlock(&b->use);
	(void)pthread_mutex_lock(&b->lock);
	b->lost = false;
	if (is_up)
		mark_connected(b);
	(void)pthread_mutex_unlock(&b->lock);
}

static void connect_now(struct bus *b)
{
	natsOptions *o = NULL;
	natsConnection *nc = NULL;
	natsStatus s = natsOptions_Create(&o);
	if (s == NATS_OK)
		s = set_options(b, o);
	if (s == NATS_OK)
		s = natsConnection_Connect(&nc, o);
	natsOptions_Destroy(o);
	if (nc)
		use_connection(b, nc, s == NATS_OK);
}

static void disconnect(struct bus *b)
{
	if (!b->nc)
		return;
	if (natsConnection_Status(b->nc) == NATS_CONN_STATUS_CONNECTED)
		(void)natsConnection_FlushTimeout(b->nc, CLOSE_FLUSH_MS);
	(void)pthread_rwlock_wrlock(&b->use);
	natsConnection *nc = TAKE_PTR(b->nc);
	jsCtx *js = TAKE_PTR(b->js);
	(void)pthread_rwlock_unlock(&b->use);
	jsCtx_Destroy(js);
	natsConnection_Close(nc);
	natsConnection_Destroy(nc);
}

static natsMsg *make_message(const char *subject, const void *body, size_t n, const char *id, const char *traceparent)
{
	natsMsg *m = NULL;
	natsStatus s = natsMsg_Create(&m, subject, NULL, body, (int)n);
	if (s == NATS_OK && id && *id)
		s = natsMsgHeader_Set(m, "Nats-Msg-Id", id);
	if (s == NATS_OK && *traceparent)
		s = natsMsgHeader_Set(m, "traceparent", traceparent);
	if (s != NATS_OK) {
		natsMsg_Destroy(m);
		return NULL;
	}
	return m;
}

static void write_one(struct bus *b, struct bus_write *w)
{
	natsMsg *m = make_message(w->subject, w->body, w->body_bytes, w->id, w->traceparent);
	if (m && b->nc)
		(void)natsConnection_PublishMsg(b->nc, m);
	natsMsg_Destroy(m);
	free(w->subject);
	free(w->body);
	free(w);
}

/* Writes wait in the queue for the first connection; after it the library buffers them while it reconnects. */
static void write_queued(struct bus *b)
{
	(void)pthread_mutex_lock(&b->lock);
	struct bus_write *w = b->first;
	b->first = NULL;
	b->last = &b->first;
	b->posted_waiting = 0;
	(void)pthread_mutex_unlock(&b->lock);
	while (w) {
		struct bus_write *next = w->next;
		write_one(b, w);
		w = next;
	}
}

static void mark_consumers_lost(struct bus *b)
{
	(void)pthread_mutex_lock(&b->lock);
	for (struct bus_consumer *c = b->consumers; c; c = c->next)
		pull_lost(&c->pull);
	(void)pthread_mutex_unlock(&b->lock);
}

static void step_consumers(struct bus *b, int64_t *next_us)
{
	(void)pthread_mutex_lock(&b->lock);
	struct bus_consumer *c = b->consumers;
	(void)pthread_mutex_unlock(&b->lock);
	while (c) {
		struct bus_consumer *next = c->next;
		if (bus_consumer_step(b, c, next_us)) {
			(void)pthread_mutex_lock(&b->lock);
			struct bus_consumer **at = &b->consumers;
			while (*at != c)
				at = &(*at)->next;
			*at = next;
			c->gone = true;
			(void)pthread_cond_broadcast(&b->changed);
			(void)pthread_mutex_unlock(&b->lock);
		}
		c = next;
	}
}

static void wait_for_work(struct bus *b, int64_t next_us)
{
	int64_t now = clock_monotonic_us();
	(void)pthread_mutex_lock(&b->lock);
	if (!b->work && next_us > now)
		thread_wait(&b->wake, &b->lock, MIN(next_us, now + IDLE_US));
	(void)pthread_mutex_unlock(&b->lock);
}

static void *bus_main(void *arg)
{
	struct bus *b = arg;
	int64_t connect_us = 0;
	for (;;) {
		int64_t next = INT64_MAX;
		(void)pthread_mutex_lock(&b->lock);
		bool closing = b->closing && !b->consumers;
		bool renew = b->renew || (b->nc && b->lost);
		bool reconnected = b->reconnected;
		b->work = b->renew = b->reconnected = false;
		(void)pthread_mutex_unlock(&b->lock);
		if (renew || reconnected)
			mark_consumers_lost(b);
		if (renew)
			disconnect(b);
		if (!b->nc && !closing && clock_monotonic_us() >= connect_us) {
			connect_us = clock_monotonic_us() + CONNECT_AGAIN_US;
			connect_now(b);
		}
		if (b->nc || closing)
			write_queued(b);
		else
			next = connect_us;
		if (closing)
			break;
		step_consumers(b, &next);
		wait_for_work(b, next);
	}
	disconnect(b);
	return NULL;
}

static void bus_done(struct bus *b)
{
	(void)pthread_cond_destroy(&b->wake);
	(void)pthread_cond_destroy(&b->changed);
	(void)pthread_mutex_destroy(&b->lock);
	(void)pthread_rwlock_destroy(&b->use);
	free(b->url);
	free(b->service);
	free(b->certificate);
	free(b->key);
	free(b->ca);
	free(b->link);
	free(b);
}

int bus_new(const struct bus_options *o, struct bus **ret, struct error *e)
{
	if (!o->url || strncmp(o->url, "tls://", 6) != 0)
		return error_set(e, ERR_REJECT, "the broker's address must begin with tls://");
	struct bus *b = calloc(1, sizeof(*b));
	if (!b)
		return error_nomem(e);
	b->last = &b->first;
	b->fault = o->fault;
	b->fault_arg = o->fault_arg;
	(void)pthread_mutex_init(&b->lock, NULL);
	(void)pthread_rwlock_init(&b->use, NULL);
	(void)pthread_cond_init(&b->changed, NULL);
	thread_cond_init(&b->wake);
	b->url = strdup(o->url);
	b->service = strdup(o->service);
	b->certificate = strdup(o->certificate);
	b->key = strdup(o->key);
	b->ca = strdup(o->ca);
	b->link = calloc(1, sizeof(*b->link));
	int r = 0;
	if (!b->url || !b->service || !b->certificate || !b->key || !b->ca || !b->link) {
		r = error_nomem(e);
	} else {
		(void)pthread_mutex_init(&b->link->lock, NULL);
		b->link->bus = b;
		r = thread_start(&b->thread, "bus", bus_main, b, e);
	}
	if (r < 0) {
		bus_done(b);
		return r;
	}
	*ret = b;
	return 0;
}

/* The link may be freed when every connection's last callback has come; else it stays, a few bytes at the process' end.
 */
static void leave_link(struct bus *b)
{
	struct bus_link *l = b->link;
	for (int i = 0; i < 200; i++) {
		(void)pthread_mutex_lock(&l->lock);
		bool complete = l->closed >= l->opened;
		(void)pthread_mutex_unlock(&l->lock);
		if (complete)
			break;
		nats_Sleep(10);
	}
	(void)pthread_mutex_lock(&l->lock);
	l->bus = NULL;
	bool complete = l->closed >= l->opened;
	(void)pthread_mutex_unlock(&l->lock);
	if (!complete)
		b->link = NULL;
}

void bus_free(struct bus *b)
{
	if (!b)
		return;
	(void)pthread_mutex_lock(&b->lock);
	assert(!b->consumers);
	b->closing = true;
	bus_wake(b);
	(void)pthread_mutex_unlock(&b->lock);
	(void)pthread_join(b->thread, NULL);
	leave_link(b);
	bus_done(b);
}

void bus_renew(struct bus *b)
{
	(void)pthread_mutex_lock(&b->lock);
	b->renew = true;
	bus_wake(b);
	(void)pthread_mutex_unlock(&b->lock);
}

static natsStatus publish_once(struct bus *b, const struct bus_message *m, natsMsg *msg, jsErrCode *ret_code)
{
	jsPubOptions options;
	(void)jsPubOptions_Init(&options);
	options.MaxWait = PUBLISH_MS;
	options.MsgId = m->id;
	options.ExpectStream = bus_stream_to_string(m->stream);
	return js_PublishMsg(NULL, b->js, msg, &options, ret_code);
}

static int publish_locked(struct bus *b, const struct bus_message *m, struct error *e)
{
	if (!b->nc || natsConnection_Status(b->nc) != NATS_CONN_STATUS_CONNECTED)
		return error_set(e, ERR_RETRY, "the broker is not connected");
	char traceparent[TRACEPARENT_BYTES] = "";
	if (m->trace)
		trace_format(m->trace, traceparent);
	natsMsg *msg = make_message(m->subject, m->body, m->body_bytes, NULL, traceparent);
	if (!msg)
		return error_nomem(e);
	jsErrCode code = 0;
	natsStatus s = publish_once(b, m, msg, &code);
	/* a plain subscriber of the subject keeps the broker from saying that no stream takes it: then nobody answers
	 */
	if (s == NATS_NO_RESPONDERS || s == NATS_TIMEOUT || code == JSStreamNotFoundErr) {
		s = bus_ensure_stream(b->js, m->stream, &code);
		if (s == NATS_OK)
			s = publish_once(b, m, msg, &code);
	}
	natsMsg_Destroy(msg);
	if (s == NATS_OK)
		return 0;
	return error_set(e, ERR_RETRY, "publishing to %s: %s (JetStream code %d)", m->subject, natsStatus_GetText(s),
			 (int)code);
}

int bus_publish(struct bus *b, const struct bus_message *m, struct error *e)
{
	assert(m->body_bytes <= BUS_BODY_BYTES);
	(void)pthread_rwlock_rdlock(&b->use);
	int r = publish_locked(b, m, e);
	(void)pthread_rwlock_unlock(&b->use);
	(void)pthread_mutex_lock(&b->lock);
	b->stats.published += r == 0;
	b->stats.publish_failures += r < 0;
	(void)pthread_mutex_unlock(&b->lock);
	return r;
}

bool bus_post(struct bus *b, const struct bus_message *m)
{
	assert(m->body_bytes <= BUS_BODY_BYTES);
	(void)pthread_mutex_lock(&b->lock);
	bool queued = !b->closing && b->posted_waiting < POSTS_MAX &&
		      bus_queue(b, m->subject, m->body, m->body_bytes, m->id, m->trace);
	b->posted_waiting += queued;
	b->stats.posted += queued;
	b->stats.post_refused += !queued;
	(void)pthread_mutex_unlock(&b->lock);
	return queued;
}

void bus_stats(struct bus *b, struct bus_stats *ret)
{
	(void)pthread_mutex_lock(&b->lock);
	*ret = b->stats;
	(void)pthread_mutex_unlock(&b->lock);
}
