/* with: services/ingest/gate.c */
/* One network begins connections at its rate, whatever others do, and an office may come all at once. */
#include "../../services/ingest/gate.h"

#include "base/clock.h"

#include <setjmp.h>
#include <stdarg.h>
/* after the headers it needs */
#include <cmocka.h>

#define START_US (INT64_C(1792648800) * 1000000)
#define OFFICE	 UINT64_C(0xffffc0000201)

static struct gate *new_gate(uint64_t rate_per_s, uint64_t burst)
{
	const struct gate_options o = {.rate_per_s = rate_per_s, .burst = burst};
	struct gate *g = NULL;
	struct error e = {0};
	assert_int_equal(gate_new(&o, &g, &e), 0);
	return g;
}

static unsigned admitted(struct gate *g, uint64_t network, unsigned tries)
{
	unsigned n = 0;
	for (unsigned i = 0; i < tries; i++)
		n += gate_admit(g, network);
	return n;
}

static void a_burst_comes_in_and_then_the_rate(void **state _unused_)
{
	clock_virtual_set(START_US);
	struct gate *g = new_gate(100, 2000);
	assert_int_equal(admitted(g, OFFICE, 3000), 2000);
	clock_virtual_advance(1000000);
	assert_int_equal(admitted(g, OFFICE, 3000), 100);
	/* a neighbour does not wait for it */
	assert_int_equal(admitted(g, OFFICE + 1, 500), 500);
	gate_free(g);
	clock_virtual_off();
}

static void a_flood_of_networks_costs_no_memory_and_shuts_nobody_out(void **state _unused_)
{
	clock_virtual_set(START_US);
	struct gate *g = new_gate(1, 1);
	for (uint64_t network = 1; network <= 100000; network++)
		assert_true(gate_admit(g, network));
	gate_free(g);
	clock_virtual_off();
}

static void without_a_rate_everybody_comes_in(void **state _unused_)
{
	struct gate *g = new_gate(0, 1);
	assert_int_equal(admitted(g, OFFICE, 10000), 10000);
	gate_free(g);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(a_burst_comes_in_and_then_the_rate),
	    cmocka_unit_test(a_flood_of_networks_costs_no_memory_and_shuts_nobody_out),
	    cmocka_unit_test(without_a_rate_everybody_comes_in),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
