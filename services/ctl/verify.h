/* What the rows say about a recording's bytes, checked against each other: segments → raw → files → copies. Pure, but
 * for verify_local_copy(). */
#ifndef RUSHES_CTL_VERIFY_H
#define RUSHES_CTL_VERIFY_H

#include "base/error.h"

#include <jansson.h>
#include <stdbool.h>

enum verify_result { VERIFY_OK, VERIFY_FAILED, VERIFY_NOT_CHECKED };

/* Appends {"check", "result": "ok" | "failed" | "not checked", "detail"} to `checks`. */
void verify_add(json_t *checks, enum verify_result result, const char *check, const char *fmt, ...) _printf_(4, 5);

/* The chain in the object that report_recording() gave. */
void verify_chain(json_t *recording, json_t *checks);

/* Reads a delivered file of a `file` target on this machine whole and compares size and SHA-256 with its row.
 * `folder`: the target's path; `location`: under it. What cannot be opened here counts as not checked. */
void verify_local_copy(json_t *checks, const char *check, const char *folder, const char *location, json_t *file);

/* How many checks have this result. */
size_t verify_count(json_t *checks, enum verify_result result);

#endif
