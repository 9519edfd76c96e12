/* The walls around the conversion: resource limits, no new privileges, not dumpable, Landlock without any rule, and a
 * seccomp filter that kills the process at any system call that decoding, encoding and the sealed files do not need.
 * Nothing can be opened, created, connected, executed or signalled inside. */
#ifndef RUSHES_TRANSCODER_SANDBOX_H
#define RUSHES_TRANSCODER_SANDBOX_H

#include "base/error.h"

#include <stdbool.h>

struct sandbox_limits {
	uint64_t cpu_seconds;	/* SIGXCPU, and 10 s later SIGKILL; all threads together */
	uint64_t address_bytes; /* a last fence; the true limit is the service's cgroup */
	uint64_t file_bytes;	/* of one file */
};

/* Does once what the libraries do lazily and what the walls forbid (reading the time zone and OpenSSL's configuration,
 * seeding, the first thread's signal set-up). Before sandbox_enter(). */
int sandbox_warm_up(struct error *e) _must_check_;

/* Cannot be undone. `trap`: for development, report the first forbidden system call on descriptor `report_fd` as a line
 * and exit with status 3, instead of being killed by SIGSYS. ERR_FATAL. */
int sandbox_enter(const struct sandbox_limits *limits, bool trap, int report_fd, struct error *e) _must_check_;

#endif
