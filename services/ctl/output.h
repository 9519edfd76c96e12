/* What a command shows: one JSON value, printed as it is for programs, or through a table of columns for people. */
#ifndef RUSHES_CTL_OUTPUT_H
#define RUSHES_CTL_OUTPUT_H

#include "base/macros.h"

#include <jansson.h>
#include <stdbool.h>

enum column_type {
	COLUMN_TEXT,	 /* strings as they are; lists joined with ", "; objects as compact JSON */
	COLUMN_TIME,	 /* RFC 3339 from the database: shown in UTC to the second */
	COLUMN_SIZE,	 /* bytes: with KiB, MiB, GiB */
	COLUMN_NUMBER,	 /* right-aligned */
	COLUMN_DURATION, /* seconds, with fraction */
};

struct column {
	const char *key;   /* of the JSON object; a dot goes one level down: "facts.codec" */
	const char *title; /* a table of columns ends with NULL */
	enum column_type type;
};

/* One cell as text: control characters become '?', null and absent become "-". Returns a string to free. */
char *output_cell(const struct column *c, const json_t *row);

/* The rows aligned under their titles; `none` when there are none. */
void output_table(const struct column *columns, const json_t *rows, const char *none, FILE *out);

/* One object, a line for each column. */
void output_record(const struct column *columns, const json_t *object, FILE *out);

/* Indented JSON and a line's end. */
void output_json(const json_t *value, FILE *out);

#endif
