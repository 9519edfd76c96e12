/* Limits of the environment: longest take, longest silence; of a database that is silent. Part of intake_internal.h. */
#include "base/clock.h"
#include "intake_internal.h"

/* A client measures its own recording, not the connection: it may be over the limit by this. */
#define DURATION_GRACE_MS 60000

#define LOOK_MS 1000

void intake_end_by_limit(struct intake *i, const char *code)
{
	i->limit_code = code;
	intake_set_state(i, INTAKE_SAVING);
	i->want.end = true;
	i->want.save = true;
	i->want.how = (struct turn_save){.stop = "limit", .is_recovered = true, .is_truncated = true};
}

bool intake_is_too_long(const struct intake *i)
{
	int64_t limit_us = (int64_t)(i->max_duration_ms + DURATION_GRACE_MS) * 1000;
	/* an upload may take longer than it lasts */
	return !i->is_upload && !i->paused_us && clock_monotonic_us() - i->opened_us > limit_us;
}

/* Nothing came, and not because it was not taken. */
static bool is_idle(const struct intake *i)
{
	return i->max_idle_ms > 0 && !i->is_full && clock_monotonic_us() - i->heard_us > i->max_idle_ms * 1000;
}

/* Nothing of it is here yet: the client has all, and tries again, here or elsewhere. */
static void end_wait_for_database(struct intake *i)
{
	i->busy++;
	intake_fail(i, "unavailable", "the service cannot take the recording now", true);
	i->busy--;
	intake_settle(i);
}

static void look(struct intake *i, bool lacks_database)
{
	if (i->state == INTAKE_OPENING && i->attached && lacks_database) {
		end_wait_for_database(i);
		return;
	}
	if (i->is_upload || !i->attached || (i->state != INTAKE_RECEIVING && i->state != INTAKE_STOPPED))
		return;
	i->busy++;
	if (i->state == INTAKE_RECEIVING && intake_is_too_long(i))
		intake_end_by_limit(i, "too-long");
	else if (is_idle(i))
		intake_fail(i, "idle", "nothing came for too long: connect again when something does", true);
	i->busy--;
	intake_settle(i);
}

void intakes_look_at_limits(void *intakes)
{
	struct intakes *s = intakes;
	bool lacks_database = intakes_lack_database(s);
	for (unsigned b = 0; b < INTAKE_BUCKETS; b++) {
		struct intake *next;
		for (struct intake *i = s->buckets[b]; i; i = next) {
			next = i->next;
			look(i, lacks_database);
		}
	}
	loop_timer_set(s->limits_timer, LOOK_MS);
}
