/* The one source of time for C code: wall time for due dates and stamps, monotonic time for waits. Test builds and the
 * simulation replace it by a virtual clock. SQL's time is rushes_now() in the database, not this. */
#ifndef RUSHES_BASE_CLOCK_H
#define RUSHES_BASE_CLOCK_H

#include "base/macros.h"

#include <stdbool.h>

/* Microseconds since the Unix epoch. Any thread. */
int64_t clock_wall_us(void);

/* Microseconds of a clock that never goes back; only differences mean something. Any thread. */
int64_t clock_monotonic_us(void);

/* Microseconds that this machine has counted since its boot, sleep included, whatever its wall clock was set to. Any
 * thread. */
int64_t clock_boottime_us(void);

/* Room for "2026-11-22T01:44:01.123456Z" and its end. */
#define CLOCK_TEXT_BYTES 28

/* RFC 3339 in UTC with microseconds. `ret` holds CLOCK_TEXT_BYTES. */
void clock_format(int64_t wall_us, char ret[CLOCK_TEXT_BYTES]);

/* Reads RFC 3339 with a zone ("2026-11-22T01:44:01.5Z", "...+02:00"), digits behind the microsecond are dropped. False
 * on anything else; *ret is then untouched. */
bool clock_parse(const char *text, int64_t *ret_wall_us) _must_check_;

/* Virtual time, for tests: both clocks stand still at `wall_us` until clock_virtual_advance(). Any thread. */
void clock_virtual_set(int64_t wall_us);
void clock_virtual_advance(int64_t us);
void clock_virtual_off(void);

#endif
