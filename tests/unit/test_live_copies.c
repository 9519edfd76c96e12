/* with: services/ingest/live_copies.c */
#include "../../services/ingest/live_copies.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* All fall on a few places, so that runs form, meet and wrap around the table's end. */
static struct uuid crowded(unsigned i)
{
	struct uuid id = {.b = {(uint8_t)(i >> 8), (uint8_t)i, 1}};
	id.b[UUID_BYTES - 8] = (uint8_t)(i % 3 == 0 ? 0xff : i % 5);
	return id;
}

static void what_was_added_is_found_until_it_is_removed(void **state)
{
	(void)state;
	enum { N = 3000 };
	_cleanup_(live_copies_freep) struct live_copies *l = NULL;
	assert_int_equal(live_copies_new(&l, NULL), 0);
	bool in[N] = {false};
	size_t n = 0;
	uint32_t random = 7;
	for (unsigned step = 0; step < 4 * N; step++) {
		random = random * 1664525 + 1013904223;
		unsigned i = (random >> 8) % N;
		struct uuid id = crowded(i);
		assert_int_equal(live_copies_has(l, &id), in[i]);
		if (in[i])
			live_copies_remove(l, &id);
		else
			assert_int_equal(live_copies_add(l, &id, NULL), 0);
		in[i] = !in[i];
		n = in[i] ? n + 1 : n - 1;
	}
	for (unsigned i = 0; i < N; i++) {
		struct uuid id = crowded(i);
		assert_int_equal(live_copies_has(l, &id), in[i]);
	}
	assert_int_equal(live_copies_count(l), n);
}

static void a_stranger_is_removed_without_harm(void **state)
{
	(void)state;
	_cleanup_(live_copies_freep) struct live_copies *l = NULL;
	assert_int_equal(live_copies_new(&l, NULL), 0);
	struct uuid a = uuid_v7(), b = uuid_v7();
	assert_int_equal(live_copies_add(l, &a, NULL), 0);
	live_copies_remove(l, &b);
	assert_true(live_copies_has(l, &a));
	assert_int_equal(live_copies_count(l), 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(what_was_added_is_found_until_it_is_removed),
	    cmocka_unit_test(a_stranger_is_removed_without_harm),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
