#include "brake.h"

bool brake_look(struct brake *b, int64_t wall_us, int64_t monotonic_us)
{
	int64_t drift = b->has_before ? (wall_us - b->wall_us) - (monotonic_us - b->monotonic_us) : 0;
	b->has_before = true;
	b->wall_us = wall_us;
	b->monotonic_us = monotonic_us;
	if (drift > BRAKE_JUMP_US || drift < -BRAKE_JUMP_US) {
		b->jump_us = drift;
		b->until_us = monotonic_us + BRAKE_HOLD_US;
	}
	if (b->until_us > 0 && monotonic_us >= b->until_us)
		b->until_us = 0;
	return b->until_us == 0;
}
