/* Drives one server with one kind of load and prints what came of it, an object a line. See tests/bench/ingest.mjs. */
#include "load.h"

#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <openssl/rand.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>
#include <zlib.h>

#define EVENTS_PER_TURN 256
/* How long the last acknowledgements and answers may take. */
#define LAST_ANSWERS_US ((int64_t)30 * 1000 * 1000)
/* And the first ones, which wait for the database. */
#define FIRST_ANSWERS_US ((int64_t)240 * 1000 * 1000)

static const char *const mode_names[MODE_MAX] = {"stream", "put", "post", "tus", "handshake"};

static const char usage[] =
    "usage: bench-load MODE --port N --ca FILE [options]\n"
    "  MODE                stream, put, post, tus, handshake\n"
    "  --host ADDRESS      127.0.0.1        --name NAME  that the certificate must carry: localhost\n"
    "  --path PATH         of the request   --token-file FILE  what is sent as the bearer\n"
    "  --streams N         connections: 1   --open-rate N  opened a second: 500\n"
    "  --bytes N           of each: 64 MiB  --message N    in one message or write: 256 KiB\n"
    "  --interval MS       a message of each stream every MS, for --seconds N behind --warm N seconds\n"
    "  --hold              stay connected until standard input ends\n"
    "  --resume            handshakes by the last one's ticket\n";

int64_t now_us(void)
{
	struct timespec t;
	(void)clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

void load_latency(struct load *l, int64_t us)
{
	if (!l->measuring)
		return;
	if (l->n_latencies == l->latencies_room) {
		l->latencies_room = l->latencies_room ? 2 * l->latencies_room : 65536;
		l->latencies_us = realloc(l->latencies_us, l->latencies_room * sizeof(*l->latencies_us));
		if (!l->latencies_us)
			abort();
	}
	l->latencies_us[l->n_latencies++] = us > UINT32_MAX ? UINT32_MAX : (uint32_t)us;
}

uint32_t load_crc(const struct load *l, uint64_t bytes)
{
	static uint64_t known_bytes;
	static uint32_t known;
	if (bytes == known_bytes)
		return known;
	uint32_t crc = 0;
	uint64_t left = bytes, message = l->o.message_bytes;
	for (; left >= message; left -= message)
		crc = (uint32_t)crc32_combine(crc, l->payload_crc, (z_off_t)message);
	uint8_t piece[4096];
	for (uint64_t at = 0; at < left; at += sizeof(piece)) {
		size_t n = left - at < sizeof(piece) ? left - at : sizeof(piece);
		for (size_t i = 0; i < n; i++)
			piece[i] = l->payload[at + i] ^ (l->o.mode == MODE_STREAM ? (uint8_t)MASK_KEY[i % 4] : 0);
		crc = (uint32_t)crc32(crc, piece, (unsigned)n);
	}
	known_bytes = bytes;
	known = crc;
	return crc;
}

static bool make_payload(struct load *l)
{
	size_t n = l->o.message_bytes;
	l->payload = malloc(n);
	if (!l->payload)
		return false;
	for (size_t at = 0; at < n; at += 65536)
		(void)RAND_bytes(l->payload + at, (int)(n - at < 65536 ? n - at : 65536));
	l->payload_crc = (uint32_t)crc32(0, l->payload, (unsigned)n);
	for (size_t i = 0; i < n && l->o.mode == MODE_STREAM; i++)
		l->payload[i] ^= (uint8_t)MASK_KEY[i % 4];
	return true;
}

static char *read_token(const char *file)
{
	char *token = calloc(1, 4097);
	FILE *f = file ? fopen(file, "r") : NULL;
	if (file && (!f || !token || fread(token, 1, 4096, f) == 0)) {
		(void)fprintf(stderr, "cannot read %s\n", file);
		exit(2);
	}
	if (f)
		(void)fclose(f);
	if (token)
		token[strcspn(token, "\r\n")] = '\0';
	return token;
}

static uint64_t big_number(const char *text)
{
	char *end = NULL;
	errno = 0;
	uint64_t n = strtoull(text, &end, 10);
	if (errno != 0 || end == text || *end) {
		(void)fprintf(stderr, "%s is no number\n", text);
		exit(2);
	}
	return n;
}

static unsigned number(const char *text)
{
	uint64_t n = big_number(text);
	return n > UINT32_MAX ? UINT32_MAX : (unsigned)n;
}

static void parse(int argc, char **argv, struct options *o)
{
	static const struct option names[] = {
	    {"host", 1, NULL, 'h'},
	    {"port", 1, NULL, 'p'},
	    {"name", 1, NULL, 'n'},
	    {"ca", 1, NULL, 'c'},
	    {"path", 1, NULL, 'P'},
	    {"token-file", 1, NULL, 't'},
	    {"streams", 1, NULL, 's'},
	    {"bytes", 1, NULL, 'b'},
	    {"message", 1, NULL, 'm'},
	    {"interval", 1, NULL, 'i'},
	    {"seconds", 1, NULL, 'S'},
	    {"warm", 1, NULL, 'w'},
	    {"open-rate", 1, NULL, 'r'},
	    {"hold", 0, NULL, 'H'},
	    {"resume", 0, NULL, 'R'},
	    {"help", 0, NULL, '?'},
	    {0},
	};
	const char *token_file = NULL;
	*o = (struct options){.mode = MODE_MAX,
			      .host = "127.0.0.1",
			      .name = "localhost",
			      .path = "/",
			      .streams = 1,
			      .open_rate = 500,
			      .warm_seconds = 3,
			      .bytes = 64 << 20,
			      .message_bytes = 256 << 10};
	for (int c; (c = getopt_long(argc, argv, "", names, NULL)) >= 0;) {
		switch (c) {
		case 'h':
			o->host = optarg;
			break;
		case 'p':
			o->port = number(optarg);
			break;
		case 'n':
			o->name = optarg;
			break;
		case 'c':
			o->ca = optarg;
			break;
		case 'P':
			o->path = optarg;
			break;
		case 't':
			token_file = optarg;
			break;
		case 's':
			o->streams = number(optarg);
			break;
		case 'b':
			o->bytes = big_number(optarg);
			break;
		case 'm':
			o->message_bytes = big_number(optarg);
			break;
		case 'i':
			o->interval_ms = number(optarg);
			break;
		case 'S':
			o->seconds = number(optarg);
			break;
		case 'w':
			o->warm_seconds = number(optarg);
			break;
		case 'r':
			o->open_rate = number(optarg);
			break;
		case 'H':
			o->hold = true;
			break;
		case 'R':
			o->resume = true;
			break;
		default:
			(void)fputs(usage, stderr);
			exit(2);
		}
	}
	for (int m = 0; m < MODE_MAX && optind == argc - 1; m++)
		if (strcmp(argv[optind], mode_names[m]) == 0)
			o->mode = (enum mode)m;
	if (o->mode == MODE_MAX || o->port == 0 || !o->ca || o->streams == 0 || o->open_rate == 0 ||
	    o->message_bytes == 0) {
		(void)fputs(usage, stderr);
		exit(2);
	}
	o->token = read_token(token_file);
}

static bool set_up(struct load *l)
{
	struct rlimit files;
	if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
		files.rlim_cur = files.rlim_max;
		(void)setrlimit(RLIMIT_NOFILE, &files);
	}
	(void)signal(SIGPIPE, SIG_IGN);
	l->paced = l->o.interval_ms > 0;
	l->protocol = l->o.mode == MODE_STREAM ? &stream_protocol : &upload_protocol;
	struct sockaddr_in *v4 = (struct sockaddr_in *)&l->address;
	v4->sin_family = AF_INET;
	v4->sin_port = htons((uint16_t)l->o.port);
	l->address_n = sizeof(*v4);
	l->ctx = SSL_CTX_new(TLS_client_method());
	l->epoll = epoll_create1(EPOLL_CLOEXEC);
	l->peers = calloc(l->o.streams, sizeof(*l->peers));
	if (!l->ctx || l->epoll < 0 || !l->peers || !make_payload(l) ||
	    inet_pton(AF_INET, l->o.host, &v4->sin_addr) != 1)
		return false;
	(void)SSL_CTX_set_min_proto_version(l->ctx, TLS1_3_VERSION);
	(void)SSL_CTX_set_mode(l->ctx, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE |
					   SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
	(void)SSL_CTX_set_options(l->ctx, SSL_OP_IGNORE_UNEXPECTED_EOF);
	SSL_CTX_set_verify(l->ctx, SSL_VERIFY_PEER, NULL);
	for (unsigned i = 0; i < l->o.streams; i++)
		l->peers[i] = (struct peer){.load = l, .number = i, .fd = -1};
	return SSL_CTX_load_verify_locations(l->ctx, l->o.ca, NULL) == 1;
}

static void turn(struct load *l, int wait_ms)
{
	struct epoll_event events[EVENTS_PER_TURN];
	int n = epoll_wait(l->epoll, events, EVENTS_PER_TURN, wait_ms);
	for (int i = 0; i < n; i++) {
		struct peer *p = events[i].data.ptr;
		if (p->state != PEER_DONE && p->state != PEER_FAILED)
			peer_event(p, events[i].events);
	}
}

static void open_due(struct load *l, int64_t began_us)
{
	uint64_t due = 1 + (uint64_t)(now_us() - began_us) * l->o.open_rate / 1000000;
	while (l->opened < l->o.streams && l->opened < due)
		peer_open(&l->peers[l->opened++]);
}

static void say(const char *event, unsigned streams)
{
	(void)printf("{\"event\":\"%s\",\"streams\":%u}\n", event, streams);
	(void)fflush(stdout);
}

/* Everything as fast as it goes, until all have ended. With --hold: until all are there and quiet. */
static void run_at_once(struct load *l)
{
	int64_t began = now_us();
	bool waits_for_bytes = l->o.hold && l->o.bytes > 0;
	for (;;) {
		open_due(l, began);
		turn(l, l->opened < l->o.streams ? 1 : 1000);
		unsigned there = l->o.hold && !waits_for_bytes ? l->ready : l->done;
		if (there + l->failed >= l->o.streams)
			return;
	}
}

static unsigned still_waiting(const struct load *l)
{
	unsigned n = 0;
	for (unsigned i = 0; i < l->o.streams; i++)
		n += l->peers[i].state == PEER_READY && l->peers[i].n_waiting > 0;
	return n;
}

/* Message k of all is due at k * interval / streams: they are spread evenly. */
static void run_paced(struct load *l)
{
	int64_t began = now_us();
	while (l->ready + l->failed < l->o.streams || (still_waiting(l) > 0 && now_us() - began < FIRST_ANSWERS_US)) {
		open_due(l, began);
		turn(l, 1);
	}
	int64_t step_ns = (int64_t)l->o.interval_ms * 1000000 / l->o.streams;
	int64_t start = now_us(), measured = start + (int64_t)l->o.warm_seconds * 1000000;
	int64_t end = measured + (int64_t)l->o.seconds * 1000000;
	uint64_t k = 0;
	for (int64_t now = start; now < end; now = now_us()) {
		if (!l->measuring && now >= measured) {
			l->measuring = true;
			l->body_bytes = 0;
			say("measuring", l->ready);
		}
		for (; start + (int64_t)k * step_ns / 1000 <= now; k++)
			stream_send_chunk(&l->peers[k % l->o.streams], start + (int64_t)k * step_ns / 1000);
		turn(l, 1);
	}
	say("measured", l->ready);
}

/* What was sent last is given time to be acknowledged, then made durable by a pause. */
static void wait_for_last(struct load *l)
{
	int64_t end = now_us() + LAST_ANSWERS_US;
	while (still_waiting(l) > 0 && now_us() < end)
		turn(l, 10);
}

static void hold(struct load *l)
{
	say("holding", l->ready);
	struct epoll_event e = {.events = EPOLLIN}, got[EVENTS_PER_TURN];
	(void)epoll_ctl(l->epoll, EPOLL_CTL_ADD, STDIN_FILENO, &e);
	for (;;) {
		int n = epoll_wait(l->epoll, got, EVENTS_PER_TURN, 1000);
		for (int i = 0; i < n; i++) {
			char nothing[64];
			struct peer *p = got[i].data.ptr;
			if (!p && read(STDIN_FILENO, nothing, sizeof(nothing)) <= 0)
				return;
			if (p && p->state != PEER_DONE && p->state != PEER_FAILED)
				peer_event(p, got[i].events);
		}
	}
}

static int compare(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
	return (x > y) - (x < y);
}

static double at_percent(const struct load *l, double percent)
{
	if (l->n_latencies == 0)
		return 0;
	return l->latencies_us[(size_t)((double)(l->n_latencies - 1) * percent / 100)] / 1000.0;
}

static void report(struct load *l, int64_t took_us)
{
	if (l->n_latencies > 0)
		qsort(l->latencies_us, l->n_latencies, sizeof(*l->latencies_us), compare);
	(void)printf("{\"event\":\"end\",\"bytes\":%" PRIu64 ",\"seconds\":%.3f,\"done\":%u,\"failed\":%u,\"acks\":%zu,"
		     "\"p50_ms\":%.1f,\"p99_ms\":%.1f,\"max_ms\":%.1f,\"unacknowledged\":%u,\"overrun\":%" PRIu64 "}\n",
		     l->body_bytes, (double)took_us / 1e6, l->done, l->failed, l->n_latencies, at_percent(l, 50),
		     at_percent(l, 99), at_percent(l, 100), still_waiting(l), l->overrun);
	if (l->failed > 0)
		(void)fprintf(stderr, "%u of %u failed, the first: %s\n", l->failed, l->o.streams, l->failure);
}

int main(int argc, char **argv)
{
	static struct load l;
	parse(argc, argv, &l.o);
	if (!set_up(&l)) {
		(void)fprintf(stderr, "cannot begin: %s\n", strerror(errno));
		return 1;
	}
	if (l.o.mode == MODE_HANDSHAKE) {
		if (handshake_run(&l) == 0)
			return 0;
		(void)fprintf(stderr, "%s\n", l.failure);
		return 1;
	}
	int64_t began = now_us();
	if (l.paced) {
		run_paced(&l);
		wait_for_last(&l);
	} else {
		run_at_once(&l);
	}
	int64_t took = now_us() - began;
	if (l.o.hold)
		hold(&l);
	report(&l, took);
	return l.failed > 0 ? 1 : 0;
}
