/* The event loop of a thread: libevent for readiness and timers, a queue with a wake-up for what other threads hand
 * over, and frees deferred to the end of the turn. Objects belong to one loop; nothing in a callback may block. */
#ifndef RUSHES_BASE_LOOP_H
#define RUSHES_BASE_LOOP_H

#include "base/error.h"

#include <event2/event.h>
#include <stdbool.h>

struct loop;

typedef void loop_function(void *arg);

/* Any thread; the loop then belongs to the thread that runs it. loop_free runs what is still queued. */
int loop_new(struct loop **ret, struct error *e) _must_check_;
void loop_free(struct loop *l);
DEFINE_CLEANUP(struct loop, loop_free)

/* libevent's base, for events on descriptors and timers. */
struct event_base *loop_base(struct loop *l);

/* Runs callbacks until loop_stop(). */
void loop_run(struct loop *l);
/* Ends loop_run() after the current turn. Any thread. */
void loop_stop(struct loop *l);

/* Runs fn(arg) on the loop's thread soon. Any thread. Aborts without memory: what is posted may not be lost. */
void loop_post(struct loop *l, loop_function *fn, void *arg);

/* Runs fn(arg) at the end of this turn, when no callback can still be using what it frees. The loop's thread only. */
void loop_defer(struct loop *l, loop_function *fn, void *arg);

/* A timer on the loop's thread. It fires once per loop_timer_set(); freeing it stops it. */
struct loop_timer;
int loop_timer_new(struct loop *l, loop_function *fn, void *arg, struct loop_timer **ret) _must_check_;
void loop_timer_set(struct loop_timer *t, int64_t delay_ms);
void loop_timer_cancel(struct loop_timer *t);
void loop_timer_free(struct loop_timer *t);
DEFINE_CLEANUP(struct loop_timer, loop_timer_free)

#endif
