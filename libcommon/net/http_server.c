#include "net/http_internal.h"

#include "base/clock.h"
#include "net/address.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>

/* Waiting connections in the kernel; the system's own limit is lower or equal. */
#define LISTEN_BACKLOG 1024
/* Accepted in one turn before the others go on. */
#define ACCEPTS_PER_TURN 64
/* With 64 KiB of TLS read-ahead this took the least time per byte. */
#define RECEIVE_BUFFER_BYTES (256 * 1024)

static void set_default(int64_t *value, int64_t initial)
{
	if (*value == 0)
		*value = initial;
}

static void set_limits(struct http_limits *l)
{
	l->head_bytes_max = l->head_bytes_max ? l->head_bytes_max : 16 * KIB;
	l->target_bytes_max = l->target_bytes_max ? l->target_bytes_max : 4 * KIB;
	l->headers_max = l->headers_max ? l->headers_max : 64;
	l->connections_max = l->connections_max ? l->connections_max : 4096;
	l->requests_max = l->requests_max ? l->requests_max : 1000;
	l->output_bytes_max = l->output_bytes_max ? l->output_bytes_max : 256 * KIB;
	l->rate_min_bytes = l->rate_min_bytes ? l->rate_min_bytes : 128;
	set_default(&l->handshake_ms, 10000);
	set_default(&l->head_ms, 10000);
	set_default(&l->idle_ms, 60000);
	set_default(&l->body_idle_ms, 30000);
	set_default(&l->write_idle_ms, 30000);
}

static bool is_loopback(const struct sockaddr_storage *a)
{
	if (a->ss_family == AF_INET)
		return (ntohl(((const struct sockaddr_in *)a)->sin_addr.s_addr) >> 24) == 127;
	return IN6_IS_ADDR_LOOPBACK(&((const struct sockaddr_in6 *)a)->sin6_addr);
}

static void listen_for(struct http_server *s, bool on)
{
	if (s->accepting == on || s->fd < 0)
		return;
	s->accepting = on;
	if (on)
		(void)event_add(&s->accept_event, NULL);
	else
		(void)event_del(&s->accept_event);
}

/* The connection that has waited longest for a next request. */
static struct http_connection *oldest_idle(const struct http_server *s)
{
	struct http_connection *oldest = NULL;
	for (struct http_connection *c = s->first; c; c = c->next)
		if (c->state == CONNECTION_IDLE && c->requests > 0 && (!oldest || c->since_us < oldest->since_us))
			oldest = c;
	return oldest;
}

static bool is_full(const struct http_server *s)
{
	return s->n_connections >= s->limits.connections_max;
}

/* An idle connection goes for a new one. Without one the tick looks again. */
static bool make_room(struct http_server *s)
{
	struct http_connection *idle = oldest_idle(s);
	if (!idle)
		listen_for(s, false);
	else
		connection_close(idle);
	return idle;
}

static bool too_many_of(const struct http_server *s, uint64_t network)
{
	unsigned n = 0;
	for (const struct http_connection *c = s->first; c && s->limits.address_connections_max; c = c->next)
		n += c->network == network;
	return s->limits.address_connections_max && n >= s->limits.address_connections_max;
}

/* Whether a connection from there may begin; counts what may not. */
static bool may_come(struct http_server *s, const struct sockaddr *from)
{
	uint64_t network = address_network(from);
	if (s->admit && !s->admit(s->admit_arg, network)) {
		metric_add(s->refused_rate, 1);
		return false;
	}
	if (too_many_of(s, network)) {
		metric_add(s->refused_number, 1);
		return false;
	}
	return true;
}

static void on_accept(evutil_socket_t listener, short what _unused_, void *arg)
{
	struct http_server *s = arg;
	for (unsigned i = 0; i < ACCEPTS_PER_TURN; i++) {
		/* only the first is known to be there: nobody is to go for one that is not */
		if (is_full(s) && (i > 0 || !make_room(s)))
			break;
		struct sockaddr_storage from;
		socklen_t n = sizeof(from);
		int fd = accept4(listener, (struct sockaddr *)&from, &n, SOCK_NONBLOCK | SOCK_CLOEXEC);
		if (fd < 0) {
			/* out of descriptors: the tick tries again */
			if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM)
				listen_for(s, false);
			break;
		}
		int one = 1;
		(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
		if (!may_come(s, (struct sockaddr *)&from) || connection_new(s, fd, (struct sockaddr *)&from) < 0) {
			(void)close(fd);
			continue;
		}
		s->accepted++;
		metric_set(s->connections, s->n_connections);
	}
	if (s->n_connections > 0 || !s->accepting)
		loop_timer_set(s->tick, HTTP_TICK_MS);
}

static void on_tick(void *arg)
{
	struct http_server *s = arg;
	int64_t now_us = clock_monotonic_us();
	for (struct http_connection *c = s->first, *next; c; c = next) {
		next = c->next;
		connection_tick(c, now_us);
	}
	if (!s->draining && (!is_full(s) || oldest_idle(s)))
		listen_for(s, true);
	if (s->n_connections > 0 || (!s->accepting && !s->draining))
		loop_timer_set(s->tick, HTTP_TICK_MS);
}

static void run_drained(void *arg)
{
	struct http_server *s = arg;
	loop_function *done = TAKE_PTR(s->on_drained);
	if (done)
		done(s->on_drained_arg);
}

static void do_nothing(void *arg _unused_)
{
}

void http_server_gone(struct http_server *s, struct http_connection *c)
{
	if (c->prev)
		c->prev->next = c->next;
	else
		s->first = c->next;
	if (c->next)
		c->next->prev = c->prev;
	s->n_connections--;
	metric_set(s->connections, s->n_connections);
	if (!s->draining)
		listen_for(s, true);
	else if (s->n_connections == 0 && s->on_drained)
		loop_defer(s->loop, run_drained, s);
}

void http_server_drain(struct http_server *s, loop_function *done, void *arg)
{
	s->draining = true;
	s->on_drained = done;
	s->on_drained_arg = arg;
	listen_for(s, false);
	if (s->fd >= 0)
		(void)close(TAKE_FD(s->fd));
	bool any = s->first;
	for (struct http_connection *c = s->first, *next; c; c = next) {
		next = c->next;
		connection_drain(c);
	}
	if (!any) {
		/* deferred like the freeing of the server, so that it cannot come after that; the post wakes the loop
		 */
		loop_defer(s->loop, run_drained, s);
		loop_post(s->loop, do_nothing, NULL);
	}
}

/* "IPv4:port" or "[IPv6]:port"; libevent's reader refuses port 0, which takes a free one. */
static bool parse_address(const char *text, struct sockaddr_storage *ret, socklen_t *ret_n)
{
	const char *colon = strrchr(text, ':');
	char host[INET6_ADDRSTRLEN + 2];
	size_t n = colon ? (size_t)(colon - text) : 0, digits = colon ? strspn(colon + 1, "0123456789") : 0;
	if (n == 0 || n >= sizeof(host) || digits == 0 || digits > 5 || colon[1 + digits] != '\0')
		return false;
	unsigned long port = strtoul(colon + 1, NULL, 10);
	if (port > UINT16_MAX)
		return false;
	memcpy(host, text, n);
	host[n] = '\0';
	*ret = (struct sockaddr_storage){0};
	if (host[0] == '[' && host[n - 1] == ']') {
		struct sockaddr_in6 *a = (struct sockaddr_in6 *)ret;
		host[n - 1] = '\0';
		a->sin6_family = AF_INET6;
		a->sin6_port = htons((uint16_t)port);
		*ret_n = sizeof(*a);
		return inet_pton(AF_INET6, host + 1, &a->sin6_addr) == 1;
	}
	struct sockaddr_in *a = (struct sockaddr_in *)ret;
	a->sin_family = AF_INET;
	a->sin_port = htons((uint16_t)port);
	*ret_n = sizeof(*a);
	return inet_pton(AF_INET, host, &a->sin_addr) == 1;
}

static int listen_on(struct http_server *s, const char *address, struct error *e)
{
	struct sockaddr_storage a;
	socklen_t n = 0;
	if (!parse_address(address, &a, &n))
		return error_set(e, ERR_FATAL, "%s is not an address with a port", address);
	if (!s->tls && !is_loopback(&a))
		return error_set(e, ERR_FATAL, "%s: HTTP without TLS is allowed on loopback addresses only", address);
	_cleanup_(closep) int fd = socket(a.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	int one = 1, receive = RECEIVE_BUFFER_BYTES;
	socklen_t size = sizeof(a);
	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) < 0 ||
	    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &receive, sizeof(receive)) < 0 ||
	    bind(fd, (struct sockaddr *)&a, n) < 0 || listen(fd, LISTEN_BACKLOG) < 0 ||
	    getsockname(fd, (struct sockaddr *)&a, &size) < 0)
		return error_set_errno(e, ERR_FATAL, errno, "cannot listen on %s", address);
	s->port = ntohs(a.ss_family == AF_INET ? ((struct sockaddr_in *)&a)->sin_port
					       : ((struct sockaddr_in6 *)&a)->sin6_port);
	s->fd = TAKE_FD(fd);
	return 0;
}

static void make_metrics(struct http_server *s, struct metrics *m)
{
	static const char *const by_server[] = {"server", NULL};
	static const char *const by_status[] = {"server", "status", NULL};
	static const char *const by_reason[] = {"server", "reason", NULL};
	static const double seconds[] = {0.001, 0.005, 0.025, 0.1, 0.5, 2.5, 10, 60, 600};
	const char *const name[] = {s->name};
	s->requests_total = metrics_counter(m, "rushes_http_requests_total", "Requests answered", by_status);
	s->request_seconds = metric_series(metrics_histogram(m, "rushes_http_request_seconds",
							     "From a request's head to the end of its answer",
							     by_server, seconds, ARRAY_SIZE(seconds)),
					   name);
	s->bytes_in =
	    metric_series(metrics_counter(m, "rushes_http_received_bytes_total", "Bytes received", by_server), name);
	s->bytes_out = metric_series(metrics_counter(m, "rushes_http_sent_bytes_total", "Bytes sent", by_server), name);
	s->connections =
	    metric_series(metrics_gauge(m, "rushes_http_connections", "Open connections", by_server), name);
	struct metric *refused = metrics_counter(m, "rushes_http_refused_connections_total",
						 "Connections closed before their TLS handshake, by the limit of their "
						 "address that was reached: rate, number",
						 by_reason);
	s->refused_rate = metric_series(refused, (const char *const[]){s->name, "rate"});
	s->refused_number = metric_series(refused, (const char *const[]){s->name, "number"});
}

static void server_memory_free(void *arg)
{
	free(arg);
}

int http_server_new(struct loop *l, const struct http_server_options *o, struct http_server **ret, struct error *e)
{
	_cleanup_(freep) struct http_server *s = calloc(1, sizeof(*s));
	if (!s)
		return error_nomem(e);
	s->loop = l;
	s->fd = -1;
	s->tls = o->tls;
	s->routes = o->routes;
	s->arg = o->arg;
	s->limits = o->limits;
	s->headers = o->headers;
	s->name = o->name ? o->name : "http";
	s->admit = o->admit;
	s->admit_arg = o->admit_arg;
	set_limits(&s->limits);
	int r = listen_on(s, o->address, e);
	if (r < 0)
		return r;
	if (loop_timer_new(l, on_tick, s, &s->tick) < 0) {
		(void)close(s->fd);
		return error_nomem(e);
	}
	make_metrics(s, o->metrics);
	(void)event_assign(&s->accept_event, loop_base(l), s->fd, EV_READ | EV_PERSIST, on_accept, s);
	listen_for(s, true);
	*ret = TAKE_PTR(s);
	return 0;
}

void http_server_free(struct http_server *s)
{
	if (!s)
		return;
	s->on_drained = NULL;
	s->draining = true;
	listen_for(s, false);
	while (s->first)
		connection_close(s->first);
	if (s->fd >= 0)
		(void)close(s->fd);
	loop_timer_free(s->tick);
	/* a drain that has just ended may still be queued */
	loop_defer(s->loop, server_memory_free, s);
}

uint16_t http_server_port(const struct http_server *s)
{
	return s->port;
}

void http_server_load(const struct http_server *s, struct http_load *ret)
{
	*ret =
	    (struct http_load){.connections = s->n_connections, .websockets = s->n_websockets, .accepted = s->accepted};
	for (const struct http_connection *c = s->first; c; c = c->next) {
		ret->idle += c->state == CONNECTION_IDLE;
		ret->requests += c->state == CONNECTION_REQUEST || c->state == CONNECTION_HEAD;
	}
}

json_t *http_server_state(void *arg)
{
	struct http_load load;
	http_server_load(arg, &load);
	return json_pack("{s:I, s:I, s:I, s:I, s:I}", "connections", (json_int_t)load.connections, "idle",
			 (json_int_t)load.idle, "requests", (json_int_t)load.requests, "websockets",
			 (json_int_t)load.websockets, "accepted", (json_int_t)load.accepted);
}
