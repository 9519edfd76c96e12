/* Secrets come in by standard input or a file, never by an argument: arguments are seen by every process. */
#ifndef RUSHES_CTL_SECRET_INPUT_H
#define RUSHES_CTL_SECRET_INPUT_H

#include "base/error.h"

/* Reads all of `path` ("-": standard input), at most `max` bytes, white space at the end left out. The text ends with a
 * NUL and lies in memory from sodium_malloc(): secret_input_free() wipes it. ERR_REJECT when empty, longer or with a
 * NUL inside. */
int secret_input_read(const char *path, size_t max, char **ret, size_t *ret_n, struct error *e) _must_check_;
void secret_input_free(char *text);
DEFINE_CLEANUP(char, secret_input_free)

#endif
