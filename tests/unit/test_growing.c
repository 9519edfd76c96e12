#include "node/growing.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define STEPS 2000

struct fixture {
	struct loop *loop;
	struct growing *growing;
	struct uuid copy;
	struct growing_file *file;
	struct growing_view *view;
	unsigned news;
	uint64_t bytes;
};

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	struct error e = {0};
	*state = f;
	f->copy = uuid_v7();
	return loop_new(&f->loop, &e) < 0 || growing_new(f->loop, &f->growing, &e) < 0 ? -1 : 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;
	growing_free(f->growing);
	loop_free(f->loop);
	free(f);
	return 0;
}

static void end_turn(void *arg)
{
	loop_stop(arg);
}

static void turn(struct fixture *f)
{
	loop_post(f->loop, end_turn, f->loop);
	loop_run(f->loop);
}

static void on_news(void *arg)
{
	struct fixture *f = arg;
	f->news++;
	enum growing_state state = growing_look(f->view, &f->bytes);
	if (state != GROWING) {
		growing_leave(f->view);
		f->view = NULL;
		loop_stop(f->loop);
	}
}

static void only_a_file_that_grows_is_followed(void **state)
{
	struct fixture *f = *state;
	assert_int_equal(growing_follow(f->growing, &f->copy, on_news, f, &f->view), ERR_NOTFOUND);
	assert_int_equal(growing_add(f->growing, &f->copy, &f->file, NULL), 0);
	growing_reach(f->file, 4096);
	assert_int_equal(growing_follow(f->growing, &f->copy, on_news, f, &f->view), 0);
	assert_int_equal(growing_look(f->view, &f->bytes), GROWING);
	assert_int_equal(f->bytes, 4096);
	growing_end(f->file, false, 0);
	assert_int_equal(growing_look(f->view, &f->bytes), GROWING_DROPPED);
	growing_leave(f->view);
	assert_int_equal(growing_follow(f->growing, &f->copy, on_news, f, &f->view), ERR_NOTFOUND);
	turn(f);
	assert_int_equal(f->news, 0);
}

static void news_that_were_not_heard_yet_are_told_once(void **state)
{
	struct fixture *f = *state;
	assert_int_equal(growing_add(f->growing, &f->copy, &f->file, NULL), 0);
	assert_int_equal(growing_follow(f->growing, &f->copy, on_news, f, &f->view), 0);
	for (uint64_t bytes = 1; bytes <= 10; bytes++)
		growing_reach(f->file, bytes);
	growing_reach(f->file, 10);
	turn(f);
	assert_int_equal(f->news, 1);
	assert_int_equal(f->bytes, 10);
	turn(f);
	assert_int_equal(f->news, 1);
	growing_end(f->file, true, 12);
	turn(f);
	assert_int_equal(f->news, 2);
	assert_int_equal(f->bytes, 12);
}

static void *write_all(void *arg)
{
	struct fixture *f = arg;
	for (uint64_t bytes = 1; bytes <= STEPS; bytes++)
		growing_reach(f->file, bytes);
	growing_end(f->file, true, STEPS + 1);
	return NULL;
}

static void a_writer_on_another_thread_is_followed_to_its_end(void **state)
{
	struct fixture *f = *state;
	pthread_t thread;
	assert_int_equal(growing_add(f->growing, &f->copy, &f->file, NULL), 0);
	assert_int_equal(growing_follow(f->growing, &f->copy, on_news, f, &f->view), 0);
	assert_int_equal(pthread_create(&thread, NULL, write_all, f), 0);
	loop_run(f->loop);
	assert_int_equal(pthread_join(thread, NULL), 0);
	/* the end may have been seen with the news before it: what was posted for it is still to come */
	turn(f);
	assert_null(f->view);
	assert_int_equal(f->bytes, STEPS + 1);
	assert_in_range(f->news, 1, STEPS + 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(only_a_file_that_grows_is_followed, setup, teardown),
	    cmocka_unit_test_setup_teardown(news_that_were_not_heard_yet_are_told_once, setup, teardown),
	    cmocka_unit_test_setup_teardown(a_writer_on_another_thread_is_followed_to_its_end, setup, teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
