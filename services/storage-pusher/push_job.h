/* The handlers of jobs push and delete: the facts from the database, the work in a delivery child, the outcome back in
 * one transaction. `state` is the struct pusher. */
#ifndef RUSHES_PUSHER_PUSH_JOB_H
#define RUSHES_PUSHER_PUSH_JOB_H

#include "node/worker.h"

/* The row of the copy, with every name that may come to exist, is committed before the child's first byte. */
int push_job_run(struct job *j, void *state, struct error *e);

/* Removes a copy at its target, under all names that its row tells, and confirms with the target's answer. */
int delete_job_run(struct job *j, void *state, struct error *e);

#endif
