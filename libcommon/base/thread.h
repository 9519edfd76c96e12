/* Threads of the modules that block: started with all signals masked (signals are the loop's), conditions that wait by
 * the monotonic clock. */
#ifndef RUSHES_BASE_THREAD_H
#define RUSHES_BASE_THREAD_H

#include "base/error.h"

#include <pthread.h>

/* Starts fn(arg); `name` is cut to 15 characters. */
int thread_start(pthread_t *ret, const char *name, void *(*fn)(void *arg), void *arg, struct error *e) _must_check_;

/* A condition for thread_wait(). */
void thread_cond_init(pthread_cond_t *c);

/* Waits for a signal of `c` until the monotonic time `deadline_us` (INT64_MAX: without end). May wake early. */
void thread_wait(pthread_cond_t *c, pthread_mutex_t *lock, int64_t deadline_us);

#endif
