#include "base/thread.h"

#include "base/clock.h"

#include <signal.h>
#include <time.h>

int thread_start(pthread_t *ret, const char *name, void *(*fn)(void *arg), void *arg, struct error *e)
{
	sigset_t all, before;
	(void)sigfillset(&all);
	(void)pthread_sigmask(SIG_SETMASK, &all, &before);
	int r = pthread_create(ret, NULL, fn, arg);
	(void)pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (r != 0)
		return error_set_errno(e, ERR_FATAL, r, "cannot start the thread %s", name);
	char short_name[16];
	(void)snprintf(short_name, sizeof(short_name), "%s", name);
	(void)pthread_setname_np(*ret, short_name);
	return 0;
}

void thread_cond_init(pthread_cond_t *c)
{
	pthread_condattr_t attributes;
	(void)pthread_condattr_init(&attributes);
	(void)pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
	(void)pthread_cond_init(c, &attributes);
	(void)pthread_condattr_destroy(&attributes);
}

void thread_wait(pthread_cond_t *c, pthread_mutex_t *lock, int64_t deadline_us)
{
	if (deadline_us == INT64_MAX) {
		(void)pthread_cond_wait(c, lock);
		return;
	}
	/* the kernel's clock, not clock_monotonic_us(): that may be virtual, the wait is real */
	int64_t left = MAX(deadline_us - clock_monotonic_us(), 0);
	struct timespec at;
	(void)clock_gettime(CLOCK_MONOTONIC, &at);
	int64_t ns = at.tv_nsec + left % 1000000 * 1000;
	at.tv_sec += left / 1000000 + ns / 1000000000;
	at.tv_nsec = ns % 1000000000;
	(void)pthread_cond_timedwait(c, lock, &at);
}
