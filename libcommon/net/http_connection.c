#include "net/http_internal.h"

#include "base/clock.h"
#include "net/address.h"

#include <arpa/inet.h>
#include <assert.h>
#include <string.h>

/* Windows over which the least rate is measured: long enough for a stream that pauses to think. */
#define RATE_WINDOW_US ((int64_t)30 * 1000 * 1000)

/* clang-format off */
static const bool legal[CONNECTION_STATE_MAX][CONNECTION_STATE_MAX] = {
	[CONNECTION_HANDSHAKE] = {[CONNECTION_IDLE] = true, [CONNECTION_CLOSED] = true},
	[CONNECTION_IDLE] = {[CONNECTION_HEAD] = true, [CONNECTION_LINGER] = true, [CONNECTION_CLOSED] = true},
	[CONNECTION_HEAD] = {[CONNECTION_REQUEST] = true, [CONNECTION_LINGER] = true, [CONNECTION_CLOSED] = true},
	[CONNECTION_REQUEST] = {[CONNECTION_IDLE] = true, [CONNECTION_UPGRADED] = true, [CONNECTION_LINGER] = true,
				[CONNECTION_CLOSED] = true},
	[CONNECTION_UPGRADED] = {[CONNECTION_LINGER] = true, [CONNECTION_CLOSED] = true},
	[CONNECTION_LINGER] = {[CONNECTION_CLOSED] = true},
};
/* clang-format on */

void connection_set_state(struct http_connection *c, enum connection_state next)
{
	assert(legal[c->state][next]);
	c->state = next;
	c->since_us = c->read_us = clock_monotonic_us();
	c->read_rate = (struct rate_window){0};
}

static void drive(struct http_connection *c);

static void on_readable(evutil_socket_t fd _unused_, short what _unused_, void *arg)
{
	struct http_connection *c = arg;
	c->readable = true;
	drive(c);
}

static void on_writable(evutil_socket_t fd _unused_, short what _unused_, void *arg)
{
	struct http_connection *c = arg;
	c->write_blocked = false;
	if (c->read_wants_write)
		c->readable = true;
	drive(c);
}

static void on_kick(evutil_socket_t fd _unused_, short what _unused_, void *arg)
{
	drive(arg);
}

void connection_kick(struct http_connection *c)
{
	if (c->state != CONNECTION_CLOSED)
		event_active(&c->kick_event, EV_TIMEOUT, 0);
}

static void connection_free(void *arg)
{
	struct http_connection *c = arg;
	buffer_done(&c->input);
	http_output_done(&c->output);
	free(c->peer);
	free(c);
}

static void format_remote(const struct sockaddr *from, char ret[INET6_ADDRSTRLEN])
{
	const void *raw = from->sa_family == AF_INET ? (const void *)&((const struct sockaddr_in *)from)->sin_addr
						     : (const void *)&((const struct sockaddr_in6 *)from)->sin6_addr;
	if (!inet_ntop(from->sa_family, raw, ret, INET6_ADDRSTRLEN))
		ret[0] = '\0';
}

int connection_new(struct http_server *s, int fd, const struct sockaddr *from)
{
	struct http_connection *c = calloc(1, sizeof(*c));
	if (!c)
		return ERR_NOMEM;
	c->server = s;
	c->fd = fd;
	c->readable = true;
	c->state = s->tls ? CONNECTION_HANDSHAKE : CONNECTION_IDLE;
	c->since_us = clock_monotonic_us();
	format_remote(from, c->remote);
	c->network = address_network(from);
	buffer_init(&c->input, s->limits.head_bytes_max + HTTP_READ_BYTES);
	if (s->tls && !(c->ssl = tls_accept(s->tls, fd))) {
		free(c);
		return ERR_NOMEM;
	}
	struct event_base *base = loop_base(s->loop);
	(void)event_assign(&c->read_event, base, fd, EV_READ | EV_PERSIST, on_readable, c);
	(void)event_assign(&c->write_event, base, fd, EV_WRITE | EV_PERSIST, on_writable, c);
	(void)event_assign(&c->kick_event, base, -1, 0, on_kick, c);
	c->next = s->first;
	if (s->first)
		s->first->prev = c;
	s->first = c;
	s->n_connections++;
	connection_kick(c);
	return 0;
}

static void end_upgrade(struct http_connection *c)
{
	const struct http_upgrade *u = TAKE_PTR(c->upgrade);
	if (!u)
		return;
	c->server->n_websockets--;
	u->on_end(c->upgrade_arg);
}

void connection_close(struct http_connection *c)
{
	if (c->state == CONNECTION_CLOSED)
		return;
	connection_set_state(c, CONNECTION_CLOSED);
	(void)event_del(&c->read_event);
	(void)event_del(&c->write_event);
	(void)event_del(&c->kick_event);
	http_io_close(c);
	end_upgrade(c);
	if (c->request)
		http_request_over(TAKE_PTR(c->request), false);
	http_server_gone(c->server, c);
	loop_defer(c->server->loop, connection_free, c);
}

void connection_send(struct http_connection *c, const void *data, size_t n)
{
	if (http_output_append(&c->output, data, n) < 0)
		c->abort = true;
	c->room_due = true;
	connection_kick(c);
}

void connection_finish(struct http_connection *c)
{
	if (c->state != CONNECTION_UPGRADED)
		return;
	c->finishing = true;
	connection_kick(c);
}

void connection_upgrade(struct http_connection *c, const struct http_upgrade *u, void *arg)
{
	connection_set_state(c, CONNECTION_UPGRADED);
	c->upgrade = u;
	c->upgrade_arg = arg;
	c->server->n_websockets++;
	connection_kick(c);
}

void connection_drain(struct http_connection *c)
{
	c->keep_alive = false;
	if (c->state == CONNECTION_UPGRADED)
		c->upgrade->on_drain(c->upgrade_arg);
	else if (c->state == CONNECTION_HANDSHAKE || (c->state == CONNECTION_IDLE && c->input.size == 0))
		connection_close(c);
}

static void flush(struct http_connection *c)
{
	const char *data = NULL;
	size_t n;
	while (!c->write_blocked && (n = http_output_peek(&c->output, &data)) > 0) {
		size_t put = 0;
		enum http_io io = http_io_write(c, data, n, &put);
		if (io == HTTP_IO_AGAIN) {
			c->write_blocked = true;
			break;
		}
		if (io != HTTP_IO_OK) {
			connection_close(c);
			return;
		}
		http_output_consume(&c->output, put);
		c->write_us = clock_monotonic_us();
		c->write_rate.bytes += put;
		metric_add(c->server->bytes_out, (double)put);
	}
	if (c->output.size == 0)
		c->write_rate = (struct rate_window){0};
	else if (c->write_rate.since_us == 0)
		c->write_us = c->write_rate.since_us = clock_monotonic_us();
}

/* Tells who produces that there is room; true when that queued more. */
static bool offer_room(struct http_connection *c)
{
	struct http_request *r = c->request;
	size_t before = c->output.size;
	if (c->state == CONNECTION_REQUEST && r->response == RESPONSE_STARTED && r->writable_due &&
	    before < c->server->limits.output_bytes_max / 2) {
		r->writable_due = false;
		if (r->callbacks.on_writable)
			r->callbacks.on_writable(r, r->arg);
	} else if (c->state == CONNECTION_UPGRADED && c->room_due && before < c->upgrade->output_bytes_max / 2) {
		c->room_due = false;
		c->upgrade->on_flushed(c->upgrade_arg);
	}
	return c->output.size > before;
}

static void push_output(struct http_connection *c)
{
	for (unsigned round = 0; round < HTTP_READS_PER_TURN; round++) {
		flush(c);
		if (c->state == CONNECTION_CLOSED || c->abort || !offer_room(c))
			return;
	}
	connection_kick(c);
}

/* The answer is out: the next request, or the end. */
static void finish_request(struct http_connection *c)
{
	struct http_request *r = TAKE_PTR(c->request);
	bool whole = http_body_complete(&r->body);
	http_response_count(c->server, r->status, r->began_us);
	http_request_over(r, true);
	if (!c->keep_alive || !whole || c->server->draining)
		connection_set_state(c, CONNECTION_LINGER);
	else
		connection_set_state(c, CONNECTION_IDLE);
}

static void linger(struct http_connection *c)
{
	if (c->output.size > 0)
		return;
	if (!c->shut) {
		http_io_shutdown(c);
		c->shut = true;
		c->since_us = clock_monotonic_us();
	}
	if (c->eof || c->lingered > HTTP_LINGER_BYTES)
		connection_close(c);
}

static void handshake(struct http_connection *c)
{
	switch (http_io_handshake(c)) {
	case HTTP_IO_OK:
		connection_set_state(c, CONNECTION_IDLE);
		c->readable = true;
		break;
	case HTTP_IO_AGAIN:
		c->readable = false;
		return;
	case HTTP_IO_EOF:
	case HTTP_IO_BROKEN:
		connection_close(c);
		return;
	}
	if (!SSL_get0_peer_certificate(c->ssl))
		return;
	struct tls_identity id;
	if (!tls_peer_identity(c->ssl, &id))
		return;
	c->peer = malloc(sizeof(*c->peer));
	if (c->peer)
		*c->peer = id;
}

static void set_event(struct event *ev, bool *is, bool should)
{
	if (*is == should)
		return;
	*is = should ? event_add(ev, NULL) == 0 : false;
	if (!should)
		(void)event_del(ev);
}

static void update_events(struct http_connection *c)
{
	bool wants = c->state == CONNECTION_HANDSHAKE || (connection_wants_input(c) && !c->eof);
	bool more = wants && c->readable;
	bool writes = c->output.size > 0 || (wants && c->read_wants_write);
	set_event(&c->read_event, &c->reading, wants);
	set_event(&c->write_event, &c->writing, writes);
	if (c->reading != wants || c->writing != writes) {
		/* no memory for an event: nobody would ever wake this connection */
		connection_close(c);
		return;
	}
	/* bytes that TLS has read ahead are invisible to the kernel's readiness */
	if (more || (c->output.size > 0 && !c->write_blocked))
		connection_kick(c);
}

/* One turn. Every path that changes something ends here sooner or later, so events are set in one place. */
static void drive(struct http_connection *c)
{
	if (c->state == CONNECTION_HANDSHAKE)
		handshake(c);
	for (unsigned n = 0; n < HTTP_REQUESTS_PER_TURN; n++) {
		if (c->state == CONNECTION_CLOSED || c->state == CONNECTION_HANDSHAKE || c->abort)
			break;
		connection_receive(c);
		if (c->state == CONNECTION_CLOSED || c->abort)
			break;
		push_output(c);
		if (c->state == CONNECTION_UPGRADED && c->finishing) {
			connection_set_state(c, CONNECTION_LINGER);
			end_upgrade(c);
		}
		if (c->state == CONNECTION_LINGER)
			linger(c);
		if (c->state != CONNECTION_REQUEST || c->request->response != RESPONSE_ENDED || c->output.size > 0)
			break;
		finish_request(c);
	}
	if (c->abort)
		connection_close(c);
	if (c->state != CONNECTION_CLOSED)
		update_events(c);
}

static bool too_slow(struct rate_window *w, uint64_t least, int64_t now_us)
{
	if (w->since_us == 0) {
		*w = (struct rate_window){.since_us = now_us};
		return false;
	}
	if (now_us - w->since_us < RATE_WINDOW_US)
		return false;
	bool slow = w->bytes < least * (RATE_WINDOW_US / 1000000);
	*w = (struct rate_window){.since_us = now_us};
	return slow;
}

static void tick_request(struct http_connection *c, int64_t now_us)
{
	const struct http_limits *l = &c->server->limits;
	struct http_request *r = c->request;
	if (r->body_ended || r->paused) {
		c->read_us = now_us;
		c->read_rate = (struct rate_window){0};
		return;
	}
	if (now_us - c->read_us > l->body_idle_ms * 1000 || too_slow(&c->read_rate, l->rate_min_bytes, now_us)) {
		connection_fail_request(c, 408, "the body arrives too slowly");
		if (c->state != CONNECTION_CLOSED)
			connection_kick(c);
	}
}

void connection_tick(struct http_connection *c, int64_t now_us)
{
	const struct http_limits *l = &c->server->limits;
	int64_t age_ms = (now_us - c->since_us) / 1000;
	if (c->output.size > 0 && c->write_rate.since_us != 0 &&
	    (now_us - c->write_us > l->write_idle_ms * 1000 || too_slow(&c->write_rate, l->rate_min_bytes, now_us))) {
		connection_close(c);
		return;
	}
	switch (c->state) {
	case CONNECTION_HANDSHAKE:
		if (age_ms > l->handshake_ms)
			connection_close(c);
		break;
	case CONNECTION_IDLE:
		if (age_ms > (c->requests == 0 ? l->head_ms : l->idle_ms))
			connection_close(c);
		break;
	case CONNECTION_HEAD:
		if (age_ms > l->head_ms) {
			http_response_refuse(c, 408, "the request arrives too slowly");
			connection_set_state(c, CONNECTION_LINGER);
			connection_kick(c);
		}
		break;
	case CONNECTION_REQUEST:
		tick_request(c, now_us);
		break;
	case CONNECTION_UPGRADED:
		c->upgrade->on_tick(c->upgrade_arg, now_us);
		break;
	case CONNECTION_LINGER:
		if (c->shut && age_ms > HTTP_LINGER_MS)
			connection_close(c);
		break;
	case CONNECTION_CLOSED:
	case CONNECTION_STATE_MAX:
		break;
	}
}
