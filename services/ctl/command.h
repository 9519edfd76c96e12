/* The command line as tables: nouns hold commands, commands hold options, one reader fills the command's struct. The
 * same tables print --help and the generated page. */
#ifndef RUSHES_CTL_COMMAND_H
#define RUSHES_CTL_COMMAND_H

#include "base/error.h"
#include "base/uuid.h"

#include <stdbool.h>

enum option_type {
	OPTION_FLAG,	 /* bool: given or not; takes no value */
	OPTION_STRING,	 /* const char *: points into argv; min to max bytes, no control characters */
	OPTION_UINT,	 /* uint64_t within [min, max] */
	OPTION_BYTES,	 /* uint64_t, KiB, MiB, GiB */
	OPTION_DURATION, /* int64_t milliseconds: ms, s, m, h, d */
	OPTION_BOOL,	 /* bool: on, off, yes, no, true, false */
	OPTION_UUID,	 /* struct uuid */
	OPTION_CHOICE,	 /* const char *: points into the table; one of `choices` */
	OPTION_TYPE_MAX
};

/* One option ("--reason") or one positional argument ("RECORDING", read in the order of the table). */
struct option {
	const char *name;
	const char *value; /* its value's name in help; NULL for flags and positional arguments */
	enum option_type type;
	bool required;
	uint64_t min, max;	    /* inclusive; max 0: no upper limit (strings: OPTION_STRING_BYTES_MAX) */
	const char *const *choices; /* ended by NULL */
	size_t offset;		    /* into the command's struct of arguments */
	size_t seen_offset;	    /* of a bool set when it was given; 0: none */
	const char *help;
};

#define OPTION_STRING_BYTES_MAX 1000

struct ctl;

enum command_flag {
	COMMAND_DATABASE = 1 << 0,    /* needs the database */
	COMMAND_DESTRUCTIVE = 1 << 1, /* asks first, or demands --yes */
};

struct command {
	const char *verb;	      /* one word, or two; NULL for a noun that is itself the command */
	const char *summary;	      /* one line, no full stop */
	const char *description;      /* what to know before using it; lines of at most 80 characters; may be NULL */
	const char *examples;	      /* lines to copy; may be NULL */
	const struct option *options; /* ended by a zeroed one; may be NULL */
	size_t arguments_size;
	unsigned flags; /* enum command_flag */
	int (*run)(struct ctl *c, const void *arguments, struct error *e);
};

struct noun {
	const char *name;
	const char *summary;
	const struct command *commands; /* ended by a zeroed one */
};

/* What one command line asks for. */
struct invocation {
	const struct noun *noun;       /* NULL: none was named */
	const struct command *command; /* NULL: none was named */
	void *arguments;	       /* command->arguments_size bytes */
	const char *config_file;
	const char *database;
	bool json, yes, help, version, markdown;
};

/* Reads a command line against `nouns` (ended by a zeroed one). Options may stand anywhere, as --name VALUE or
 * --name=VALUE; "--" ends them. ERR_REJECT says what is wrong and what to do; noun and command are then set as far as
 * they were understood. Texts point into argv. With --help nothing is demanded. */
int invocation_parse(const struct noun *nouns, int argc, char **argv, struct invocation *ret,
		     struct error *e) _must_check_;
void invocation_done(struct invocation *i);

/* Help at three depths: all nouns; one noun's commands; one command. */
void help_print_all(const struct noun *nouns, FILE *out);
void help_print_noun(const struct noun *n, FILE *out);
void help_print_command(const struct noun *n, const struct command *c, FILE *out);

/* Every command as a Markdown table. */
void help_print_markdown(const struct noun *nouns, FILE *out);

/* The word of `words` nearest to `wrong`, or NULL when none is near: for "did you mean". `next` yields the words, NULL
 * at the end. */
const char *suggest(const char *wrong, const char *(*next)(const void *list, size_t i), const void *list);

#endif
