#include "net/http_internal.h"

#include "base/clock.h"

void connection_fail_request(struct http_connection *c, int status, const char *reason)
{
	struct http_request *r = TAKE_PTR(c->request);
	bool answering = r->response != RESPONSE_NONE;
	http_response_count(c->server, answering ? r->status : status, r->began_us);
	http_request_over(r, false);
	if (answering) {
		connection_close(c);
		return;
	}
	http_response_refuse(c, status, reason);
	connection_set_state(c, CONNECTION_LINGER);
}

static void call_handler(struct http_connection *c)
{
	struct http_request *r = http_request_ref(c->request);
	r->dispatched = true;
	r->route->handler(r, c->server->arg);
	http_request_unref(r);
}

/* Tells once that the body is complete. */
static void settle_body(struct http_connection *c)
{
	struct http_request *r = c->request;
	if (c->state != CONNECTION_REQUEST || r->body_ended || r->paused || !http_body_complete(&r->body))
		return;
	r->body_ended = true;
	if (!r->dispatched)
		call_handler(c);
	else if (r->callbacks.on_body_end && r->response != RESPONSE_ENDED)
		r->callbacks.on_body_end(r, r->arg);
}

static void deliver(struct http_connection *c, const char *piece, size_t n)
{
	struct http_request *r = c->request;
	const struct http_route *route = r->route;
	r->body_bytes += n;
	bool limited = route && (route->body != HTTP_BODY_STREAM || route->body_bytes_max > 0);
	if (limited && r->body_bytes > route->body_bytes_max && r->response == RESPONSE_NONE) {
		connection_fail_request(c, 413, "the body is too large");
		return;
	}
	if (!r->dispatched) {
		if (buffer_append(&r->collected, piece, n) < 0)
			connection_fail_request(c, 503, "no memory");
	} else if (r->callbacks.on_body && r->response != RESPONSE_ENDED) {
		r->callbacks.on_body(r, piece, n, r->arg);
	}
}

static size_t body_step(struct http_connection *c, const char *data, size_t n)
{
	struct http_request *r = c->request;
	if (r->body_ended || r->paused)
		return 0;
	r->continue_due = false;
	size_t used = 0, piece_n = 0;
	const char *piece = NULL;
	switch (http_body_next(&r->body, data, n, &used, &piece, &piece_n)) {
	case HTTP_BODY_PIECE:
		deliver(c, piece, piece_n);
		break;
	case HTTP_BODY_BAD:
		connection_fail_request(c, 400, "malformed chunk");
		return n;
	case HTTP_BODY_MORE:
	case HTTP_BODY_DONE:
		break;
	}
	if (c->state == CONNECTION_REQUEST)
		settle_body(c);
	return used;
}

/* What is wrong with the body by the head alone: 0, or the status. */
static int check_body(const struct http_request *r)
{
	bool any = r->head.chunked || r->head.content_length > 0;
	if (!any || (r->route->body == HTTP_BODY_STREAM && r->route->body_bytes_max == 0))
		return 0;
	return r->route->body == HTTP_BODY_NONE || r->head.content_length > r->route->body_bytes_max ? 413 : 0;
}

static void dispatch(struct http_connection *c)
{
	struct http_request *r = c->request;
	char allow[128];
	int status = http_route_find(c->server->routes, r, allow, sizeof(allow));
	if (status == 0) {
		status = check_body(r);
		r->continue_due = r->head.expect_continue && status == 0;
		buffer_init(&r->collected, r->route->body == HTTP_BODY_BUFFERED ? r->route->body_bytes_max : 0);
		if (status == 0) {
			if (r->route->body != HTTP_BODY_BUFFERED)
				call_handler(c);
			settle_body(c);
			return;
		}
	}
	r->dispatched = true;
	if (status == 405)
		(void)http_response_header(r, "Allow", allow);
	if (status == 404)
		(void)http_respond_problem(r, status, "not-found", "there is nothing at this path");
	else if (status == 405)
		(void)http_respond_problem(r, status, "method-not-allowed", "allowed here: %s", allow);
	else if (status == 413)
		(void)http_respond_problem(r, status, "too-large", "the body is too large");
	else
		(void)http_respond_problem(r, status, "bad-request", "malformed path");
	settle_body(c);
}

static size_t head_step(struct http_connection *c, const char *data, size_t n)
{
	const struct http_limits *l = &c->server->limits;
	const struct http_parse_limits limits = {l->head_bytes_max, l->target_bytes_max, l->headers_max};
	if (c->state == CONNECTION_IDLE) {
		/* an empty line before a request is to be ignored (RFC 9112 section 2.2) */
		if (n >= 2 && data[0] == '\r' && data[1] == '\n')
			return 2;
		connection_set_state(c, CONNECTION_HEAD);
		c->scanned = 0;
	}
	size_t length = 0;
	const char *reason = NULL;
	struct http_head head;
	int status = http_head_find(data, n, &limits, &c->scanned, &length, &reason);
	if (status == 0 && length == 0)
		return 0;
	if (status == 0)
		status = http_head_parse(data, length, &limits, &head, &reason);
	if (status == 0 && !(c->request = http_request_new(c, &head))) {
		status = 503;
		reason = "no memory";
	}
	if (status != 0) {
		http_response_count(c->server, status, clock_monotonic_us());
		http_response_refuse(c, status, reason);
		connection_set_state(c, CONNECTION_LINGER);
		return n;
	}
	c->requests++;
	c->keep_alive = c->request->head.keep_alive && c->requests < l->requests_max && !c->server->draining;
	connection_set_state(c, CONNECTION_REQUEST);
	dispatch(c);
	return length;
}

static size_t step(struct http_connection *c, char *data, size_t n)
{
	switch (c->state) {
	case CONNECTION_IDLE:
	case CONNECTION_HEAD:
		return head_step(c, data, n);
	case CONNECTION_REQUEST:
		return body_step(c, data, n);
	case CONNECTION_UPGRADED:
		return c->upgrade->on_data(c->upgrade_arg, data, n);
	case CONNECTION_LINGER:
		c->lingered += n;
		return n;
	case CONNECTION_HANDSHAKE:
	case CONNECTION_CLOSED:
	case CONNECTION_STATE_MAX:
		break;
	}
	return n;
}

bool connection_wants_input(const struct http_connection *c)
{
	if (c->abort)
		return false;
	switch (c->state) {
	case CONNECTION_REQUEST:
		if (c->request->body_ended)
			return c->input.size == 0;
		return !c->request->paused;
	case CONNECTION_UPGRADED:
		return !c->paused && !c->finishing;
	case CONNECTION_IDLE:
	case CONNECTION_HEAD:
	case CONNECTION_LINGER:
		return true;
	case CONNECTION_HANDSHAKE:
	case CONNECTION_CLOSED:
	case CONNECTION_STATE_MAX:
		break;
	}
	return false;
}

static size_t consume(struct http_connection *c, char *data, size_t n)
{
	size_t used = 0;
	while (used < n && connection_wants_input(c)) {
		size_t took = step(c, data + used, n - used);
		if (took == 0)
			break;
		used += took;
	}
	return c->state == CONNECTION_LINGER || c->state == CONNECTION_CLOSED ? n : used;
}

/* The client ends its side. A request that is complete is still answered: half-closing clients exist. */
static void on_eof(struct http_connection *c)
{
	c->eof = true;
	if (c->state != CONNECTION_REQUEST || !c->request->body_ended)
		connection_close(c);
}

static bool read_more(struct http_connection *c)
{
	struct http_server *s = c->server;
	size_t n = 0;
	switch (http_io_read(c, s->shared, sizeof(s->shared), &n)) {
	case HTTP_IO_OK:
		break;
	case HTTP_IO_AGAIN:
		c->readable = false;
		return false;
	case HTTP_IO_EOF:
		c->readable = false;
		on_eof(c);
		return false;
	case HTTP_IO_BROKEN:
		connection_close(c);
		return false;
	}
	c->read_us = clock_monotonic_us();
	c->read_rate.bytes += n;
	metric_add(s->bytes_in, (double)n);
	size_t used = c->input.size == 0 ? consume(c, s->shared, n) : 0;
	if (used < n && buffer_append(&c->input, s->shared + used, n - used) < 0)
		connection_close(c);
	return c->state != CONNECTION_CLOSED;
}

/* Uses what was read before; false when that needs more bytes or somebody has to take them first. */
static bool use_input(struct http_connection *c)
{
	size_t before = c->input.size;
	size_t used = consume(c, c->input.data, before);
	if (c->state == CONNECTION_CLOSED)
		return false;
	buffer_consume(&c->input, used);
	if (c->input.size == 0)
		buffer_done(&c->input);
	return used > 0;
}

void connection_receive(struct http_connection *c)
{
	unsigned reads = HTTP_READS_PER_TURN;
	settle_body(c);
	while (connection_wants_input(c)) {
		if (c->input.size > 0 && use_input(c))
			continue;
		if (!connection_wants_input(c) || (c->input.size > 0 && c->state != CONNECTION_HEAD))
			break;
		if (c->eof) {
			if (c->state == CONNECTION_IDLE || c->state == CONNECTION_HEAD)
				connection_close(c);
			break;
		}
		if (c->state == CONNECTION_REQUEST && c->request->continue_due &&
		    c->request->response == RESPONSE_NONE) {
			static const char go_on[] = "HTTP/1.1 100 Continue\r\n\r\n";
			c->request->continue_due = false;
			connection_send(c, go_on, sizeof(go_on) - 1);
		}
		if (!c->readable || reads-- == 0 || !read_more(c))
			break;
	}
}
