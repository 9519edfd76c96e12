#include "base/log.h"

#include "base/buffer.h"
#include "base/clock.h"
#include "base/hex.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/random.h>

#define LOG_TEXT_BYTES 2048
/* Six bytes a character at worst (\u00xx), and the fixed fields. */
#define LOG_LINE_BYTES (6 * LOG_TEXT_BYTES + 1024)

static char service_name[32] = "rushes";
static _Atomic enum log_level lowest = LOG_LEVEL_INFO;

static const char *const level_names[LOG_LEVEL_MAX] = {"debug", "info", "warning", "error"};

struct trace trace_new(void)
{
	uint8_t raw[24];
	if (getrandom(raw, sizeof(raw), 0) != (ssize_t)sizeof(raw))
		abort();
	struct trace t;
	hex_encode(raw, 16, t.id);
	hex_encode(raw + 16, 8, t.span);
	return t;
}

bool trace_parse(const char *text, struct trace *ret)
{
	if (!text || strnlen(text, TRACEPARENT_BYTES) != TRACEPARENT_BYTES - 1)
		return false;
	if (strncmp(text, "00-", 3) != 0 || text[35] != '-' || text[52] != '-')
		return false;
	struct trace t;
	uint8_t raw[16];
	memcpy(t.id, text + 3, 32);
	t.id[32] = '\0';
	memcpy(t.span, text + 36, 16);
	t.span[16] = '\0';
	if (!hex_decode(t.id, raw, 16) || !hex_decode(t.span, raw, 8))
		return false;
	*ret = t;
	return true;
}

void trace_format(const struct trace *t, char ret[TRACEPARENT_BYTES])
{
	if (t->id[0] == '\0')
		ret[0] = '\0';
	else
		(void)snprintf(ret, TRACEPARENT_BYTES, "00-%s-%s-01", t->id, t->span);
}

void log_init(const char *service, enum log_level level)
{
	(void)snprintf(service_name, sizeof(service_name), "%s", service);
	lowest = level;
}

void log_set_level(enum log_level level)
{
	lowest = level;
}

enum log_level log_level_from_string(const char *text)
{
	for (int i = 0; i < LOG_LEVEL_MAX; i++)
		if (strcmp(text, level_names[i]) == 0)
			return (enum log_level)i;
	return LOG_LEVEL_MAX;
}

/* Length of the valid UTF-8 sequence at p (n bytes left), or 0. */
static size_t utf8_length(const unsigned char *p, size_t n)
{
	if (p[0] < 0x80)
		return 1;
	size_t len = p[0] >= 0xf0 && p[0] <= 0xf4   ? 4
		     : p[0] >= 0xe0 && p[0] <= 0xef ? 3
		     : p[0] >= 0xc2 && p[0] <= 0xdf ? 2
						    : 0;
	if (len == 0 || len > n)
		return 0;
	for (size_t i = 1; i < len; i++)
		if ((p[i] & 0xc0) != 0x80)
			return 0;
	if ((p[0] == 0xe0 && p[1] < 0xa0) || (p[0] == 0xed && p[1] > 0x9f) || (p[0] == 0xf0 && p[1] < 0x90) ||
	    (p[0] == 0xf4 && p[1] > 0x8f))
		return 0;
	return len;
}

static int append_json_string(struct buffer *b, const char *s)
{
	size_t n = strlen(s);
	int r = buffer_append(b, "\"", 1);
	for (size_t i = 0; i < n && r == 0;) {
		const unsigned char *p = (const unsigned char *)s + i;
		size_t len = utf8_length(p, n - i);
		if (len == 0) {
			r = buffer_append_string(b, "\\ufffd");
			len = 1;
		} else if (*p == '"' || *p == '\\') {
			r = buffer_printf(b, "\\%c", *p);
		} else if (*p < 0x20 || *p == 0x7f) {
			r = buffer_printf(b, "\\u%04x", *p);
		} else {
			r = buffer_append(b, p, len);
		}
		i += len;
	}
	return r < 0 ? r : buffer_append(b, "\"", 1);
}

static void append_field(struct buffer *b, const char *name, const char *value)
{
	if (!value || value[0] == '\0')
		return;
	if (buffer_printf(b, ",\"%s\":", name) == 0)
		(void)append_json_string(b, value);
}

void log_write(enum log_level level, const struct log_context *ctx, const char *fmt, ...)
{
	if (level < lowest)
		return;
	char text[LOG_TEXT_BYTES];
	va_list args;
	va_start(args, fmt);
	(void)vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);

	char when[CLOCK_TEXT_BYTES];
	clock_format(clock_wall_us(), when);
	struct buffer line;
	buffer_init(&line, LOG_LINE_BYTES);
	int r = buffer_printf(&line, "{\"time\":\"%s\",\"level\":\"%s\",\"service\":\"%s\",\"message\":", when,
			      level_names[level], service_name);
	if (r == 0)
		r = append_json_string(&line, text);
	if (r == 0 && ctx) {
		append_field(&line, "account", ctx->account);
		append_field(&line, "recording", ctx->recording);
		append_field(&line, "job", ctx->job);
		append_field(&line, "copy", ctx->copy);
		append_field(&line, "trace", ctx->trace ? ctx->trace->id : NULL);
	}
	if (r == 0)
		r = buffer_append(&line, "}\n", 2);
	if (r == 0 && write(STDERR_FILENO, line.data, line.size) < 0) {
		/* there is nowhere left to say so */
	}
	buffer_done(&line);
}
