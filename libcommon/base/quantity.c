#include "base/quantity.h"

#include <ctype.h>
#include <errno.h>
#include <string.h>

struct unit {
	const char *suffix;
	uint64_t factor;
};

#define UNITS_MAX 6

static const struct unit units[QUANTITY_TYPE_MAX][UNITS_MAX] = {
    [QUANTITY_NUMBER] = {{"", 1}},
    [QUANTITY_BYTES] = {{"", 1}, {"KiB", KIB}, {"MiB", MIB}, {"GiB", GIB}},
    [QUANTITY_DURATION] = {{"ms", 1}, {"s", 1000}, {"m", 60000}, {"h", 3600000}, {"d", 86400000}},
};

static const char *const wanted[QUANTITY_TYPE_MAX] = {
    [QUANTITY_NUMBER] = "want a whole number",
    [QUANTITY_BYTES] = "want a number, with KiB, MiB or GiB behind it if you like",
    [QUANTITY_DURATION] = "want a number with ms, s, m, h or d behind it",
};

int quantity_parse(enum quantity_type type, const char *text, uint64_t *ret, struct error *e)
{
	char *end = NULL;
	errno = 0;
	unsigned long long value = strtoull(text, &end, 10);
	if (!isdigit((unsigned char)text[0]))
		return error_set(e, ERR_REJECT, "%s", wanted[type]);
	uint64_t factor = 0;
	for (const struct unit *u = units[type]; u < units[type] + UNITS_MAX && u->suffix; u++)
		if (strcmp(end, u->suffix) == 0)
			factor = u->factor;
	if (factor == 0)
		return error_set(e, ERR_REJECT, "%s", wanted[type]);
	if (errno != 0 || value > UINT64_MAX / factor)
		return error_set(e, ERR_REJECT, "too large");
	*ret = value * factor;
	return 0;
}
