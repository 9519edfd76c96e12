/* Admission before loss: the room that an intake claims. Part of intake_internal.h. */
#include "base/clock.h"
#include "intake_internal.h"

/* A rate is measured over so long at least. */
#define MEASURE_US 5000000

static uint64_t rest_of(const struct intake *i)
{
	if (!i->has_declared)
		return i->rate * INTAKE_ROOM_S;
	return i->declared_bytes > i->written ? i->declared_bytes - i->written : 0;
}

int intake_claim_room(struct intake *i, struct error *e)
{
	return room_claim(i->set->o.host->room, &i->recording, i->turn.room, rest_of(i), e);
}

/* A rate that falls is believed slowly: a picture that stands still moves again. */
static bool measure_rate(struct intake *i)
{
	int64_t now = clock_monotonic_us(), elapsed = now - i->measured_us;
	if (elapsed < MEASURE_US)
		return false;
	uint64_t rate = (i->written - i->measured_written) * 1000000 / (uint64_t)elapsed;
	i->rate = rate > i->rate ? rate : (i->rate * 3 + rate) / 4;
	i->measured_us = now;
	i->measured_written = i->written;
	return true;
}

void intake_measure_room(struct intake *i)
{
	if (i->state != INTAKE_RECEIVING)
		return;
	i->written += i->turn.written_bytes;
	bool is_news = i->has_declared ? i->turn.written_bytes > 0 : measure_rate(i);
	if (is_news)
		room_adjust(i->set->o.host->room, &i->recording, rest_of(i));
}

void intake_leave_room(struct intake *i)
{
	bool goes_on = i->state == INTAKE_OPENING || i->state == INTAKE_RECEIVING || i->state == INTAKE_FAILED;
	if (goes_on && i->keep_room_ms > 0)
		room_keep(i->set->o.host->room, &i->recording, i->keep_room_ms);
	else
		room_release(i->set->o.host->room, &i->recording);
}
