/* A brake on deletions: when this machine's wall clock jumps against its monotonic one, due dates can't be trusted for
 * a while (DESIGN section 7, brakes). The other half, two clocks that differ, is node/slice.h's. */
#ifndef RUSHES_JANITOR_BRAKE_H
#define RUSHES_JANITOR_BRAKE_H

#include "base/macros.h"

#include <stdbool.h>

/* A jump is more than this; slewing by NTP stays far below. */
#define BRAKE_JUMP_US ((int64_t)60 * 1000000)
/* How long nothing is deleted after a jump: time for a person to see the alarm. */
#define BRAKE_HOLD_US ((int64_t)10 * 60 * 1000000)

struct brake {
	bool has_before;
	int64_t wall_us, monotonic_us; /* at the last look */
	int64_t until_us;	       /* monotonic; 0: free */
	int64_t jump_us;	       /* the last jump, forward positive */
};

/* Looks at both clocks before each sweep. True: go on. One thread at a time. */
bool brake_look(struct brake *b, int64_t wall_us, int64_t monotonic_us) _must_check_;

#endif
