/* linkgen's slice of the retention rules: links, their sessions and the requester's data go 30 days after expiry. Any
 * number of linkgens may sweep. */
#ifndef RUSHES_LINKGEN_SWEEP_H
#define RUSHES_LINKGEN_SWEEP_H

#include "node/platform.h"

struct sweep;

/* Sweeps soon, then every `every_ms`, until sweep_stop(). The loop's thread, as all of these. */
int sweep_new(struct platform *p, int64_t every_ms, struct sweep **ret, struct error *e) _must_check_;
void sweep_stop(struct sweep *s); /* NULL is allowed */
/* A sweep whose end still waits on the loop is released there. */
void sweep_free(struct sweep *s);

#endif
