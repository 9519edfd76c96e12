#include "base/clock.h"
#include "bus/bus_internal.h"

#include <ctype.h>
#include <string.h>

#define ACK_WAIT_MS 30000
#define DRAIN_MS    1000
#define RETURN_MS   500
#define PULL_MAX    256 /* messages of one request */

struct delivery {
	struct bus_delivery pub; /* first: handed out */
	struct bus *bus;
	char *reply;
	char body[];
};

static void answer(struct bus_delivery *pub, const char *text, bool is_ack)
{
	struct delivery *d = (struct delivery *)pub;
	struct bus *b = d->bus;
	(void)pthread_mutex_lock(&b->lock);
	/* without memory the message just comes again after its ack wait */
	if (bus_queue(b, d->reply, text, strlen(text), NULL, NULL)) {
		b->stats.acked += is_ack;
		b->stats.returned += !is_ack;
	}
	(void)pthread_mutex_unlock(&b->lock);
	free(d->reply);
	free(d);
}

void bus_delivery_ack(struct bus_delivery *d)
{
	answer(d, "+ACK", true);
}

void bus_delivery_return(struct bus_delivery *d, int64_t delay_ms)
{
	char text[48];
	if (delay_ms > 0)
		(void)snprintf(text, sizeof(text), "-NAK {\"delay\":%lld}", (long long)delay_ms * 1000000);
	else
		(void)snprintf(text, sizeof(text), "-NAK");
	answer(d, text, false);
}

static uint64_t delivered_count(natsMsg *m)
{
	jsMsgMetaData *meta = NULL;
	if (natsMsg_GetMetaData(&meta, m) != NATS_OK)
		return 1;
	uint64_t n = meta->NumDelivered;
	jsMsgMetaData_Destroy(meta);
	return n;
}

static struct delivery *delivery_new(struct bus *b, natsMsg *m)
{
	size_t n = (size_t)MAX(natsMsg_GetDataLength(m), 0);
	struct delivery *d = calloc(1, sizeof(*d) + n + 1);
	char *reply = strdup(natsMsg_GetReply(m));
	if (!d || !reply) {
		free(d);
		free(reply);
		return NULL;
	}
	d->bus = b;
	d->reply = reply;
	memcpy(d->body, natsMsg_GetData(m), n);
	d->pub.body = d->body;
	d->pub.body_bytes = n;
	d->pub.deliveries = delivered_count(m);
	(void)snprintf(d->pub.subject, sizeof(d->pub.subject), "%s", natsMsg_GetSubject(m));
	const char *traceparent = NULL;
	if (natsMsgHeader_Get(m, "traceparent", &traceparent) == NATS_OK)
		(void)!trace_parse(traceparent, &d->pub.trace);
	return d;
}

static void on_status(struct bus_subscription *s, natsMsg *m, const char *status)
{
	struct bus *b = s->consumer->bus;
	const char *description = NULL, *pending = NULL;
	(void)natsMsgHeader_Get(m, "Description", &description);
	bool counted = natsMsgHeader_Get(m, "Nats-Pending-Messages", &pending) == NATS_OK && pending;
	(void)pthread_mutex_lock(&b->lock);
	pull_on_status(&s->consumer->pull, s->generation, (int)strtol(status, NULL, 10), description,
		       counted ? strtoll(pending, NULL, 10) : -1, clock_monotonic_us());
	bus_wake(b);
	(void)pthread_mutex_unlock(&b->lock);
}

static void on_job(struct bus_subscription *s, natsMsg *m)
{
	struct bus_consumer *c = s->consumer;
	struct bus *b = c->bus;
	bool fits = natsMsg_GetDataLength(m) <= BUS_BODY_BYTES;
	struct delivery *d = fits ? delivery_new(b, m) : NULL;
	(void)pthread_mutex_lock(&b->lock);
	bool ours = pull_on_message(&c->pull, s->generation, clock_monotonic_us()) && !c->closing;
	b->stats.received++;
	if (!fits) /* not of our making; would come for ever */
		(void)!bus_queue(b, natsMsg_GetReply(m), "+TERM", 5, NULL, NULL);
	bus_wake(b);
	(void)pthread_mutex_unlock(&b->lock);
	if (d && ours)
		c->receive(c->arg, &d->pub);
	else if (d) /* late enough not to meet our own requests that still wait */
		bus_delivery_return(&d->pub, RETURN_MS);
}

static void on_message(natsConnection *nc _unused_, natsSubscription *sub _unused_, natsMsg *m, void *closure)
{
	struct bus_subscription *s = closure;
	const char *status = NULL, *reply = natsMsg_GetReply(m);
	if (reply && strncmp(reply, "$JS.ACK.", 8) == 0)
		on_job(s, m);
	else if (natsMsgHeader_Get(m, "Status", &status) == NATS_OK && status)
		on_status(s, m, status);
	natsMsg_Destroy(m);
}

static void on_complete(void *closure)
{
	struct bus_subscription *s = closure;
	struct bus *b = s->consumer->bus;
	(void)pthread_mutex_lock(&b->lock);
	s->complete = true;
	bus_wake(b);
	(void)pthread_mutex_unlock(&b->lock);
}

/* natsInbox_Create() ignores the custom prefix, which is all that the identity may subscribe to. */
static void make_inbox(struct bus_consumer *c, unsigned generation)
{
	struct trace unique = trace_new();
	(void)snprintf(c->inbox, sizeof(c->inbox), "_INBOX.%.32s.%s.%u", c->bus->service, unique.id, generation);
}

static natsStatus subscribe(struct bus *b, struct bus_consumer *c, unsigned generation)
{
	struct bus_subscription *s = calloc(1, sizeof(*s));
	if (!s)
		return NATS_NO_MEMORY;
	s->consumer = c;
	s->generation = generation;
	make_inbox(c, generation);
	natsStatus status = natsConnection_Subscribe(&s->sub, b->nc, c->inbox, on_message, s);
	if (status == NATS_OK) {
		status = natsSubscription_SetOnCompleteCB(s->sub, on_complete, s);
		s->next = c->subscriptions;
		c->subscriptions = s;
	} else {
		free(s);
	}
	return status;
}

/* Unsubscribes all inboxes; they are freed when the library is through with them. */
static void retire(struct bus_consumer *c, bool drain)
{
	for (struct bus_subscription *s = c->subscriptions; s; s = s->next) {
		if (s->retired)
			continue;
		s->retired = true;
		if (!drain || natsSubscription_DrainTimeout(s->sub, DRAIN_MS) != NATS_OK)
			(void)natsSubscription_Unsubscribe(s->sub);
	}
}

static void ensure(struct bus *b, struct bus_consumer *c)
{
	retire(c, false);
	natsStatus status = natsConnection_Status(b->nc) == NATS_CONN_STATUS_CONNECTED ? bus_ensure_consumer(b, c)
										       : NATS_CONNECTION_DISCONNECTED;
	/* pull_bound() will count to this */
	unsigned generation = c->pull.generation + 1;
	if (status == NATS_OK)
		status = subscribe(b, c, generation);
	(void)pthread_mutex_lock(&b->lock);
	if (status == NATS_OK) {
		pull_bound(&c->pull, clock_monotonic_us());
		b->stats.heals++;
	} else {
		c->pull.bound = false;
		pull_failed(&c->pull, clock_monotonic_us());
	}
	(void)pthread_mutex_unlock(&b->lock);
}

static void request(struct bus *b, struct bus_consumer *c, unsigned batch)
{
	char subject[BUS_SUBJECT_BYTES], body[128];
	(void)snprintf(subject, sizeof(subject), "$JS.API.CONSUMER.MSG.NEXT.%s.%s", bus_stream_to_string(c->stream),
		       c->durable);
	int n = snprintf(body, sizeof(body), "{\"batch\":%u,\"expires\":%lld,\"idle_heartbeat\":%lld}", batch,
			 (long long)PULL_EXPIRES_MS * 1000000, (long long)PULL_HEARTBEAT_MS * 1000000);
	natsStatus status = natsConnection_PublishRequest(b->nc, subject, c->inbox, body, n);
	(void)pthread_mutex_lock(&b->lock);
	if (status == NATS_OK)
		pull_requested(&c->pull, batch, clock_monotonic_us());
	else
		pull_lost(&c->pull);
	(void)pthread_mutex_unlock(&b->lock);
}

static natsStatus pending(struct bus *b, const struct bus_consumer *c, uint64_t *ret)
{
	jsOptions options;
	jsErrCode code = 0;
	jsConsumerInfo *info = NULL;
	(void)jsOptions_Init(&options);
	options.Wait = BUS_REQUEST_MS;
	natsStatus status =
	    js_GetConsumerInfo(&info, b->js, bus_stream_to_string(c->stream), c->durable, &options, &code);
	if (status == NATS_OK)
		*ret = info->NumPending;
	jsConsumerInfo_Destroy(info);
	return status;
}

static void inspect(struct bus *b, struct bus_consumer *c)
{
	uint64_t n = 0;
	natsStatus status = pending(b, c, &n);
	(void)pthread_mutex_lock(&b->lock);
	bool renew = status == NATS_OK && pull_inspected(&c->pull, n, clock_monotonic_us());
	if (status != NATS_OK || renew)
		pull_lost(&c->pull);
	(void)pthread_mutex_unlock(&b->lock);
	if (renew)
		(void)js_DeleteConsumer(b->js, bus_stream_to_string(c->stream), c->durable, NULL, NULL);
}

static void free_complete(struct bus *b, struct bus_consumer *c)
{
	struct bus_subscription **at = &c->subscriptions;
	while (*at) {
		struct bus_subscription *s = *at;
		(void)pthread_mutex_lock(&b->lock);
		bool complete = s->complete;
		(void)pthread_mutex_unlock(&b->lock);
		if (!complete) {
			at = &s->next;
			continue;
		}
		*at = s->next;
		natsSubscription_Destroy(s->sub);
		free(s);
	}
}

bool bus_consumer_step(struct bus *b, struct bus_consumer *c, int64_t *next_us)
{
	free_complete(b, c);
	int64_t until = INT64_MAX;
	(void)pthread_mutex_lock(&b->lock);
	bool closing = c->closing;
	enum pull_action action = pull_next(&c->pull, clock_monotonic_us(), &until);
	unsigned batch = MIN(pull_batch(&c->pull), PULL_MAX);
	(void)pthread_mutex_unlock(&b->lock);
	if (closing) {
		retire(c, true);
		return !c->subscriptions;
	}
	if (!b->nc)
		return false;
	switch (action) {
	case PULL_WAIT:
		*next_us = MIN(*next_us, until);
		return false;
	case PULL_REQUEST:
		request(b, c, batch);
		break;
	case PULL_ENSURE:
		ensure(b, c);
		break;
	case PULL_INSPECT:
		inspect(b, c);
		break;
	}
	*next_us = 0;
	return false;
}

static bool is_durable_name(const char *text)
{
	size_t n = strlen(text);
	for (size_t i = 0; i < n; i++)
		if (!isalnum((unsigned char)text[i]) && text[i] != '-' && text[i] != '_')
			return false;
	return n > 0 && n < 100;
}

int bus_consumer_new(struct bus *b, const struct bus_consumer_options *o, struct bus_consumer **ret, struct error *e)
{
	if (!is_durable_name(o->durable) || strlen(o->filter) >= BUS_SUBJECT_BYTES)
		return error_set(e, ERR_REJECT, "consumer %s of %s: not a usable name", o->durable, o->filter);
	struct bus_consumer *c = calloc(1, sizeof(*c));
	if (!c)
		return error_nomem(e);
	c->bus = b;
	c->stream = o->stream;
	c->durable = strdup(o->durable);
	c->filter = strdup(o->filter);
	c->ack_wait_ms = o->ack_wait_ms > 0 ? o->ack_wait_ms : ACK_WAIT_MS;
	c->receive = o->receive;
	c->arg = o->arg;
	if (!c->durable || !c->filter) {
		free(c->durable);
		free(c->filter);
		free(c);
		return error_nomem(e);
	}
	(void)pthread_mutex_lock(&b->lock);
	c->next = b->consumers;
	b->consumers = c;
	bus_wake(b);
	(void)pthread_mutex_unlock(&b->lock);
	*ret = c;
	return 0;
}

void bus_consumer_want(struct bus_consumer *c, unsigned n)
{
	(void)pthread_mutex_lock(&c->bus->lock);
	if (c->pull.want != n) {
		pull_want(&c->pull, n);
		bus_wake(c->bus);
	}
	(void)pthread_mutex_unlock(&c->bus->lock);
}

int bus_consumer_pending(struct bus_consumer *c, uint64_t *ret, struct error *e)
{
	struct bus *b = c->bus;
	(void)pthread_rwlock_rdlock(&b->use);
	natsStatus status = NATS_CONNECTION_DISCONNECTED;
	if (b->nc && natsConnection_Status(b->nc) == NATS_CONN_STATUS_CONNECTED)
		status = pending(b, c, ret);
	(void)pthread_rwlock_unlock(&b->use);
	return status == NATS_OK ? 0
				 : error_set(e, ERR_RETRY, "asking for the backlog of %s: %s", c->durable,
					     natsStatus_GetText(status));
}

void bus_consumer_stop(struct bus_consumer *c)
{
	(void)pthread_mutex_lock(&c->bus->lock);
	c->closing = true;
	bus_wake(c->bus);
	(void)pthread_mutex_unlock(&c->bus->lock);
}

void bus_consumer_free(struct bus_consumer *c)
{
	if (!c)
		return;
	struct bus *b = c->bus;
	bus_consumer_stop(c);
	(void)pthread_mutex_lock(&b->lock);
	while (!c->gone)
		(void)pthread_cond_wait(&b->changed, &b->lock);
	(void)pthread_mutex_unlock(&b->lock);
	free(c->durable);
	free(c->filter);
	free(c);
}
