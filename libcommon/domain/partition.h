/* Day partitions of finished jobs, attempts and events. Blocks: off the loop. */
#ifndef RUSHES_DOMAIN_PARTITION_H
#define RUSHES_DOMAIN_PARTITION_H

#include "store/db.h"

/* Makes those of the next `ahead_days` and drops those older than `keep_days`. Of several callers at once one works;
 * the others do nothing. */
int partition_maintain(struct db_pool *p, unsigned ahead_days, unsigned keep_days, unsigned *ret_made,
		       unsigned *ret_dropped, struct error *e) _must_check_;

#endif
