#include "media_io.h"

#include <assert.h>
#include <errno.h>
#include <libavutil/error.h>
#include <libavutil/mem.h>
#include <string.h>
#include <sys/stat.h>

/* FFmpeg's own reads and writes are gathered to these sizes; a slot of a sealed file is 64 KiB. */
#define VIEW_READ_BYTES	 (32 * 1024)
#define VIEW_WRITE_BYTES (64 * 1024)
#define VIEW_PREFIX_MAX	 4

struct media_view {
	struct media_io *io;
	uint64_t start, end; /* of a reading view */
	uint8_t prefix[VIEW_PREFIX_MAX];
	size_t prefix_bytes;
	uint64_t position; /* in the view: 0 is the first byte of the prefix */
};

void media_io_init(struct media_io *io, const struct media_io_functions *functions, void *file)
{
	*io = (struct media_io){.functions = functions, .file = file};
}

static int moved(struct media_io *io, int r)
{
	if (r == 0 && io->moved)
		io->moved(io->moved_arg);
	return r;
}

int media_io_read(struct media_io *io, uint64_t offset, void *data, size_t n, size_t *ret_n)
{
	*ret_n = 0;
	if (io->error.code)
		return io->error.code;
	return moved(io, io->functions->read(io->file, offset, data, n, ret_n, &io->error));
}

int media_io_write(struct media_io *io, uint64_t offset, const void *data, size_t n)
{
	assert(io->functions->write);
	if (io->error.code)
		return io->error.code;
	return moved(io, io->functions->write(io->file, offset, data, n, &io->error));
}

int media_io_clear(struct media_io *io)
{
	if (io->error.code)
		return io->error.code;
	return moved(io, io->functions->clear(io->file, &io->error));
}

int media_io_finish(struct media_io *io)
{
	if (io->error.code)
		return io->error.code;
	return moved(io, io->functions->finish(io->file, &io->error));
}

int media_io_size(struct media_io *io, uint64_t *ret_size)
{
	if (io->error.code)
		return io->error.code;
	return io->functions->size(io->file, ret_size, &io->error);
}

/* The callbacks' result for FFmpeg; the true reason stays in io->error. */
static int view_error(int code)
{
	return code == ERR_NOMEM ? AVERROR(ENOMEM) : AVERROR(EIO);
}

static int view_read(void *opaque, uint8_t *buf, int size)
{
	struct media_view *v = opaque;
	if (size <= 0)
		return AVERROR(EINVAL);
	size_t n = (size_t)size;
	if (v->position < v->prefix_bytes) {
		n = MIN(n, v->prefix_bytes - (size_t)v->position);
		memcpy(buf, v->prefix + v->position, n);
		v->position += n;
		return (int)n;
	}
	uint64_t at = v->start + (v->position - v->prefix_bytes);
	if (at >= v->end)
		return AVERROR_EOF;
	n = MIN(n, v->end - at);
	size_t got = 0;
	int r = media_io_read(v->io, at, buf, n, &got);
	if (r < 0)
		return view_error(r);
	if (got == 0)
		return AVERROR_EOF;
	v->position += got;
	return (int)got;
}

static int view_write(void *opaque, uint8_t *buf, int size)
{
	struct media_view *v = opaque;
	if (size < 0)
		return AVERROR(EINVAL);
	int r = media_io_write(v->io, v->position, buf, (size_t)size);
	if (r < 0)
		return view_error(r);
	v->position += (uint64_t)size;
	return size;
}

static int64_t view_length(struct media_view *v)
{
	if (v->end != UINT64_MAX)
		return (int64_t)(v->end - v->start + v->prefix_bytes);
	uint64_t size;
	int r = media_io_size(v->io, &size);
	return r < 0 ? view_error(r) : (int64_t)size;
}

static int64_t view_seek(void *opaque, int64_t offset, int whence)
{
	struct media_view *v = opaque;
	whence &= ~AVSEEK_FORCE;
	int64_t base = 0;
	if (whence == AVSEEK_SIZE)
		return view_length(v);
	if (whence == SEEK_END)
		base = view_length(v);
	else if (whence == SEEK_CUR)
		base = (int64_t)v->position;
	else if (whence != SEEK_SET)
		return AVERROR(EINVAL);
	int64_t to;
	if (base < 0)
		return base;
	if (__builtin_add_overflow(base, offset, &to) || to < 0)
		return AVERROR(EINVAL);
	v->position = (uint64_t)to;
	return to;
}

static int view_new(const struct media_view *model, bool writes, AVIOContext **ret, struct error *e)
{
	int bytes = writes ? VIEW_WRITE_BYTES : VIEW_READ_BYTES;
	struct media_view *v = malloc(sizeof(*v));
	unsigned char *buffer = av_malloc((size_t)bytes);
	AVIOContext *pb = NULL;
	if (v && buffer) {
		*v = *model;
		pb = avio_alloc_context(buffer, bytes, writes, v, writes ? NULL : view_read, writes ? view_write : NULL,
					view_seek);
	}
	if (!pb) {
		free(v);
		av_free(buffer);
		return error_nomem(e);
	}
	*ret = pb;
	return 0;
}

int media_view_read(struct media_io *io, uint64_t start, uint64_t end, const void *prefix, size_t prefix_bytes,
		    AVIOContext **ret, struct error *e)
{
	assert(prefix_bytes <= VIEW_PREFIX_MAX && start <= end);
	struct media_view v = {.io = io, .start = start, .end = end, .prefix_bytes = prefix_bytes};
	if (prefix_bytes)
		memcpy(v.prefix, prefix, prefix_bytes);
	return view_new(&v, false, ret, e);
}

int media_view_write(struct media_io *io, AVIOContext **ret, struct error *e)
{
	struct media_view v = {.io = io, .end = UINT64_MAX};
	return view_new(&v, true, ret, e);
}

void media_view_free(AVIOContext *view)
{
	if (!view)
		return;
	free(view->opaque);
	av_freep(&view->buffer);
	avio_context_free(&view);
}

static int plain_read(void *file, uint64_t offset, void *data, size_t n, size_t *ret_n, struct error *e)
{
	ssize_t got;
	do
		got = pread(*(int *)file, data, n, (off_t)offset);
	while (got < 0 && errno == EINTR);
	if (got < 0)
		return error_set_errno(e, ERR_RETRY, errno, "cannot read at %lu", (unsigned long)offset);
	*ret_n = (size_t)got;
	return 0;
}

static int plain_write(void *file, uint64_t offset, const void *data, size_t n, struct error *e)
{
	const uint8_t *at = data;
	while (n > 0) {
		ssize_t put = pwrite(*(int *)file, at, n, (off_t)offset);
		if (put < 0 && errno == EINTR)
			continue;
		if (put < 0)
			return error_set_errno(e, ERR_RETRY, errno, "cannot write at %lu", (unsigned long)offset);
		at += put;
		offset += (uint64_t)put;
		n -= (size_t)put;
	}
	return 0;
}

static int plain_clear(void *file, struct error *e)
{
	if (ftruncate(*(int *)file, 0) < 0)
		return error_set_errno(e, ERR_RETRY, errno, "cannot empty the file");
	return 0;
}

static int plain_finish(void *file _unused_, struct error *e _unused_)
{
	return 0;
}

static int plain_size(void *file, uint64_t *ret_size, struct error *e)
{
	struct stat st;
	if (fstat(*(int *)file, &st) < 0)
		return error_set_errno(e, ERR_RETRY, errno, "cannot read the file's size");
	*ret_size = (uint64_t)st.st_size;
	return 0;
}

const struct media_io_functions media_io_plain = {
    .read = plain_read,
    .write = plain_write,
    .clear = plain_clear,
    .finish = plain_finish,
    .size = plain_size,
};
