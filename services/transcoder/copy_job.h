/* Jobs of kind `copy`: all segments of a recording, pulled from the spools that hold them, become one sealed file in
 * the own spool. A job that was claimed early follows its recording while it is still being received. */
#ifndef RUSHES_TRANSCODER_COPY_JOB_H
#define RUSHES_TRANSCODER_COPY_JOB_H

#include "node/worker.h"

/* A worker_run; `state` is the struct transcoder. The segments' digests and the whole's size are compared with the
 * rows; ERR_REJECT only when the client's own total does not match. */
int copy_job_run(struct job *j, void *state, struct error *e);

/* Whether another recording should be copied ahead: room in the spool, and less than twice the slots waiting. */
bool copy_job_may_take(void *state);

/* Whether another recording should be followed: less than the configured number are, and there is room for it. */
bool copy_job_may_follow(void *state);

#endif
