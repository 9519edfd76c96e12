#include "net/websocket_frame.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

/* What the parser told, as text: "F<opcode><final> P<bytes> E", or "B<code>". */
struct told {
	char text[512];
	unsigned char payload[70000];
	size_t payload_n;
	size_t used;
};

static void parse(struct websocket_parser *p, const unsigned char *data, size_t n, size_t step, struct told *t)
{
	static unsigned char copy[70100];
	memcpy(copy, data, n);
	*t = (struct told){0};
	size_t end = 0;
	for (;;) {
		size_t used = 0, piece_n = 0, text_n = strlen(t->text);
		unsigned char *piece = NULL;
		int code = 0;
		enum websocket_event what =
		    websocket_parse(p, copy + t->used, end - t->used, &used, &piece, &piece_n, &code);
		t->used += used;
		switch (what) {
		case WEBSOCKET_MORE:
			assert_int_equal(t->used, end);
			if (end == n)
				return;
			end = MIN(n, end + step);
			break;
		case WEBSOCKET_FRAME:
			(void)snprintf(t->text + text_n, sizeof(t->text) - text_n, "F%d%s ", (int)p->opcode,
				       p->final ? "!" : "");
			break;
		case WEBSOCKET_PIECE:
			assert_true(piece_n > 0);
			memcpy(t->payload + t->payload_n, piece, piece_n);
			t->payload_n += piece_n;
			break;
		case WEBSOCKET_END:
			(void)snprintf(t->text + text_n, sizeof(t->text) - text_n, "E ");
			break;
		case WEBSOCKET_BROKEN:
			(void)snprintf(t->text + text_n, sizeof(t->text) - text_n, "B%d", code);
			return;
		}
	}
}

static void test_reads_the_standards_example(void **state _unused_)
{
	/* RFC 6455 section 5.7 */
	static const unsigned char hello[] = {0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58};
	static struct told t;
	for (size_t step = 1; step <= sizeof(hello); step++) {
		struct websocket_parser p;
		websocket_parser_init(&p, 100);
		parse(&p, hello, sizeof(hello), step, &t);
		assert_string_equal(t.text, "F1! E ");
		assert_memory_equal(t.payload, "Hello", 5);
	}
}

static size_t frame(unsigned char *to, int first, const unsigned char *payload, size_t n)
{
	static const unsigned char key[4] = {0xa1, 0x02, 0x73, 0xc4};
	size_t at = websocket_frame_head(WEBSOCKET_BINARY, n, to);
	to[0] = (unsigned char)first;
	to[1] |= 0x80;
	memcpy(to + at, key, 4);
	at += 4;
	for (size_t i = 0; i < n; i++)
		to[at + i] = payload[i] ^ key[i % 4];
	return at + n;
}

static void test_unmasks_whatever_the_cut(void **state _unused_)
{
	static unsigned char payload[66000], wire[66100];
	static struct told t;
	for (size_t i = 0; i < sizeof(payload); i++)
		payload[i] = (unsigned char)(i * 31);
	static const size_t sizes[] = {0, 1, 7, 8, 125, 126, 127, 65535, 65536, 66000};
	static const size_t steps[] = {1, 2, 3, 5, 7, 8, 13, 16384, 70000};
	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++)
		for (size_t k = sizes[i] > 1000 ? 3 : 0; k < ARRAY_SIZE(steps); k++) {
			struct websocket_parser p;
			websocket_parser_init(&p, 66000);
			size_t n = frame(wire, 0x82, payload, sizes[i]);
			parse(&p, wire, n, steps[k], &t);
			assert_string_equal(t.text, "F2! E ");
			assert_int_equal(t.payload_n, sizes[i]);
			assert_memory_equal(t.payload, payload, sizes[i]);
		}
}

static void test_control_frames_stand_between_fragments(void **state _unused_)
{
	unsigned char wire[200];
	static struct told t;
	size_t n = frame(wire, 0x02, (const unsigned char *)"ab", 2);
	n += frame(wire + n, 0x89, (const unsigned char *)"?", 1);
	n += frame(wire + n, 0x00, NULL, 0);
	n += frame(wire + n, 0x80, (const unsigned char *)"cd", 2);
	n += frame(wire + n, 0x88, NULL, 0);
	struct websocket_parser p;
	websocket_parser_init(&p, 4);
	parse(&p, wire, n, 1, &t);
	assert_string_equal(t.text, "F2 E F9! E F0 E F0! E F8! E ");
	assert_memory_equal(t.payload, "ab?cd", 5);
}

static void test_refuses(void **state _unused_)
{
	static const struct {
		const char *told;
		unsigned n;
		unsigned char bytes[16];
	} cases[] = {
	    {"B1002", 2, {0x81, 0x05}},			    /* not masked */
	    {"B1002", 2, {0xc1, 0x80}},			    /* reserved bits */
	    {"B1002", 2, {0xa1, 0x80}},			    /* */
	    {"B1002", 2, {0x91, 0x80}},			    /* */
	    {"B1002", 2, {0x83, 0x80}},			    /* unknown opcodes */
	    {"B1002", 2, {0x8b, 0x80}},			    /* */
	    {"B1002", 2, {0x80, 0x80}},			    /* nothing to continue */
	    {"B1002", 2, {0x09, 0x80}},			    /* a fragmented ping */
	    {"B1002", 2, {0x89, 0xfe}},			    /* a long ping */
	    {"B1002", 8, {0x82, 0xfe, 0, 125, 1, 2, 3, 4}}, /* lengths longer than they need be */
	    {"B1002", 14, {0x82, 0xff, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 1, 2, 3, 4}},
	    {"B1002", 14, {0x82, 0xff, 0x80, 0, 0, 0, 0, 1, 0, 0, 1, 2, 3, 4}},
	    {"B1009", 8, {0x82, 0xfe, 0, 200, 1, 2, 3, 4}}, /* over the limit of 150 */
	    {"B1009", 14, {0x82, 0xff, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 2, 3, 4}},
	    {"F2 E B1002", 12, {0x02, 0x80, 1, 2, 3, 4, 0x82, 0x80, 1, 2, 3, 4}}, /* a message inside another */
	};
	static struct told t;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
		for (size_t step = 1; step <= 16; step += 15) {
			struct websocket_parser p;
			websocket_parser_init(&p, 150);
			parse(&p, cases[i].bytes, cases[i].n, step, &t);
			if (strcmp(t.text, cases[i].told) != 0)
				fail_msg("case %zu told %s, not %s", i, t.text, cases[i].told);
		}
}

static void test_adds_fragments_up(void **state _unused_)
{
	static const unsigned char payload[100];
	unsigned char wire[400];
	static struct told t;
	size_t n = frame(wire, 0x02, payload, 100);
	n += frame(wire + n, 0x80, payload, 100);
	struct websocket_parser p;
	websocket_parser_init(&p, 150);
	parse(&p, wire, n, 1000, &t);
	assert_string_equal(t.text, "F2 E B1009");
	/* the next message begins at zero */
	websocket_parser_init(&p, 150);
	n = frame(wire, 0x82, payload, 100);
	n += frame(wire + n, 0x82, payload, 100);
	parse(&p, wire, n, 1000, &t);
	assert_string_equal(t.text, "F2! E F2! E ");
}

static void test_knows_close_codes(void **state _unused_)
{
	static const int good[] = {1000, 1001, 1002, 1003, 1007, 1011, 1014, 3000, 4999};
	static const int bad[] = {0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 65535};
	for (size_t i = 0; i < ARRAY_SIZE(good); i++)
		assert_true(websocket_code_valid(good[i]));
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		assert_false(websocket_code_valid(bad[i]));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_reads_the_standards_example),
	    cmocka_unit_test(test_unmasks_whatever_the_cut),
	    cmocka_unit_test(test_control_frames_stand_between_fragments),
	    cmocka_unit_test(test_refuses),
	    cmocka_unit_test(test_adds_fragments_up),
	    cmocka_unit_test(test_knows_close_codes),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
