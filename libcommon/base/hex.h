/* Hexadecimal text. */
#ifndef RUSHES_BASE_HEX_H
#define RUSHES_BASE_HEX_H

#include "base/macros.h"

#include <stdbool.h>

/* Writes 2*n lower-case digits and an end: `ret` holds 2*n+1 bytes. */
void hex_encode(const void *data, size_t n, char *ret);

/* Reads exactly 2*n digits of either case from an ended string. False on anything else; `ret` is then undefined. */
bool hex_decode(const char *text, void *ret, size_t n) _must_check_;

#endif
