#include "base/clock.h"

#include <stdatomic.h>
#include <time.h>

static _Atomic bool is_virtual;
static _Atomic int64_t virtual_wall_us;
static _Atomic int64_t virtual_monotonic_us;

static int64_t read_us(clockid_t id)
{
	struct timespec ts;
	(void)clock_gettime(id, &ts);
	return (int64_t)ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
}

int64_t clock_wall_us(void)
{
	return is_virtual ? virtual_wall_us : read_us(CLOCK_REALTIME);
}

int64_t clock_monotonic_us(void)
{
	return is_virtual ? virtual_monotonic_us : read_us(CLOCK_MONOTONIC);
}

void clock_format(int64_t wall_us, char ret[CLOCK_TEXT_BYTES])
{
	int64_t sec = wall_us / 1000000;
	int64_t us = wall_us % 1000000;
	if (us < 0) {
		us += 1000000;
		sec--;
	}
	time_t t = (time_t)sec;
	struct tm tm;
	if (!gmtime_r(&t, &tm) || tm.tm_year < -1900 || tm.tm_year > 8099) {
		(void)snprintf(ret, CLOCK_TEXT_BYTES, "0000-00-00T00:00:00.000000Z");
		return;
	}
	char day[24];
	(void)strftime(day, sizeof(day), "%Y-%m-%dT%H:%M:%S", &tm);
	(void)snprintf(ret, CLOCK_TEXT_BYTES, "%.19s.%06dZ", day, (int)us);
}

void clock_virtual_set(int64_t wall_us)
{
	if (!is_virtual)
		virtual_monotonic_us = read_us(CLOCK_MONOTONIC);
	virtual_wall_us = wall_us;
	is_virtual = true;
}

void clock_virtual_advance(int64_t us)
{
	virtual_wall_us += us;
	virtual_monotonic_us += us;
}

void clock_virtual_off(void)
{
	is_virtual = false;
}
