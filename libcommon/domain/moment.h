/* A moment as people write it: RFC 3339 with a zone, or a day ("2027-03-31"), which stands for the midnight that begins
 * it in the installation's zone. */
#ifndef RUSHES_DOMAIN_MOMENT_H
#define RUSHES_DOMAIN_MOMENT_H

#include "base/macros.h"

#include <stdbool.h>
#include <stdint.h>

/* The parameter `P` ("$4") as timestamptz; null stays null. Only for what moment_parse() accepted. */
#define MOMENT_SQL(P)                                                                            \
	"CASE WHEN length(" P "::text) = 10"                                                     \
	" THEN " P "::text::date::timestamp AT TIME ZONE (SELECT zone FROM rushes.installation)" \
	" ELSE " P "::text::timestamptz END"

/* False on anything else; `*ret_wall_us` takes a day as UTC's, so it is off by a zone. */
bool moment_parse(const char *text, int64_t *ret_wall_us) _must_check_;

#endif
