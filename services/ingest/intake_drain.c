/* A stop of the service. Streams go on elsewhere at once: they lose nothing by it. What cannot go on elsewhere, or is
 * at its end, is finished within the grace period. Part of intake.h. */
#include "intake_internal.h"

static void send_on(struct intake *i)
{
	intake_fail(i, "draining", "this node is stopping: connect again", true);
}

static bool may_finish(const struct intake *i)
{
	bool is_ending = i->state == INTAKE_STOPPED && (i->running || intake_has_work(i));
	return i->attached && (i->is_upload || is_ending);
}

static void drain(struct intake *i, bool is_grace_over)
{
	i->busy++;
	i->lingering = false;
	i->waiting = false;
	/* a save that runs is finished in any case: its client waits for it */
	bool is_done = i->state == INTAKE_SAVING || i->state == INTAKE_DISCARDING || i->state == INTAKE_ENDED;
	if (!is_done && (is_grace_over || !may_finish(i)))
		send_on(i);
	i->busy--;
	intake_settle(i);
}

static void drain_all(struct intakes *s, bool is_grace_over)
{
	for (unsigned b = 0; b < INTAKE_BUCKETS; b++) {
		struct intake *next;
		for (struct intake *i = s->buckets[b]; i; i = next) {
			next = i->next;
			drain(i, is_grace_over);
		}
	}
}

void intakes_drain(struct intakes *s, int64_t grace_ms)
{
	s->draining = true;
	drain_all(s, grace_ms == 0);
	loop_timer_set(s->grace_timer, grace_ms);
}

void intakes_grace_over(void *intakes)
{
	drain_all(intakes, true);
}

void intake_finished_in_drain(struct intake *i)
{
	if (i->set->draining && i->state == INTAKE_STOPPED && !i->running && !intake_has_work(i))
		send_on(i);
}
