/* What the files of the HTTP server and the WebSocket module share; nobody else includes this.
 *
 * http_server.c      listener, admission, clock ticks, drain
 * http_connection.c  one connection: its states, turns, writing, time limits
 * http_receive.c     what a connection reads: heads, bodies
 * http_io.c          socket and TLS
 * http_route.c       which handler a request is for
 * http_request.c     what a handler asks and tells about a request
 * http_response.c    answers
 *
 * A connection does everything from its own event callbacks. What handlers call only changes state and queues bytes and
 * asks for a turn (connection_kick), so that no call of theirs ends in another callback of theirs. */
#ifndef RUSHES_NET_HTTP_INTERNAL_H
#define RUSHES_NET_HTTP_INTERNAL_H

#include "net/http.h"
#include "net/http_body.h"
#include "net/http_output.h"

#include <event2/event_struct.h>
#include <netinet/in.h>

/* One read: a TLS record at most. */
#define HTTP_READ_BYTES 16384
/* Reads of one connection before others get their turn. */
#define HTTP_READS_PER_TURN 16
/* Requests of one connection, from what it sent ahead, before others get their turn. */
#define HTTP_REQUESTS_PER_TURN 16
/* How often time limits are looked at. */
#define HTTP_TICK_MS 200
/* After an answer that closes, what still arrives is read and dropped, so that the client gets to read the answer. */
#define HTTP_LINGER_MS	  2000
#define HTTP_LINGER_BYTES (1024 * 1024)
/* Room that must be left in the head of an answer for what the server adds. */
#define HTTP_RESPONSE_HEAD_BYTES_MAX 16384
#define HTTP_PARAMETERS_MAX	     4

enum connection_state {
	CONNECTION_HANDSHAKE, /* TLS */
	CONNECTION_IDLE,      /* before the first byte of a request */
	CONNECTION_HEAD,      /* in a request's head */
	CONNECTION_REQUEST,   /* a request is received, handled, answered */
	CONNECTION_UPGRADED,  /* the bytes belong to a WebSocket */
	CONNECTION_LINGER,    /* last bytes go out, what arrives is dropped */
	CONNECTION_CLOSED,    /* gone; freed at the end of the turn */
	CONNECTION_STATE_MAX
};

/* Bytes moved in a window of time, against those who trickle. */
struct rate_window {
	int64_t since_us; /* 0: not measuring */
	uint64_t bytes;
};

/* Who took over a connection (the WebSocket). All are called from the connection's own turns. */
struct http_upgrade {
	/* Bytes arrived; returns how many were used: less than n only when it paused the connection. May change them.
	 */
	size_t (*on_data)(void *arg, char *data, size_t n);
	void (*on_flushed)(void *arg); /* the queue emptied to less than half */
	void (*on_tick)(void *arg, int64_t now_us);
	void (*on_drain)(void *arg);
	void (*on_end)(void *arg); /* last: the connection is gone */
	size_t output_bytes_max;
};

struct http_connection {
	struct http_server *server;
	struct http_connection *prev, *next; /* of the server's list */
	enum connection_state state;
	int fd;
	SSL *ssl; /* NULL: plain */
	struct event read_event, write_event;
	/* of its own: libevent adds no event to its readiness list while that event is active */
	struct event kick_event;
	bool reading, writing; /* events that are added */
	bool readable;	       /* more may be there than the last read took */
	bool write_blocked;    /* the socket takes no more now */
	bool read_wants_write; /* TLS has to send before it can read */
	bool eof;	       /* the client sends no more */
	bool keep_alive;       /* another request may follow */
	bool abort;	       /* to be cut at the next turn */
	bool finishing;	       /* upgraded: close when the output is out */
	bool shut;	       /* lingering: our side has ended */
	bool paused;	       /* upgraded: does not want bytes */
	bool room_due;	       /* upgraded: on_flushed is to be called */
	char remote[INET6_ADDRSTRLEN];
	uint64_t network;	   /* address_network() */
	struct tls_identity *peer; /* NULL without */
	unsigned requests;
	int64_t since_us;	   /* when this state began */
	int64_t read_us, write_us; /* last progress */
	struct rate_window read_rate, write_rate;
	size_t scanned;	     /* of the head in `input` */
	uint64_t lingered;   /* bytes dropped */
	struct buffer input; /* read and not used yet; empty while idle */
	struct http_output output;
	struct http_request *request; /* referenced */
	const struct http_upgrade *upgrade;
	void *upgrade_arg;
};

enum response_state {
	RESPONSE_NONE,
	RESPONSE_STARTED, /* the head is queued */
	RESPONSE_ENDED,	  /* all is queued */
};

struct http_parameter {
	const char *name; /* into the pattern, name_n long */
	size_t name_n;
	char *value; /* owned */
};

struct http_request {
	unsigned refs;
	struct http_connection *connection; /* NULL once over */
	bool over;			    /* on_end was called: calls do nothing any more */
	struct http_head head;
	const struct http_route *route;
	struct http_parameter parameters[HTTP_PARAMETERS_MAX];
	unsigned n_parameters;
	struct http_text *texts; /* what http_request_query() decoded */
	struct trace trace;
	struct tls_identity *peer; /* owned; NULL without */
	char remote[INET6_ADDRSTRLEN];
	int64_t began_us;

	struct http_body body;
	bool body_ended;   /* on_body_end was called */
	bool dispatched;   /* the handler was called */
	bool continue_due; /* the client waits for 100 */
	bool paused;
	uint64_t body_bytes;
	struct buffer collected;

	struct http_request_callbacks callbacks;
	void *arg;

	enum response_state response;
	int status;
	bool head_only; /* HEAD, or a status without a body */
	bool chunked;
	bool writable_due;     /* on_writable is to be called */
	int64_t content_left;  /* of a known length; -1: unknown */
	struct buffer headers; /* lines of the answer */
};

struct http_server {
	struct loop *loop;
	struct tls_context *tls;
	const struct http_route *routes;
	void *arg;
	struct http_limits limits;
	const char *const *headers;
	const char *name;
	bool (*admit)(void *arg, uint64_t network); /* NULL: everybody */
	void *admit_arg;
	int fd;
	uint16_t port;
	struct event accept_event;
	bool accepting;
	struct loop_timer *tick;
	struct http_connection *first;
	unsigned n_connections, n_websockets;
	uint64_t accepted;
	bool draining, drained;
	loop_function *on_drained;
	void *on_drained_arg;
	int64_t date_second;
	char date[40];
	struct metric *requests_total;
	struct metric_series *request_seconds, *bytes_in, *bytes_out, *connections;
	struct metric_series *refused_rate, *refused_number;
	char shared[HTTP_READ_BYTES]; /* what was just read, of whichever connection has its turn */
};

/* http_io.c. `HTTP_IO_AGAIN`: nothing now, an event will tell. */
enum http_io { HTTP_IO_OK, HTTP_IO_AGAIN, HTTP_IO_EOF, HTTP_IO_BROKEN };

enum http_io http_io_handshake(struct http_connection *c) _must_check_;
enum http_io http_io_read(struct http_connection *c, char *data, size_t n, size_t *ret_n) _must_check_;
enum http_io http_io_write(struct http_connection *c, const char *data, size_t n, size_t *ret_n) _must_check_;
/* Tells the client that no more comes. */
void http_io_shutdown(struct http_connection *c);
void http_io_close(struct http_connection *c);

/* http_connection.c */
int connection_new(struct http_server *s, int fd, const struct sockaddr *from) _must_check_;
/* Ends the connection now: request or WebSocket are told, the memory goes at the end of the turn. */
void connection_close(struct http_connection *c);
void connection_set_state(struct http_connection *c, enum connection_state next);
/* Asks for a turn soon. */
void connection_kick(struct http_connection *c);
void connection_tick(struct http_connection *c, int64_t now_us);
/* Takes no further request; ends when nothing is under way. */
void connection_drain(struct http_connection *c);
/* Queues bytes; without memory the connection is cut. */
void connection_send(struct http_connection *c, const void *data, size_t n);
/* Hands the bytes over to somebody else, behind an answer 101 that was queued. */
void connection_upgrade(struct http_connection *c, const struct http_upgrade *u, void *arg);
/* Upgraded: on_end is called, what is queued is sent, then the socket closed; what arrives is dropped. */
void connection_finish(struct http_connection *c);

/* http_receive.c */
/* Whether bytes are wanted now. Behind a complete request one read is taken to see the client go; more waits. */
bool connection_wants_input(const struct http_connection *c);
/* Reads and uses what is there, within a turn's share. */
void connection_receive(struct http_connection *c);
/* A request that went wrong below its handler, which is told by on_end. */
void connection_fail_request(struct http_connection *c, int status, const char *reason);

/* http_server.c */
void http_server_gone(struct http_server *s, struct http_connection *c);

/* http_route.c. 0 with the route and the request's parameters, or the status to be answered: 400, 404, 405 with the
 * methods in `allow`. */
int http_route_find(const struct http_route *routes, struct http_request *r, char *allow, size_t allow_size);

/* http_request.c */
struct http_request *http_request_new(struct http_connection *c, struct http_head *head);
/* The end of a request's life on its connection: on_end, then the connection's reference is given back. */
void http_request_over(struct http_request *r, bool complete);

/* http_response.c */
/* An answer by the server itself, which closes the connection. Takes the place of the handler's. */
void http_response_refuse(struct http_connection *c, int status, const char *reason);
void http_response_count(struct http_server *s, int status, int64_t began_us);

#endif
