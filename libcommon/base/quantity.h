/* Numbers with units, as people write them in configuration and on command lines. */
#ifndef RUSHES_BASE_QUANTITY_H
#define RUSHES_BASE_QUANTITY_H

#include "base/error.h"

enum quantity_type {
	QUANTITY_NUMBER,   /* "25": no unit */
	QUANTITY_BYTES,	   /* "25", "64KiB", "1MiB", "2GiB": bytes */
	QUANTITY_DURATION, /* "250ms", "30s", "5m", "2h", "28d": milliseconds; the unit is required */
	QUANTITY_TYPE_MAX
};

/* Reads all of `text`. ERR_REJECT with what is wanted ("want a whole number"), without naming the text. */
int quantity_parse(enum quantity_type type, const char *text, uint64_t *ret, struct error *e) _must_check_;

#endif
