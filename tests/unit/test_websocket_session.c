/* with: tests/unit/net_fixture.c */
#include "net/websocket.h"
#include "net_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#define KEY "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
#define UPGRADE                                                                                    \
	"GET /ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: keep-alive, Upgrade\r\n" \
	"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: other, rushes.stream.v1\r\n" KEY "\r\n"

static struct seen {
	_Atomic size_t binary_bytes;
	_Atomic unsigned begins, ends, ended;
	_Atomic int code;
	struct websocket *open;
} seen;

static void on_text(struct websocket *w, const char *text, size_t n, void *arg _unused_)
{
	if (strcmp(text, "pause") == 0)
		websocket_pause(w);
	else if (strcmp(text, "close") == 0)
		websocket_close(w, 4001, "as asked");
	else if (strcmp(text, "abort") == 0)
		websocket_abort(w);
	else
		assert_int_equal(websocket_send_text(w, text, n), 0);
}

static void on_begin(struct websocket *w _unused_, void *arg _unused_)
{
	atomic_fetch_add(&seen.begins, 1);
}

static void on_piece(struct websocket *w _unused_, const void *data _unused_, size_t n, void *arg _unused_)
{
	atomic_fetch_add(&seen.binary_bytes, n);
}

static void on_binary_end(struct websocket *w _unused_, void *arg _unused_)
{
	atomic_fetch_add(&seen.ends, 1);
}

static void on_end(struct websocket *w _unused_, int code, void *arg _unused_)
{
	atomic_store(&seen.code, code);
	seen.open = NULL;
	atomic_fetch_add(&seen.ended, 1);
}

static void get_ws(struct http_request *r, void *arg)
{
	static const char *const protocols[] = {"rushes.stream.v1", NULL};
	static const struct websocket_callbacks cb = {.on_text = on_text,
						      .on_binary_begin = on_begin,
						      .on_binary = on_piece,
						      .on_binary_end = on_binary_end,
						      .on_end = on_end};
	struct websocket_options o = *(const struct websocket_options *)arg;
	o.subprotocols = protocols;
	if (websocket_accept(r, &o, &cb, NULL, &seen.open) == 0)
		assert_string_equal(websocket_subprotocol(seen.open), "rushes.stream.v1");
}

static const struct http_route routes[] = {{"GET", "/ws", get_ws, HTTP_BODY_NONE, 0}, {0}};

static struct fixture_server *start(const struct websocket_options *o)
{
	memset(&seen, 0, sizeof(seen));
	return fixture_start((struct http_server_options){.routes = routes, .arg = (void *)o});
}

static const struct websocket_options plain = {.message_bytes_max = 4 * 1024 * 1024, .text_bytes_max = 1000};

static struct raw open_websocket(struct fixture_server *s)
{
	struct raw c = raw_connect(s->port, NULL);
	raw_text(&c, UPGRADE);
	assert_int_equal(raw_answer(&c, NULL, 0), 101);
	return c;
}

/* Sends a masked frame; `first` is its first byte. */
static void send_frame(struct raw *c, int first, const void *payload, size_t n)
{
	unsigned char *wire = malloc(n + 14);
	assert_non_null(wire);
	size_t at = 2;
	wire[0] = (unsigned char)first;
	wire[1] = (unsigned char)(0x80 | (n < 126 ? n : n <= 65535 ? 126 : 127));
	for (int bytes = n < 126 ? 0 : n <= 65535 ? 2 : 8; bytes > 0; bytes--)
		wire[at++] = (unsigned char)((uint64_t)n >> (8 * (bytes - 1)));
	static const unsigned char key[4] = {1, 2, 3, 4};
	memcpy(wire + at, key, 4);
	at += 4;
	for (size_t i = 0; i < n; i++)
		wire[at + i] = ((const unsigned char *)payload)[i] ^ key[i % 4];
	raw_send(c, wire, at + n);
	free(wire);
}

/* Reads one short frame: its first byte, payload ended by a NUL; -1 when the connection ended. */
static int read_frame(struct raw *c, char *payload, size_t *ret_n)
{
	unsigned char head[2];
	for (int i = 0; i < 2; i++)
		if (raw_read(c, head + i, 1, 5000) != 1)
			return -1;
	assert_true(head[1] < 126);
	for (unsigned i = 0; i < head[1]; i++)
		assert_int_equal(raw_read(c, payload + i, 1, 5000), 1);
	payload[head[1]] = '\0';
	*ret_n = head[1];
	return head[0];
}

static bool reaches(_Atomic unsigned *counter, unsigned value)
{
	const struct timespec t = {.tv_nsec = 5000000};
	for (int i = 0; i < 1000 && atomic_load(counter) < value; i++)
		(void)nanosleep(&t, NULL);
	return atomic_load(counter) >= value;
}

/* Reads frames until the server's close, whose code comes back; then expects the end. */
static int closing_code(struct raw *c)
{
	char payload[128];
	size_t n;
	int first;
	while ((first = read_frame(c, payload, &n)) >= 0 && first != 0x88)
		;
	if (first < 0)
		return -1;
	return n >= 2 ? (unsigned char)payload[0] << 8 | (unsigned char)payload[1] : 0;
}

static void test_speaks(void **state _unused_)
{
	struct fixture_server *s = start(&plain);
	struct raw c = open_websocket(s);
	char payload[128];
	size_t n;
	send_frame(&c, 0x81, "h\xc3\xa9", 3);
	assert_int_equal(read_frame(&c, payload, &n), 0x81);
	assert_string_equal(payload, "h\xc3\xa9");
	/* a ping between the fragments of a text, cut inside a character */
	send_frame(&c, 0x01, "fra\xc3", 4);
	send_frame(&c, 0x89, "ping", 4);
	send_frame(&c, 0x80, "\xa9g", 2);
	assert_int_equal(read_frame(&c, payload, &n), 0x8a);
	assert_string_equal(payload, "ping");
	assert_int_equal(read_frame(&c, payload, &n), 0x81);
	assert_string_equal(payload, "fra\xc3\xa9g");
	/* a message larger than any buffer, and an empty one */
	static char big[3000000];
	send_frame(&c, 0x82, big, sizeof(big));
	send_frame(&c, 0x82, NULL, 0);
	assert_true(reaches(&seen.ends, 2));
	assert_int_equal(atomic_load(&seen.begins), 2);
	assert_int_equal(atomic_load(&seen.binary_bytes), sizeof(big));
	send_frame(&c, 0x88, "\x03\xe8", 2);
	assert_int_equal(closing_code(&c), 1000);
	assert_int_equal(raw_read(&c, payload, 1, 5000), 0);
	assert_true(reaches(&seen.ended, 1));
	assert_int_equal(atomic_load(&seen.code), 1000);
	raw_close(&c);
	fixture_stop(s);
}

static void test_closes(void **state _unused_)
{
	struct fixture_server *s = start(&plain);
	struct raw c = open_websocket(s);
	char payload[128];
	size_t n;
	send_frame(&c, 0x81, "close", 5);
	assert_int_equal(read_frame(&c, payload, &n), 0x88);
	assert_memory_equal(payload,
			    "\x0f\xa1"
			    "as asked",
			    n);
	send_frame(&c, 0x88, "\x0f\xa1", 2);
	assert_true(reaches(&seen.ended, 1));
	assert_int_equal(atomic_load(&seen.code), 4001);
	raw_close(&c);
	c = open_websocket(s);
	send_frame(&c, 0x81, "abort", 5);
	assert_int_equal(raw_read(&c, payload, 1, 5000), 0);
	assert_true(reaches(&seen.ended, 2));
	assert_int_equal(atomic_load(&seen.code), WEBSOCKET_ABNORMAL);
	raw_close(&c);
	c = open_websocket(s);
	raw_close(&c);
	assert_true(reaches(&seen.ended, 3));
	assert_int_equal(atomic_load(&seen.code), WEBSOCKET_ABNORMAL);
	fixture_stop(s);
}

static void test_refuses_frames(void **state _unused_)
{
	static char long_text[1001];
	memset(long_text, 'x', sizeof(long_text));
	static const struct {
		int first;
		const char *payload;
		size_t n;
		int code;
	} cases[] = {
	    {0x81, "\xff", 1, 1007},
	    {0x81, "\xc3", 1, 1007},
	    {0x81, "\xed\xa0\x80", 3, 1007},
	    {0xc1, "x", 1, 1002},
	    {0x83, "x", 1, 1002},
	    {0x80, "x", 1, 1002},
	    {0x81, long_text, 1001, 1009},
	    {0x88, "x", 1, 1002},
	    {0x88, "\x03\xed", 2, 1002},
	    {0x88, "\x03\xe8\xff", 3, 1002},
	    {0x88, NULL, 0, 0},
	};
	struct fixture_server *s = start(&plain);
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct raw c = open_websocket(s);
		send_frame(&c, cases[i].first, cases[i].payload, cases[i].n);
		int code = closing_code(&c);
		if (code != cases[i].code)
			fail_msg("case %zu closed with %d", i, code);
		raw_close(&c);
		assert_true(reaches(&seen.ended, (unsigned)i + 1));
	}
	fixture_stop(s);
}

static void test_refuses_handshakes(void **state _unused_)
{
	static const struct {
		const char *headers;
		int status;
	} cases[] = {
	    {"", 426},
	    {"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 8\r\n" KEY, 426},
	    {"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n" KEY, 400},
	    {"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
	     "Sec-WebSocket-Protocol: other\r\n" KEY,
	     400},
	    {"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
	     "Sec-WebSocket-Protocol: rushes.stream.v1\r\nSec-WebSocket-Key: short\r\n",
	     400},
	    {"Upgrade: h2c\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n" KEY, 426},
	};
	struct fixture_server *s = start(&plain);
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		char request[1024];
		(void)snprintf(request, sizeof(request), "GET /ws HTTP/1.1\r\nHost: x\r\n%s\r\n", cases[i].headers);
		struct raw c = raw_connect(s->port, NULL);
		raw_text(&c, request);
		assert_int_equal(raw_answer(&c, NULL, 0), cases[i].status);
		raw_close(&c);
	}
	assert_int_equal(atomic_load(&seen.ended), 0);
	fixture_stop(s);
}

static void test_silent_peers_are_dropped(void **state _unused_)
{
	static const struct websocket_options quick = {.ping_ms = 200, .pong_ms = 200};
	struct fixture_server *s = start(&quick);
	struct raw c = open_websocket(s);
	char payload[128];
	size_t n;
	for (int i = 0; i < 3; i++) {
		assert_int_equal(read_frame(&c, payload, &n), 0x89);
		send_frame(&c, 0x8a, payload, n);
	}
	assert_int_equal(read_frame(&c, payload, &n), 0x89);
	assert_int_equal(read_frame(&c, payload, &n), -1);
	assert_true(reaches(&seen.ended, 1));
	assert_int_equal(atomic_load(&seen.code), WEBSOCKET_ABNORMAL);
	raw_close(&c);
	fixture_stop(s);
}

static void resume(void *arg _unused_)
{
	if (seen.open)
		websocket_resume(seen.open);
}

static void test_pauses(void **state _unused_)
{
	struct fixture_server *s = start(&plain);
	struct raw c = open_websocket(s);
	char payload[128];
	size_t n;
	send_frame(&c, 0x81, "pause", 5);
	send_frame(&c, 0x82, "bytes", 5);
	send_frame(&c, 0x81, "later", 5);
	assert_int_equal(raw_read(&c, payload, 1, 100), -1);
	assert_int_equal(atomic_load(&seen.begins), 0);
	fixture_call(s, resume, NULL);
	assert_int_equal(read_frame(&c, payload, &n), 0x81);
	assert_string_equal(payload, "later");
	assert_int_equal(atomic_load(&seen.binary_bytes), 5);
	raw_close(&c);
	fixture_stop(s);
}

static void fill(void *arg)
{
	static char text[50000];
	unsigned *sent = arg;
	memset(text, 'x', sizeof(text));
	while (websocket_send_text(seen.open, text, sizeof(text)) == 0)
		(*sent)++;
}

static void test_bounds_the_queue(void **state _unused_)
{
	struct fixture_server *s = start(&plain);
	struct raw c = open_websocket(s);
	unsigned sent = 0;
	fixture_call(s, fill, &sent);
	assert_int_equal(sent, 5); /* of 50,000 bytes each into 256 KiB */
	raw_close(&c);
	assert_true(reaches(&seen.ended, 1));
	fixture_stop(s);
}

static void test_drain_says_goodbye(void **state _unused_)
{
	struct fixture_server *s = start(&plain);
	struct raw c = open_websocket(s);
	assert_false(fixture_drain(s, 50));
	assert_int_equal(closing_code(&c), 1001);
	send_frame(&c, 0x88, "\x03\xe9", 2);
	assert_true(reaches(&seen.ended, 1));
	raw_close(&c);
	const struct timespec t = {.tv_nsec = 5000000};
	for (int i = 0; i < 1000 && !atomic_load(&s->drained); i++)
		(void)nanosleep(&t, NULL);
	assert_true(atomic_load(&s->drained));
	fixture_stop(s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_speaks),
	    cmocka_unit_test(test_closes),
	    cmocka_unit_test(test_refuses_frames),
	    cmocka_unit_test(test_refuses_handshakes),
	    cmocka_unit_test(test_silent_peers_are_dropped),
	    cmocka_unit_test(test_pauses),
	    cmocka_unit_test(test_bounds_the_queue),
	    cmocka_unit_test(test_drain_says_goodbye),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
