/* What a delivery child gives up before it opens any key: it holds the opened credentials and the plaintext, so nobody
 * looks into it, and what a hostile server might make of it can start nothing. */
#ifndef RUSHES_PUSHER_SANDBOX_H
#define RUSHES_PUSHER_SANDBOX_H

#include "base/error.h"

/* Most memory of a child: one part of an upload, digests, TLS. */
#define SANDBOX_MEMORY_BYTES (2 * GIB)

/* Not dumpable, no core, no new privileges, limits, and a system call filter that refuses to run programs, make
 * processes, look into others, change mounts or names spaces, load code into the kernel, or listen on the network.
 * Threads and client sockets stay (the resolver needs both). For a process with one thread. ERR_FATAL: then the process
 * ends. */
int sandbox_enter(struct error *e) _must_check_;

#endif
