/* Jobs of kind `convert`, bound to the spool that holds the raw: a sandboxed child makes main, snapshot and filmstrip.
 */
#ifndef RUSHES_TRANSCODER_CONVERT_JOB_H
#define RUSHES_TRANSCODER_CONVERT_JOB_H

#include "node/worker.h"

/* A worker_run; `state` is the struct transcoder. ERR_REJECT when no decoder opens the recording, now and ever: the raw
 * was whole, its hash was checked when it was copied. */
int convert_job_run(struct job *j, void *state, struct error *e);

/* Whether the spool takes outputs. */
bool convert_job_may_take(void *state);

#endif
