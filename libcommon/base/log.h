/* Structured logs: one JSON object a line on standard error. The service logs once, at the edge; library code does not
 * log above debug but returns an error. Lines carry ids, never personal data, never secrets. */
#ifndef RUSHES_BASE_LOG_H
#define RUSHES_BASE_LOG_H

#include "base/error.h"

#include <stdbool.h>

enum log_level { LOG_LEVEL_DEBUG, LOG_LEVEL_INFO, LOG_LEVEL_WARNING, LOG_LEVEL_ERROR, LOG_LEVEL_MAX };

/* The W3C trace-id (32 hexadecimal digits) and parent-id (16) that travel in NATS headers and in HTTP as `traceparent`.
 */
#define TRACE_ID_BYTES	  33
#define SPAN_ID_BYTES	  17
#define TRACEPARENT_BYTES 56

struct trace {
	char id[TRACE_ID_BYTES]; /* "" when there is none */
	char span[SPAN_ID_BYTES];
};

/* A fresh random trace. */
struct trace trace_new(void);

/* Reads a W3C `traceparent` value (version 00). False on anything else; *ret is then untouched. NULL is false. */
bool trace_parse(const char *traceparent, struct trace *ret) _must_check_;

/* "00-<id>-<span>-01", or "" for a trace that is not set. */
void trace_format(const struct trace *t, char ret[TRACEPARENT_BYTES]);

/* What a line is about. Pointers must live for the call only; NULL fields are left out. */
struct log_context {
	const char *account;
	const char *recording;
	const char *job;
	const char *copy;
	const struct trace *trace;
};

/* Names the service for all lines and sets the lowest level that is written. Call once, at start. */
void log_init(const char *service, enum log_level level);
void log_set_level(enum log_level level);
enum log_level log_level_from_string(const char *text); /* LOG_LEVEL_MAX when unknown */

/* Writes one line by one write(2). Texts are cut at 2 KiB and made valid UTF-8 JSON. Any thread. `ctx` may be NULL. */
void log_write(enum log_level level, const struct log_context *ctx, const char *fmt, ...) _printf_(3, 4);

#define log_debug(ctx, ...)   log_write(LOG_LEVEL_DEBUG, ctx, __VA_ARGS__)
#define log_info(ctx, ...)    log_write(LOG_LEVEL_INFO, ctx, __VA_ARGS__)
#define log_warning(ctx, ...) log_write(LOG_LEVEL_WARNING, ctx, __VA_ARGS__)
#define log_error(ctx, ...)   log_write(LOG_LEVEL_ERROR, ctx, __VA_ARGS__)

#endif
