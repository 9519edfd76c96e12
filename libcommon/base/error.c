#include "base/error.h"

#include <errno.h>
#include <stdarg.h>
#include <string.h>

int error_set(struct error *e, int code, const char *fmt, ...)
{
	if (!e)
		return code;
	va_list args;
	va_start(args, fmt);
	/* vsnprintf into a scratch buffer: an argument may point into e->text */
	char text[ERROR_TEXT_BYTES];
	(void)vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	e->code = code;
	memcpy(e->text, text, sizeof(text));
	return code;
}

int error_set_errno(struct error *e, int code, int errno_value, const char *fmt, ...)
{
	if (errno_value == ENOSPC || errno_value == EDQUOT)
		code = ERR_FULL;
	else if (errno_value == ENOMEM)
		code = ERR_NOMEM;
	if (!e)
		return code;
	char text[ERROR_TEXT_BYTES];
	va_list args;
	va_start(args, fmt);
	(void)vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	char reason[96];
	return error_set(e, code, "%s: %s (errno %d)", text, strerror_r(errno_value, reason, sizeof(reason)),
			 errno_value);
}

int error_wrap(struct error *e, const char *fmt, ...)
{
	if (!e)
		return ERR_FATAL;
	char outer[ERROR_TEXT_BYTES];
	va_list args;
	va_start(args, fmt);
	(void)vsnprintf(outer, sizeof(outer), fmt, args);
	va_end(args);
	return error_set(e, e->code ? e->code : ERR_FATAL, "%s: %s", outer, e->text);
}

int error_nomem(struct error *e)
{
	return error_set(e, ERR_NOMEM, "out of memory");
}

const char *error_code_to_string(int code)
{
	switch (code) {
	case 0:
		return "ok";
	case ERR_RETRY:
		return "retry";
	case ERR_REJECT:
		return "reject";
	case ERR_DENIED:
		return "denied";
	case ERR_NOTFOUND:
		return "not-found";
	case ERR_CONFLICT:
		return "conflict";
	case ERR_CORRUPT:
		return "corrupt";
	case ERR_FULL:
		return "full";
	case ERR_NOMEM:
		return "out-of-memory";
	case ERR_CANCELLED:
		return "cancelled";
	default:
		return "fatal";
	}
}
