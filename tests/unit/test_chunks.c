/* with: services/ingest/chunks.c */
#include "../../services/ingest/chunks.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static struct slab *pool_of(unsigned buffers)
{
	struct slab *pool = NULL;
	assert_int_equal(slab_new(CHUNK_BUFFER_BYTES, buffers, &pool, NULL), 0);
	return pool;
}

static void add(struct chunks *c, struct slab *pool, uint8_t first, size_t n, bool *ret_empty)
{
	_cleanup_(freep) uint8_t *data = malloc(n);
	assert_non_null(data);
	for (size_t i = 0; i < n; i++)
		data[i] = (uint8_t)(first + i);
	assert_int_equal(chunks_add(c, pool, data, n, ret_empty, NULL), 0);
}

/* The list holds `n` bytes that count up from `first`. */
static void holds(struct chunks *c, struct slab *pool, uint8_t first, size_t n)
{
	assert_int_equal(c->bytes, n);
	size_t at = 0;
	struct chunk *k;
	while ((k = chunks_take(c))) {
		for (size_t i = 0; i < k->size; i++, at++)
			assert_int_equal(k->data[k->begin + i], (uint8_t)(first + at));
		chunk_release(k, pool);
	}
	assert_int_equal(at, n);
	assert_int_equal(slab_used(pool), 0);
}

static void pieces_come_out_in_order(void **state)
{
	(void)state;
	_cleanup_(slab_freep) struct slab *pool = pool_of(8);
	struct chunks c = {0};
	bool empty = false;
	add(&c, pool, 0, 100, &empty);
	add(&c, pool, 100, 200000, &empty);
	assert_false(empty);
	holds(&c, pool, 0, 200100);
}

static void small_messages_share_a_buffer(void **state)
{
	(void)state;
	_cleanup_(slab_freep) struct slab *pool = pool_of(8);
	struct chunks queue = {0};
	bool empty = false;
	for (int i = 0; i < 4; i++) {
		struct chunks message = {0};
		add(&message, pool, (uint8_t)(i * 1000), 1000, &empty);
		chunks_join(&queue, &message, pool);
		assert_int_equal(message.bytes, 0);
	}
	assert_int_equal(slab_used(pool), 1);
	holds(&queue, pool, 0, 4000);
}

static void big_messages_are_moved(void **state)
{
	(void)state;
	_cleanup_(slab_freep) struct slab *pool = pool_of(8);
	struct chunks queue = {0}, message = {0};
	bool empty = false;
	add(&queue, pool, 0, 65000, &empty);
	add(&message, pool, (uint8_t)65000, 100000, &empty);
	chunks_join(&queue, &message, pool);
	chunks_join(&queue, &message, pool);
	holds(&queue, pool, 0, 165000);
}

static void an_empty_pool_lends_one_more_and_says_so(void **state)
{
	(void)state;
	_cleanup_(slab_freep) struct slab *pool = pool_of(1);
	struct chunks c = {0};
	bool empty = false;
	add(&c, pool, 0, CHUNK_DATA_BYTES, &empty);
	assert_false(empty);
	assert_false(slab_has_spare(pool));
	add(&c, pool, (uint8_t)CHUNK_DATA_BYTES, 10, &empty);
	assert_true(empty);
	holds(&c, pool, 0, CHUNK_DATA_BYTES + 10);
	assert_true(slab_has_spare(pool));
}

static void front_and_end_can_be_cut(void **state)
{
	(void)state;
	_cleanup_(slab_freep) struct slab *pool = pool_of(8);
	const size_t cuts[] = {0, 1, CHUNK_DATA_BYTES - 1, CHUNK_DATA_BYTES, CHUNK_DATA_BYTES + 1, 150000};
	for (size_t i = 0; i < ARRAY_SIZE(cuts); i++) {
		struct chunks c = {0};
		bool empty = false;
		add(&c, pool, 0, 150000, &empty);
		chunks_skip(&c, pool, cuts[i]);
		holds(&c, pool, (uint8_t)cuts[i], 150000 - cuts[i]);
		add(&c, pool, 0, 150000, &empty);
		chunks_cut(&c, pool, cuts[i]);
		holds(&c, pool, 0, cuts[i]);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(pieces_come_out_in_order), cmocka_unit_test(small_messages_share_a_buffer),
	    cmocka_unit_test(big_messages_are_moved),	cmocka_unit_test(an_empty_pool_lends_one_more_and_says_so),
	    cmocka_unit_test(front_and_end_can_be_cut),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
