#include "domain/moment.h"

#include "base/clock.h"

#include <stdio.h>
#include <string.h>

#define DAY_CHARS 10

bool moment_parse(const char *text, int64_t *ret_wall_us)
{
	char midnight[CLOCK_TEXT_BYTES];
	if (strlen(text) != DAY_CHARS)
		return clock_parse(text, ret_wall_us);
	(void)snprintf(midnight, sizeof(midnight), "%sT00:00:00Z", text);
	return clock_parse(midnight, ret_wall_us);
}
