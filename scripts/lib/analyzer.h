/* Included before every file that clang-tidy looks at: tells the analyzer what it cannot see across files, that these
 * functions return the class they are given, which is never 0. Without it each early return looks like a success. */
#include "base/error.h"

#define error_set(e, code, ...)		 (error_set(e, code, __VA_ARGS__), (code) ? (code) : ERR_FATAL)
#define error_set_errno(e, code, n, ...) (error_set_errno(e, code, n, __VA_ARGS__), (code) ? (code) : ERR_FATAL)
#define error_wrap(e, ...)		 (error_wrap(e, __VA_ARGS__), ERR_FATAL)
#define error_nomem(e)			 (error_nomem(e), ERR_NOMEM)
