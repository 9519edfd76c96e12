/* with: services/storage-pusher/channel.c */
#include "../../services/storage-pusher/channel.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <sys/socket.h>
/* after the headers it needs */
#include <cmocka.h>

static int ends[2];

static int set_up(void **state _unused_)
{
	struct error e = {0};
	return channel_pair(ends, &e);
}

static int tear_down(void **state _unused_)
{
	for (int i = 0; i < 2; i++)
		closep(&ends[i]);
	return 0;
}

static void test_messages_keep_their_bounds(void **state _unused_)
{
	struct error e = {0};
	assert_false(channel_is_pending(ends[1]));
	for (int i = 0; i < 3; i++)
		assert_int_equal(channel_send(ends[0], json_pack("{s:i}", "n", i), &e), 0);
	assert_true(channel_is_pending(ends[1]));
	for (int i = 0; i < 3; i++) {
		json_t *message = NULL;
		assert_int_equal(channel_receive(ends[1], 0, &message, &e), 0);
		assert_int_equal(json_integer_value(json_object_get(message, "n")), i);
		json_decref(message);
	}
	json_t *none = NULL;
	assert_int_equal(channel_receive(ends[1], 0, &none, &e), ERR_RETRY);
	assert_null(none);
}

static void test_the_longest_message_passes_whole(void **state _unused_)
{
	static char text[CHANNEL_BYTES_MAX];
	struct error e = {0};
	json_t *message = NULL;
	memset(text, 'x', sizeof(text));
	/* {"t":"..."} */
	text[CHANNEL_BYTES_MAX - 8] = '\0';
	assert_int_equal(channel_send(ends[0], json_pack("{s:s}", "t", text), &e), 0);
	assert_int_equal(channel_receive(ends[1], 0, &message, &e), 0);
	assert_int_equal(json_string_length(json_object_get(message, "t")), CHANNEL_BYTES_MAX - 8);
	json_decref(message);
	text[CHANNEL_BYTES_MAX - 8] = 'x';
	text[CHANNEL_BYTES_MAX - 7] = '\0';
	assert_int_equal(channel_send(ends[0], json_pack("{s:s}", "t", text), &e), ERR_REJECT);
	assert_int_equal(channel_send(ends[0], NULL, &e), ERR_NOMEM);
}

static void test_what_is_no_message(void **state _unused_)
{
	static const char *const wrong[] = {"x", "[1]", "{\"a\":1", "{\"a\":1}{\"b\":2}"};
	for (size_t i = 0; i < ARRAY_SIZE(wrong); i++) {
		json_t *message = NULL;
		struct error e = {0};
		assert_int_equal(send(ends[0], wrong[i], strlen(wrong[i]), 0), strlen(wrong[i]));
		assert_int_equal(channel_receive(ends[1], 0, &message, &e), ERR_CORRUPT);
		assert_null(message);
	}
	/* longer than any message may be */
	_cleanup_(freep) char *huge = calloc(1, CHANNEL_BYTES_MAX + 1);
	assert_non_null(huge);
	json_t *message = NULL;
	struct error e = {0};
	assert_int_equal(send(ends[0], huge, CHANNEL_BYTES_MAX + 1, 0), CHANNEL_BYTES_MAX + 1);
	assert_int_equal(channel_receive(ends[1], 0, &message, &e), ERR_CORRUPT);
}

static void test_the_end_of_the_other_side(void **state _unused_)
{
	struct error e = {0};
	json_t *message = NULL;
	closep(&ends[0]);
	ends[0] = -1;
	assert_true(channel_is_pending(ends[1]));
	assert_int_equal(channel_receive(ends[1], -1, &message, &e), ERR_NOTFOUND);
	assert_int_equal(channel_send(ends[1], json_object(), &e), ERR_NOTFOUND);
}

static void test_failures(void **state _unused_)
{
	struct error said = {0}, got = {0};
	assert_int_equal(error_set(&said, ERR_CORRUPT, "slot 3: \"broken\""), ERR_CORRUPT);
	json_t *message = channel_failure(&said);
	assert_int_equal(channel_failure_read(message, &got), ERR_CORRUPT);
	assert_string_equal(got.text, said.text);
	json_decref(message);
	/* a text that is not UTF-8 does not swallow the failure */
	assert_int_equal(error_set(&said, ERR_FULL, "\xff\xfe"), ERR_FULL);
	message = channel_failure(&said);
	assert_int_equal(channel_failure_read(message, &got), ERR_FULL);
	json_decref(message);
	/* a child's word is not believed when it is none of ours */
	static const int classes[] = {0, 1, 99, -99};
	for (size_t i = 0; i < ARRAY_SIZE(classes); i++) {
		message = json_pack("{s:i}", "class", classes[i]);
		assert_int_equal(channel_failure_read(message, &got), ERR_RETRY);
		json_decref(message);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(test_messages_keep_their_bounds, set_up, tear_down),
	    cmocka_unit_test_setup_teardown(test_the_longest_message_passes_whole, set_up, tear_down),
	    cmocka_unit_test_setup_teardown(test_what_is_no_message, set_up, tear_down),
	    cmocka_unit_test_setup_teardown(test_the_end_of_the_other_side, set_up, tear_down),
	    cmocka_unit_test(test_failures),
	};
	return cmocka_run_group_tests_name("pusher_channel", tests, NULL, NULL);
}
