/* with: services/transcoder/facts.c services/transcoder/child_protocol.c */
#include "../../services/transcoder/child_protocol.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>

#include <cmocka.h>

static struct facts sample(void)
{
	struct facts f = {
	    .container = "matroska",
	    .source_video = "vp9",
	    .source_audio = "opus",
	    .parts = 2,
	    .duration_s = 12.345678,
	    .has_video = true,
	    .has_audio = true,
	    .audio_copied = true,
	    .width = 1280,
	    .height = 632,
	    .frames = 370,
	    .sample_rate = 44100,
	    .channels = 1,
	    .truncated = true,
	    .dropped_packets = 3,
	    .frozen_from_s = -1,
	    .pictures = {.snapshot_width = 1280,
			 .snapshot_height = 632,
			 .thumbs = 13,
			 .columns = 5,
			 .rows = 3,
			 .thumb_width = 160,
			 .thumb_height = 78,
			 .interval = 1},
	};
	f.outputs[OUTPUT_MAIN] = (struct output_facts){.made = true, .bytes = 123456};
	memset(f.outputs[OUTPUT_MAIN].sha256, 'a', SHA256_TEXT_BYTES - 1);
	return f;
}

static void facts_travel_whole(void **state)
{
	(void)state;
	int pair[2];
	char text[CHILD_MESSAGE_BYTES_MAX];
	struct child_message sent = {.type = CHILD_DONE, .facts = sample()}, got;
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair), 0);
	assert_int_equal(child_message_send(pair[0], &sent, NULL), 0);
	ssize_t n = read(pair[1], text, sizeof(text));
	assert_true(n > 0);
	assert_int_equal(child_message_parse(text, (size_t)n, &got, NULL), 0);
	assert_int_equal(got.type, CHILD_DONE);
	assert_string_equal(got.facts.source_video, "vp9");
	assert_true(got.facts.duration_s == 12.345678);
	assert_true(got.facts.audio_copied && !got.facts.video_copied && got.facts.truncated);
	assert_int_equal(got.facts.frames, 370);
	assert_int_equal(got.facts.pictures.thumbs, 13);
	assert_true(got.facts.outputs[OUTPUT_MAIN].made && !got.facts.outputs[OUTPUT_SNAPSHOT].made);
	assert_int_equal(got.facts.outputs[OUTPUT_MAIN].bytes, 123456);

	sent = (struct child_message){.type = CHILD_FAILED};
	(void)error_set(&sent.error, ERR_REJECT, "not a recording");
	assert_int_equal(child_message_send(pair[0], &sent, NULL), 0);
	n = read(pair[1], text, sizeof(text));
	assert_int_equal(child_message_parse(text, (size_t)n, &got, NULL), 0);
	assert_int_equal(got.type, CHILD_FAILED);
	assert_int_equal(got.error.code, ERR_REJECT);
	assert_string_equal(got.error.text, "not a recording");
	(void)close(pair[0]);
	(void)close(pair[1]);
}

static int parse(const char *text)
{
	struct child_message m;
	return child_message_parse(text, strlen(text), &m, NULL);
}

static void nonsense_is_refused(void **state)
{
	(void)state;
	assert_int_equal(parse(""), ERR_REJECT);
	assert_int_equal(parse("{}"), ERR_REJECT);
	assert_int_equal(parse("{\"type\":\"done\"}"), ERR_REJECT);
	assert_int_equal(parse("{\"type\":\"done\",\"facts\":{}}"), ERR_REJECT);
	assert_int_equal(parse("{\"type\":\"other\"}"), ERR_REJECT);
	assert_int_equal(parse("{\"type\":\"progress\",\"milliseconds\":5,\"permille\":1001}"), ERR_REJECT);
	assert_int_equal(parse("{\"type\":\"progress\",\"milliseconds\":5,\"permille\":1000,\"more\":1}"), ERR_REJECT);
	assert_int_equal(parse("{\"type\":\"progress\",\"milliseconds\":5,\"permille\":1000}"), 0);
}

static void a_child_cannot_choose_any_class(void **state)
{
	(void)state;
	struct child_message m;
	static const char text[] = "{\"type\":\"failed\",\"class\":9,\"text\":\"cancelled?\"}";
	assert_int_equal(child_message_parse(text, strlen(text), &m, NULL), 0);
	assert_int_equal(m.error.code, ERR_RETRY);
}

static void facts_out_of_range_are_refused(void **state)
{
	(void)state;
	static const struct {
		const char *name, *value;
	} wrong[] = {
	    {"width", "-1"},
	    {"width", "1.5"},
	    {"frames", "-2"},
	    {"duration_s", "1e300"},
	    {"source_video", "\"<b>\""},
	    {"truncated", "1"},
	    {"main", "{\"bytes\":1,\"sha256\":\"xyz\"}"},
	    {"thumbs", "10000"},
	    {"container", "null"},
	};
	for (size_t i = 0; i < ARRAY_SIZE(wrong); i++) {
		struct facts f = sample();
		json_t *o = facts_to_json(&f);
		assert_int_equal(facts_from_json(o, &f, NULL), 0);
		assert_int_equal(json_object_set_new(o, wrong[i].name,
						     json_loads(wrong[i].value, JSON_DECODE_ANY, NULL)),
				 0);
		assert_int_equal(facts_from_json(o, &f, NULL), ERR_REJECT);
		json_decref(o);
	}
}

static void each_output_has_its_own_facts(void **state)
{
	(void)state;
	struct facts f = sample();
	json_t *o = facts_of_output(&f, OUTPUT_MAIN);
	assert_string_equal(json_string_value(json_object_get(o, "codec")), "h264");
	assert_null(json_object_get(o, "thumbs"));
	assert_null(json_object_get(o, "main"));
	json_decref(o);
	o = facts_of_output(&f, OUTPUT_FILMSTRIP);
	assert_int_equal(json_integer_value(json_object_get(o, "width")), 800);
	assert_int_equal(json_integer_value(json_object_get(o, "height")), 234);
	json_decref(o);
	o = facts_of_output(&f, OUTPUT_SNAPSHOT);
	assert_int_equal(json_integer_value(json_object_get(o, "height")), 632);
	json_decref(o);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(facts_travel_whole),
	    cmocka_unit_test(nonsense_is_refused),
	    cmocka_unit_test(a_child_cannot_choose_any_class),
	    cmocka_unit_test(facts_out_of_range_are_refused),
	    cmocka_unit_test(each_output_has_its_own_facts),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
