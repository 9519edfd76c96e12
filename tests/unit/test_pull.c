#include "bus/pull.h"

#include <setjmp.h>
#include <stdarg.h>
/* after the headers it needs */
#include <cmocka.h>

#define S ((int64_t)1000000)

static enum pull_action next(const struct pull *p, int64_t now)
{
	int64_t until;
	return pull_next(p, now, &until);
}

/* Bound at time 0, `want` asked for. */
static struct pull asked(unsigned want)
{
	struct pull p = {0};
	pull_want(&p, want);
	pull_bound(&p, 0);
	if (want > 0)
		pull_requested(&p, want, 0);
	return p;
}

static void credits_follow_what_is_wanted(void **state _unused_)
{
	struct pull p = {0};
	assert_int_equal(next(&p, 0), PULL_ENSURE);
	pull_bound(&p, 0);
	assert_int_equal(next(&p, 0), PULL_WAIT); /* nothing is wanted yet */
	pull_want(&p, 3);
	assert_int_equal(next(&p, 0), PULL_REQUEST);
	assert_int_equal(pull_batch(&p), 3);
	pull_requested(&p, 3, 0);
	assert_int_equal(next(&p, 0), PULL_WAIT);
	assert_true(pull_on_message(&p, 1, 1));
	assert_true(pull_on_message(&p, 1, 1));
	assert_int_equal(p.want, 1);
	assert_int_equal(p.outstanding, 1);
	pull_want(&p, 3);
	assert_int_equal(pull_batch(&p), 2);
}

static void an_expired_request_is_asked_again(void **state _unused_)
{
	struct pull p = asked(4);
	assert_true(pull_on_message(&p, 1, 1));
	pull_on_status(&p, 1, 408, "Request Timeout", 3, 10 * S);
	assert_int_equal(p.outstanding, 0);
	assert_int_equal(next(&p, 10 * S), PULL_REQUEST);
	assert_int_equal(pull_batch(&p), 3);
}

static void an_expiry_without_its_rest_counts_as_all(void **state _unused_)
{
	struct pull p = asked(4);
	pull_on_status(&p, 1, 408, "Request Timeout", -1, 10 * S);
	assert_int_equal(p.outstanding, 0);
	p = asked(2);
	pull_on_status(&p, 1, 408, "Request Timeout", 99, 10 * S);
	assert_int_equal(p.outstanding, 0);
}

static void silence_makes_the_consumer_anew(void **state _unused_)
{
	struct pull p = asked(1);
	int64_t until;
	assert_int_equal(pull_next(&p, 0, &until), PULL_WAIT);
	assert_int_equal(until, PULL_SILENCE_US);
	pull_on_status(&p, 1, 100, "Idle Heartbeat", -1, 2 * S);
	assert_int_equal(next(&p, 5 * S), PULL_WAIT);
	assert_int_equal(next(&p, 7 * S), PULL_ENSURE);
	pull_failed(&p, 7 * S);
	assert_int_equal(pull_next(&p, 7 * S, &until), PULL_WAIT);
	assert_int_equal(until, 7 * S + 250000);
	assert_int_equal(next(&p, 7 * S + 250000), PULL_ENSURE);
	pull_failed(&p, 8 * S);
	assert_int_equal(next(&p, 8 * S + 499999), PULL_WAIT);
	pull_bound(&p, 9 * S);
	assert_int_equal(next(&p, 9 * S), PULL_REQUEST);
}

static void a_long_outage_is_asked_about_every_five_seconds(void **state _unused_)
{
	struct pull p = {0};
	for (int i = 0; i < 20; i++)
		pull_failed(&p, 0);
	assert_int_equal(p.not_before_us, 5 * S);
	pull_lost(&p); /* reconnected: at once */
	assert_int_equal(next(&p, 0), PULL_ENSURE);
}

static void a_deleted_consumer_is_known_at_once(void **state _unused_)
{
	struct pull p = asked(1);
	pull_on_status(&p, 1, 409, "Consumer Deleted", -1, S);
	assert_int_equal(next(&p, S), PULL_ENSURE);
	p = asked(1);
	pull_on_status(&p, 1, 503, NULL, -1, S);
	assert_int_equal(next(&p, S), PULL_WAIT);
	assert_int_equal(next(&p, 2 * S), PULL_ENSURE);
}

static void a_refused_request_waits(void **state _unused_)
{
	struct pull p = asked(2);
	pull_on_status(&p, 1, 409, "Exceeded MaxWaiting", -1, S);
	assert_int_equal(p.outstanding, 0);
	assert_int_equal(next(&p, S), PULL_WAIT);
	assert_int_equal(next(&p, 2 * S), PULL_REQUEST);
}

static void an_old_generation_is_returned_and_changes_nothing(void **state _unused_)
{
	struct pull p = asked(2);
	pull_lost(&p);
	assert_false(pull_on_message(&p, 1, S)); /* not bound */
	pull_bound(&p, S);
	pull_requested(&p, 2, S);
	assert_false(pull_on_message(&p, 1, 2 * S));
	pull_on_status(&p, 1, 408, NULL, 2, 2 * S);
	assert_int_equal(p.outstanding, 2);
	assert_int_equal(p.want, 2);
	assert_true(pull_on_message(&p, 2, 2 * S));
}

static void beats_without_jobs_are_looked_into(void **state _unused_)
{
	struct pull p = asked(1);
	for (int64_t at = 1; at <= 10; at++)
		pull_on_status(&p, 1, 100, NULL, -1, at * S);
	assert_int_equal(next(&p, 10 * S), PULL_INSPECT);
	assert_false(pull_inspected(&p, 0, 10 * S)); /* nothing pending: idle */
	assert_int_equal(next(&p, 11 * S), PULL_WAIT);
	p.heard_us = 20 * S;
	assert_int_equal(next(&p, 20 * S), PULL_INSPECT);
	assert_false(pull_inspected(&p, 5, 20 * S)); /* may be on its way */
	p.heard_us = 21 * S;
	assert_int_equal(next(&p, 21 * S), PULL_INSPECT);
	assert_true(pull_inspected(&p, 5, 21 * S));
}

static void a_job_between_two_looks_clears_the_suspicion(void **state _unused_)
{
	struct pull p = asked(2);
	assert_false(pull_inspected(&p, 5, 10 * S));
	assert_true(pull_on_message(&p, 1, 10 * S));
	assert_false(pull_inspected(&p, 5, 20 * S));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(credits_follow_what_is_wanted),
	    cmocka_unit_test(an_expired_request_is_asked_again),
	    cmocka_unit_test(an_expiry_without_its_rest_counts_as_all),
	    cmocka_unit_test(silence_makes_the_consumer_anew),
	    cmocka_unit_test(a_long_outage_is_asked_about_every_five_seconds),
	    cmocka_unit_test(a_deleted_consumer_is_known_at_once),
	    cmocka_unit_test(a_refused_request_waits),
	    cmocka_unit_test(an_old_generation_is_returned_and_changes_nothing),
	    cmocka_unit_test(beats_without_jobs_are_looked_into),
	    cmocka_unit_test(a_job_between_two_looks_clears_the_suspicion),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
