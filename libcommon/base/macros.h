/* Language helpers that the whole tree uses: cleanup attributes, ownership transfer, checked results. */
#ifndef RUSHES_BASE_MACROS_H
#define RUSHES_BASE_MACROS_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* Releases a local when its scope ends: `_cleanup_(thing_freep) struct thing *t = NULL;`. gcc and clang. */
#define _cleanup_(f)	    __attribute__((cleanup(f)))
#define _must_check_	    __attribute__((warn_unused_result))
#define _printf_(fmt, args) __attribute__((format(printf, fmt, args)))
#define _unused_	    __attribute__((unused))
#define _noreturn_	    __attribute__((noreturn))

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))
#define MIN(a, b)     ((a) < (b) ? (a) : (b))
#define MAX(a, b)     ((a) > (b) ? (a) : (b))

#define KIB ((uint64_t)1024)
#define MIB (1024 * KIB)
#define GIB (1024 * MIB)

/* Hands a pointer over: yields its value and leaves NULL behind, so that the cleanup attribute releases nothing. */
#define TAKE_PTR(p)                                \
	({                                         \
		__typeof__(p) *_take_pp = &(p);    \
		__typeof__(p) _take_p = *_take_pp; \
		*_take_pp = NULL;                  \
		_take_p;                           \
	})

/* The same for file descriptors: leaves -1 behind. */
#define TAKE_FD(fd)                        \
	({                                 \
		int *_take_fdp = &(fd);    \
		int _take_fd = *_take_fdp; \
		*_take_fdp = -1;           \
		_take_fd;                  \
	})

/* Defines `func##p`, the form that _cleanup_ takes, for a destructor that accepts NULL. */
#define DEFINE_CLEANUP(type, func)           \
	static inline void func##p(type **p) \
	{                                    \
		if (*p)                      \
			func(*p);            \
	}

static inline void freep(void *p)
{
	free(*(void **)p);
}

static inline void closep(int *fd)
{
	if (*fd >= 0)
		(void)close(*fd);
}

static inline void fclosep(FILE **f)
{
	if (*f)
		(void)fclose(*f);
}

#endif
