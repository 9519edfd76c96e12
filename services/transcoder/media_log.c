#include "media_log.h"

#include <errno.h>
#include <libavutil/error.h>
#include <libavutil/log.h>
#include <pthread.h>
#include <stdarg.h>
#include <string.h>

/* The sink: written by any FFmpeg thread. */
static struct {
	pthread_mutex_t lock;
	const void *watched[MEDIA_LOG_WATCH_MAX];
	unsigned long counts[MEDIA_LOG_WATCH_MAX];
	char last[MEDIA_LOG_TEXT_BYTES];
} sink = {.lock = PTHREAD_MUTEX_INITIALIZER};

static void __attribute__((format(printf, 3, 0))) log_line(void *context, int level, const char *fmt, va_list args)
{
	if (level > AV_LOG_ERROR)
		return;
	char text[MEDIA_LOG_TEXT_BYTES];
	(void)vsnprintf(text, sizeof(text), fmt, args);
	for (char *c = text; *c; c++)
		if (*c < ' ' || *c > '~')
			*c = c[1] ? '?' : '\0';
	(void)pthread_mutex_lock(&sink.lock);
	for (int i = 0; i < MEDIA_LOG_WATCH_MAX; i++)
		if (sink.watched[i] && sink.watched[i] == context)
			sink.counts[i]++;
	if (text[0])
		memcpy(sink.last, text, sizeof(text));
	(void)pthread_mutex_unlock(&sink.lock);
}

void media_log_init(void)
{
	av_log_set_level(AV_LOG_ERROR);
	av_log_set_callback(log_line);
}

void media_log_watch(enum media_log_watch which, const void *context)
{
	(void)pthread_mutex_lock(&sink.lock);
	sink.watched[which] = context;
	sink.counts[which] = 0;
	(void)pthread_mutex_unlock(&sink.lock);
}

unsigned long media_log_count(enum media_log_watch which)
{
	(void)pthread_mutex_lock(&sink.lock);
	unsigned long n = sink.counts[which];
	(void)pthread_mutex_unlock(&sink.lock);
	return n;
}

const char *media_log_last(void)
{
	return sink.last;
}

int media_error(struct error *e, int code, int averror, const char *fmt, ...)
{
	char text[ERROR_TEXT_BYTES / 2], reason[AV_ERROR_MAX_STRING_SIZE];
	va_list args;
	va_start(args, fmt);
	(void)vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	if (averror == AVERROR(ENOMEM))
		code = ERR_NOMEM;
	const char *last = media_log_last();
	return error_set(e, code, "%s: %s%s%s%s", text, av_make_error_string(reason, sizeof(reason), averror),
			 *last ? " (" : "", last, *last ? ")" : "");
}
