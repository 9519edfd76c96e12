/* JSON objects from outside read by a table into a struct: name, type, required, limits, offset. Jansson parses. */
#ifndef RUSHES_BASE_JSON_H
#define RUSHES_BASE_JSON_H

#include "base/error.h"

#include <jansson.h>
#include <stdbool.h>

enum json_field_type {
	JSON_FIELD_STRING, /* char *: allocated copy, `max` bytes at most, no NUL inside */
	JSON_FIELD_UINT,   /* uint64_t within [min, max], max at most 2^53 */
	JSON_FIELD_BOOL,   /* bool */
	JSON_FIELD_UUID,   /* struct uuid */
	JSON_FIELD_OBJECT, /* json_t *: a new reference */
	JSON_FIELD_CHOICE, /* const char *: points into `choices_list`, a NULL-ended array of strings */
};

struct json_field {
	const char *name; /* a table ends with NULL */
	enum json_field_type type;
	bool required;
	uint64_t min, max; /* of the number, or bytes of the string */
	const char *const *choices_list;
	size_t offset;
	/* offset of a bool that is set when the field was there; 0: none */
	size_t seen_offset;
};

/* Deepest nesting and largest text accepted by json_parse. */
#define JSON_TEXT_BYTES_MAX ((size_t)1024 * 1024)

/* Parses one JSON object, duplicate keys refused. The result is the caller's (json_decref). ERR_REJECT with place. */
int json_parse(const char *text, size_t n, json_t **ret, struct error *e) _must_check_;

/* Fills `into` (zeroed by the caller). Unknown fields are refused unless `allow_unknown`; null counts as absent.
 * On failure what was filled is released. */
int json_read(json_t *object, const struct json_field *table, bool allow_unknown, void *into,
	      struct error *e) _must_check_;

/* Releases what json_read filled and zeroes it. */
void json_read_done(const struct json_field *table, void *into);

#endif
