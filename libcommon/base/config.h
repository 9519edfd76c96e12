/* Configuration by one table per service: RUSHES_* variables or lines NAME=VALUE of a file (the environment wins). The
 * table also prints --help and docs/configuration.md. Unknown names and wrong values are refused with the reason.
 * Secrets are never values: options of type path name the file that holds one. */
#ifndef RUSHES_BASE_CONFIG_H
#define RUSHES_BASE_CONFIG_H

#include "base/error.h"

#include <stdbool.h>

enum config_type {
	CONFIG_STRING,	 /* char *: allocated */
	CONFIG_PATH,	 /* char *: an absolute path, or relative to the working folder; kept as written */
	CONFIG_UINT,	 /* uint64_t within [min, max] */
	CONFIG_BYTES,	 /* uint64_t: a number with an optional KiB, MiB or GiB behind it */
	CONFIG_DURATION, /* int64_t milliseconds: a number with ms, s, m, h or d behind it */
	CONFIG_BOOL,	 /* bool: true, false, yes, no, 1, 0 */
	CONFIG_CHOICE,	 /* char *: one of `choices` */
	CONFIG_ADDRESS,	 /* char *: IPv4:port, [IPv6]:port; port 0 takes a free one */
	CONFIG_TYPE_MAX
};

struct config_option {
	const char *name; /* "RUSHES_INGEST_LISTEN" */
	enum config_type type;
	const char *initial; /* text of the default; NULL: required; "" for strings: not set */
	uint64_t min, max;   /* inclusive; for UINT, BYTES and DURATION (in its unit); max 0: no upper limit */
	const char *choices; /* "a|b|c" */
	size_t offset;	     /* into the service's configuration struct */
	const char *help;    /* one sentence for --help and the generated page */
};

/* A table ends with a zeroed option. Tables may be joined: a service names its own and the shared ones it uses. */
#define CONFIG_TABLES_MAX 8

struct config_schema {
	const struct config_option *tables[CONFIG_TABLES_MAX]; /* NULL after the last */
	size_t size;					       /* of the configuration struct */
};

/* Fills `config` (schema->size bytes, zeroed by the caller) from defaults, then `file` (NULL: none), then the
 * environment. Every RUSHES_* variable must be in the schema. On failure the struct is released and zero; `e` names
 * option and reason. */
int config_load(const struct config_schema *schema, const char *file, void *config, struct error *e) _must_check_;

/* Frees the strings in `config` and zeroes it. */
void config_done(const struct config_schema *schema, void *config);

/* NAME=VALUE lines of the effective configuration. */
void config_print(const struct config_schema *schema, const void *config, FILE *out);

/* The options with type, default and help, for --help. */
void config_print_help(const struct config_schema *schema, FILE *out);

/* The same as rows of a Markdown table, for docs/configuration.md. */
void config_print_markdown(const struct config_schema *schema, FILE *out);

#endif
