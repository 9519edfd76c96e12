/* What the parts of the load program share. It drives every measured server by the same code: one thread, epoll and
 * OpenSSL, TLS 1.3, bytes made once.
 *
 * load.c      options, the clock of a run, results
 * peer.c      one connection: TCP, TLS, what goes out and comes in
 * stream.c    the recorder's stream (proto/stream.md)
 * upload.c    HTTP bodies: PUT, POST, tus
 * handshake.c full and resumed TLS handshakes, one after the other */
#ifndef RUSHES_BENCH_LOAD_H
#define RUSHES_BENCH_LOAD_H

#include <openssl/ssl.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

#define HEAD_BYTES 3072
#define IN_BYTES   4096
/* Chunks of one stream that wait for their acknowledgement. */
#define OUTSTANDING_MAX 64

#define MASK_KEY "\x5a\xc3\x3c\x96"

enum mode { MODE_STREAM, MODE_PUT, MODE_POST, MODE_TUS, MODE_HANDSHAKE, MODE_MAX };

struct options {
	enum mode mode;
	const char *host, *name, *ca, *path;
	char *token; /* "" without */
	unsigned port, streams, open_rate, seconds, warm_seconds, interval_ms;
	uint64_t bytes, message_bytes;
	bool hold; /* stay connected until standard input ends */
	bool resume;
};

enum peer_state {
	PEER_WAITING, /* not connected yet */
	PEER_CONNECTING,
	PEER_TLS,
	PEER_OPENING, /* the protocol's first exchange */
	PEER_READY,   /* may send */
	PEER_ENDING,  /* all was sent; the last answer is awaited */
	PEER_DONE,
	PEER_FAILED,
};

struct outstanding {
	uint64_t end;
	int64_t since_us;
};

struct peer {
	struct load *load;
	unsigned number;
	int fd;
	SSL *ssl;
	enum peer_state state;
	bool wants_write; /* is waited for */
	/* what goes out: the head, then `body_n` bytes of the payload */
	char head[HEAD_BYTES];
	size_t head_n, head_at, body_n, body_at;
	char in[IN_BYTES];
	size_t in_n;
	uint64_t skip; /* bytes of an answer's body that are still to come */
	uint64_t sent, acked;
	char location[512]; /* tus */
	struct outstanding waiting[OUTSTANDING_MAX];
	unsigned n_waiting, first_waiting;
};

struct protocol {
	void (*begin)(struct peer *p);					/* TLS is up */
	void (*sent)(struct peer *p);					/* everything that was queued is out */
	size_t (*received)(struct peer *p, const char *data, size_t n); /* returns how much of it was used */
};

struct load {
	struct options o;
	const struct protocol *protocol;
	int epoll;
	SSL_CTX *ctx;
	struct sockaddr_storage address;
	socklen_t address_n;
	struct peer *peers;
	unsigned opened, ready, done, failed;
	uint8_t *payload; /* for streams masked beforehand */
	uint32_t payload_crc;
	uint64_t body_bytes; /* of all peers */
	bool measuring, paced;
	uint32_t *latencies_us;
	size_t n_latencies, latencies_room;
	uint64_t overrun;  /* chunks that were not sent since too many wait for acknowledgement */
	char failure[256]; /* the first */
};

int64_t now_us(void);

/* peer.c */
void peer_open(struct peer *p);
void peer_event(struct peer *p, uint32_t events);
void peer_flush(struct peer *p);
void peer_set_ready(struct peer *p);
void peer_done(struct peer *p);
void peer_fail(struct peer *p, const char *format, ...) __attribute__((format(printf, 2, 3)));
bool peer_is_idle(const struct peer *p); /* nothing waits to go out */
/* A connected TLS socket that blocks, for handshakes; `session` NULL: a full one. */
SSL *peer_connect_blocking(struct load *l, SSL_SESSION *session, char *why, size_t why_n);

/* stream.c */
extern const struct protocol stream_protocol;
void stream_send_chunk(struct peer *p, int64_t due_us);
void stream_pause(struct peer *p);

/* upload.c */
extern const struct protocol upload_protocol;

/* handshake.c */
int handshake_run(struct load *l);

void load_latency(struct load *l, int64_t us);
uint32_t load_crc(const struct load *l, uint64_t bytes); /* of a whole body of this length */

#endif
