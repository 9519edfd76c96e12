/* Messages between the service and a delivery child: JSON objects over a SOCK_SEQPACKET pair. Neither side trusts the
 * other's lengths. One thread at a time per end. */
#ifndef RUSHES_PUSHER_CHANNEL_H
#define RUSHES_PUSHER_CHANNEL_H

#include "base/error.h"

#include <jansson.h>
#include <stdbool.h>

/* Longest message: a job's context with a sealed credential of the greatest length. */
#define CHANNEL_BYTES_MAX ((size_t)192 * 1024)

/* Makes both ends, closed on exec. */
int channel_pair(int ret[2], struct error *e) _must_check_;

/* Sends one message and releases it, also on failure. ERR_NOTFOUND: the other end is gone. NULL is ERR_NOMEM, so that a
 * failed json_pack() can be passed on. */
int channel_send(int fd, json_t *message, struct error *e) _must_check_;

/* Waits up to `wait_ms` (-1: without end) for a message; `*ret` is the caller's. ERR_RETRY: none came. ERR_NOTFOUND:
 * the other end is gone. ERR_CORRUPT: what came is no JSON object. */
int channel_receive(int fd, int wait_ms, json_t **ret, struct error *e) _must_check_;

/* Whether a message or the end of the other side waits. Does not block. */
bool channel_is_pending(int fd);

/* An error as a message {"op":"failed","class":-1,"text":"..."}, and back. */
json_t *channel_failure(const struct error *e);
int channel_failure_read(const json_t *message, struct error *e);

#endif
