/* Errors: a function that can fail returns 0 or one of these negative classes, and says in a struct error what
 * happened, with which values and what to do. The classes say what the caller may do next; the text is for people and
 * logs. Texts never hold secrets or personal data: they are kept in attempt rows and logs. */
#ifndef RUSHES_BASE_ERROR_H
#define RUSHES_BASE_ERROR_H

#include "base/macros.h"

enum error_code {
	ERR_RETRY = -1,	    /* a later try may work: network, server away, busy, time limit */
	ERR_REJECT = -2,    /* the input is wrong; the same input never works */
	ERR_DENIED = -3,    /* no right to it */
	ERR_NOTFOUND = -4,  /* there is no such thing, by a positive answer */
	ERR_CONFLICT = -5,  /* somebody else changed it first; a compare-and-set that matched nothing */
	ERR_CORRUPT = -6,   /* stored bytes fail their check */
	ERR_FULL = -7,	    /* no room: disk, quota, queue, limit */
	ERR_NOMEM = -8,	    /* allocation refused */
	ERR_CANCELLED = -9, /* the work is no longer wanted */
	ERR_FATAL = -10,    /* the process or its configuration is wrong; a person has to act */
};

/* Longest chain of messages kept; longer ones lose their innermost part. */
#define ERROR_TEXT_BYTES 768

struct error {
	int code; /* enum error_code, 0 when nothing is set */
	char text[ERROR_TEXT_BYTES];
};

/* Sets code and text, replacing what was there. `e` may be NULL. Returns `code`, so `return error_set(e, ERR_REJECT,
 * ...)`. */
int error_set(struct error *e, int code, const char *fmt, ...) _printf_(3, 4);

/* The same with ": <strerror> (errno N)" behind it. ENOSPC and EDQUOT give ERR_FULL, ENOMEM gives ERR_NOMEM, whatever
 * `code` is. */
int error_set_errno(struct error *e, int code, int errno_value, const char *fmt, ...) _printf_(4, 5);

/* Puts "<message>: " before the text, keeping the code. Returns the code (ERR_FATAL when none was set; `e` may be
 * NULL). */
int error_wrap(struct error *e, const char *fmt, ...) _printf_(2, 3);

/* ERR_NOMEM with a fixed text: does not allocate. */
int error_nomem(struct error *e);

/* "retry", "reject", ...: for logs, attempt rows and JSON. Never NULL. */
const char *error_code_to_string(int code);

#endif
