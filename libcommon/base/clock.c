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

int64_t clock_boottime_us(void)
{
	return is_virtual ? virtual_monotonic_us : read_us(CLOCK_BOOTTIME);
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

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

/* ".123456": moves behind it. */
static bool parse_fraction(const char **text, int64_t *ret_us)
{
	const char *p = *text;
	int64_t unit = 100000;
	*ret_us = 0;
	if (*p != '.')
		return true;
	if (!is_digit(*++p))
		return false;
	for (; is_digit(*p); p++, unit /= 10)
		*ret_us += unit * (*p - '0');
	*text = p;
	return true;
}

/* "Z", "+02:00": must be the end. */
static bool parse_zone(const char *p, int64_t *ret_offset_s)
{
	*ret_offset_s = 0;
	if ((*p == 'Z' || *p == 'z') && p[1] == '\0')
		return true;
	if ((*p != '+' && *p != '-') || !is_digit(p[1]) || !is_digit(p[2]) || p[3] != ':' || !is_digit(p[4]) ||
	    !is_digit(p[5]) || p[6] != '\0')
		return false;
	int hours = (p[1] - '0') * 10 + p[2] - '0';
	int minutes = (p[4] - '0') * 10 + p[5] - '0';
	*ret_offset_s = (*p == '-' ? -1 : 1) * (hours * 3600 + minutes * 60);
	return hours < 24 && minutes < 60;
}

bool clock_parse(const char *text, int64_t *ret_wall_us)
{
	static const char form[] = "dddd-dd-ddTdd:dd:dd";
	struct tm tm = {0};
	int64_t us, offset_s;
	for (size_t i = 0; form[i]; i++)
		if (form[i] == 'd' ? !is_digit(text[i]) : text[i] != form[i])
			return false;
	const char *p = strptime(text, "%Y-%m-%dT%H:%M:%S", &tm);
	int day = tm.tm_mday, month = tm.tm_mon;
	if (!p || p != text + sizeof(form) - 1 || !parse_fraction(&p, &us) || !parse_zone(p, &offset_s))
		return false;
	time_t seconds = timegm(&tm);
	/* the 31st of a short month became another day */
	if (tm.tm_mday != day || tm.tm_mon != month)
		return false;
	*ret_wall_us = ((int64_t)seconds - offset_s) * 1000000 + us;
	return true;
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
