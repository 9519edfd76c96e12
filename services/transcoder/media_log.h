/* What the FFmpeg libraries say. Their only channel is one callback per process without an argument, so this module
 * keeps the last message and the counts. No stdio: it runs inside the sandbox. Texts may quote hostile bytes: they are
 * made printable and stay short. */
#ifndef RUSHES_TRANSCODER_MEDIA_LOG_H
#define RUSHES_TRANSCODER_MEDIA_LOG_H

#include "base/error.h"

#define MEDIA_LOG_TEXT_BYTES 160

/* Installs the callback. Call once, before any other FFmpeg call. */
void media_log_init(void);

/* Lines of level error or worse that `context` (a decoder or demuxer; NULL: anything) logged since the start. Counting
 * begins with media_log_watch(context); at most one decoder and one demuxer are watched at a time. */
enum media_log_watch { MEDIA_LOG_DEMUXER, MEDIA_LOG_VIDEO, MEDIA_LOG_WATCH_MAX };
void media_log_watch(enum media_log_watch which, const void *context);
unsigned long media_log_count(enum media_log_watch which);

/* The last error line, or "". */
const char *media_log_last(void);

/* Fills `e` for a failed FFmpeg call: "<message>: <av_strerror> (<last line>)". AVERROR(ENOMEM) becomes ERR_NOMEM.
 * Returns the code. */
int media_error(struct error *e, int code, int averror, const char *fmt, ...) _printf_(4, 5);

#endif
