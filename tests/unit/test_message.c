/* with: services/ingest/message.c */
#include "../../services/ingest/message.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#define TAKE "7f3b1c3e-8a4d-4f1e-9a55-0d1f4f6a2b11"

static int read_text(const char *text, struct message *m, struct error *e)
{
	return message_read(text, strlen(text), m, e);
}

static void a_start_says_what_the_page_knows(void **state)
{
	(void)state;
	struct message m = {0};
	struct error e = {0};
	assert_int_equal(read_text("{\"type\":\"start\",\"take\":\"" TAKE
				   "\",\"mime\":\"video/webm\",\"source\":\"screen\",\"started_at\":\"now\","
				   "\"devices\":{\"camera\":\"x\"},\"replaces\":\"" TAKE "\"}",
				   &m, &e),
			 0);
	assert_int_equal(m.type, MESSAGE_START);
	assert_string_equal(m.mime, "video/webm");
	assert_string_equal(m.source, "screen");
	assert_true(json_is_object(m.devices));
	assert_true(uuid_equal(&m.take, &m.replaces));
	message_done(&m);
}

static void a_stop_may_say_the_total(void **state)
{
	(void)state;
	struct message m = {0};
	struct error e = {0};
	assert_int_equal(read_text("{\"type\":\"stop\",\"bytes\":70000,\"crc32\":\"CBF43926\"}", &m, &e), 0);
	assert_true(m.has_bytes && m.has_crc);
	assert_int_equal(m.bytes, 70000);
	assert_int_equal(m.crc32, 0xcbf43926);
	message_done(&m);
	assert_int_equal(read_text("{\"type\":\"stop\",\"sha256\":"
				   "\"00112233445566778899AABBCCDDEEFF00112233445566778899aabbccddeeff\"}",
				   &m, &e),
			 0);
	assert_true(m.has_sha256 && !m.has_bytes && !m.has_crc);
	assert_int_equal(m.sha256[1], 0x11);
	assert_int_equal(m.sha256[31], 0xff);
	message_done(&m);
	assert_int_equal(read_text("{\"type\":\"stop\"}", &m, &e), 0);
	assert_false(m.has_bytes || m.has_crc || m.has_sha256);
	message_done(&m);
}

static void wrong_messages_are_refused(void **state)
{
	(void)state;
	static const struct {
		const char *text;
		int code;
	} wrong[] = {
	    {"", ERR_REJECT},
	    {"{", ERR_REJECT},
	    {"[]", ERR_REJECT},
	    {"{}", ERR_REJECT},
	    {"{\"type\":5}", ERR_REJECT},
	    {"{\"type\":\"dance\"}", ERR_NOTFOUND},
	    {"{\"type\":\"start\"}", ERR_REJECT},
	    {"{\"type\":\"start\",\"take\":\"x\"}", ERR_REJECT},
	    {"{\"type\":\"token\"}", ERR_REJECT},
	    {"{\"type\":\"stop\",\"bytes\":-1}", ERR_REJECT},
	    {"{\"type\":\"stop\",\"crc32\":\"12\"}", ERR_REJECT},
	    {"{\"type\":\"stop\",\"sha256\":\"ab\"}", ERR_REJECT},
	    {"{\"type\":\"stop\",\"sha256\":\"xyxyxyxyxyxyxyxyxyxyxyxyxyxyxyxyxyxyxyxyxyxyxyxyxyxyxyxyxyxyxyxy\"}",
	     ERR_REJECT},
	    {"{\"type\":\"stop\",\"crc32\":\"xyzxyzxy\"}", ERR_REJECT},
	    {"{\"type\":\"send\",\"type\":\"send\"}", ERR_REJECT},
	};
	for (size_t i = 0; i < ARRAY_SIZE(wrong); i++) {
		struct message m = {0};
		struct error e = {0};
		assert_int_equal(read_text(wrong[i].text, &m, &e), wrong[i].code);
	}
	_cleanup_(freep) char *big = malloc(MESSAGE_BYTES_MAX + 1);
	struct message m = {0};
	assert_non_null(big);
	memset(big, ' ', MESSAGE_BYTES_MAX + 1);
	assert_int_equal(message_read(big, MESSAGE_BYTES_MAX + 1, &m, NULL), ERR_REJECT);
}

static void a_frame_head_is_big_endian(void **state)
{
	(void)state;
	const uint8_t head[FRAME_HEAD_BYTES] = {0, 0, 0, 1, 0, 0, 0, 2, 0xca, 0xfe, 0xba, 0xbe};
	struct frame_head h = frame_head_read(head);
	assert_int_equal(h.offset, ((uint64_t)1 << 32) + 2);
	assert_int_equal(h.crc32, 0xcafebabe);
}

static void a_take_has_one_recording_in_its_session(void **state)
{
	(void)state;
	struct uuid session = uuid_v7(), other = uuid_v7(), take = uuid_v4(), a, b, c, d;
	struct uuid next = uuid_v4();
	assert_int_equal(message_recording(&session, &take, &a, NULL), 0);
	assert_int_equal(message_recording(&session, &take, &b, NULL), 0);
	assert_int_equal(message_recording(&other, &take, &c, NULL), 0);
	assert_int_equal(message_recording(&session, &next, &d, NULL), 0);
	assert_true(uuid_equal(&a, &b));
	assert_false(uuid_equal(&a, &c));
	assert_false(uuid_equal(&a, &d));
	assert_memory_equal(a.b, session.b, 6); /* the session's time */
	assert_int_equal(a.b[6] >> 4, 7);
	assert_int_equal(a.b[8] >> 6, 2);
}

static void answers_are_json_whatever_they_say(void **state)
{
	(void)state;
	char out[MESSAGE_OUT_BYTES];
	json_t *object = NULL;
	char text[600];
	memset(text, 'a', sizeof(text) - 1);
	memcpy(text, "\"quoted\"\\\n\x01", 11);
	text[sizeof(text) - 1] = '\0';
	size_t n = message_error(out, "gap", text, true);
	assert_int_equal(json_parse(out, n, &object, NULL), 0);
	assert_string_equal(json_string_value(json_object_get(object, "code")), "gap");
	assert_true(json_is_true(json_object_get(object, "retry")));
	json_decref(object);
	struct uuid recording = uuid_v7();
	n = message_ready(out, &recording, UINT64_C(1) << 40, false, true);
	assert_int_equal(json_parse(out, n, &object, NULL), 0);
	assert_int_equal(json_integer_value(json_object_get(object, "offset")), UINT64_C(1) << 40);
	json_decref(object);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(a_start_says_what_the_page_knows),
	    cmocka_unit_test(a_stop_may_say_the_total),
	    cmocka_unit_test(wrong_messages_are_refused),
	    cmocka_unit_test(a_frame_head_is_big_endian),
	    cmocka_unit_test(a_take_has_one_recording_in_its_session),
	    cmocka_unit_test(answers_are_json_whatever_they_say),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
