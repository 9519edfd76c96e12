/* What the conversion reads and writes: files with random access behind a small table of functions (sealed files in
 * the service, plain files and memory in tests). The first failure is kept: FFmpeg turns I/O errors into other codes or
 * into a quiet end of file, so whoever judges a conversion looks here first. One thread uses an object. */
#ifndef RUSHES_TRANSCODER_MEDIA_IO_H
#define RUSHES_TRANSCODER_MEDIA_IO_H

#include "base/error.h"

#include <libavformat/avio.h>
#include <stdbool.h>

struct media_io_functions {
	/* Up to `n` bytes from `offset`; *ret_n 0 means the end. */
	int (*read)(void *file, uint64_t offset, void *data, size_t n, size_t *ret_n, struct error *e);
	/* All `n` bytes at `offset`; a hole before it reads as zeros. NULL: the file is only read. */
	int (*write)(void *file, uint64_t offset, const void *data, size_t n, struct error *e);
	/* Forgets all contents; NULL with `write`. */
	int (*clear)(void *file, struct error *e);
	/* All was written: makes the file complete and durable; only reading follows. NULL with `write`. */
	int (*finish)(void *file, struct error *e);
	int (*size)(void *file, uint64_t *ret_size, struct error *e);
};

struct media_io {
	const struct media_io_functions *functions;
	void *file;	       /* borrowed */
	struct error error;    /* the first failure; code 0: none */
	void (*moved)(void *); /* called after every transfer: the sign of life; may be NULL */
	void *moved_arg;
};

void media_io_init(struct media_io *io, const struct media_io_functions *functions, void *file);

/* As in the table above; failures are kept in io->error and nothing is tried after one. */
int media_io_read(struct media_io *io, uint64_t offset, void *data, size_t n, size_t *ret_n) _must_check_;
int media_io_write(struct media_io *io, uint64_t offset, const void *data, size_t n) _must_check_;
int media_io_clear(struct media_io *io) _must_check_;
int media_io_finish(struct media_io *io) _must_check_;
int media_io_size(struct media_io *io, uint64_t *ret_size) _must_check_;

/* An AVIOContext that reads the bytes [start, end) of `io`, with `prefix_bytes` bytes of `prefix` before them (at most
 * 4). Several views of one `io` may live at a time, beside a writing one. `io` must outlive it. ERR_NOMEM. */
int media_view_read(struct media_io *io, uint64_t start, uint64_t end, const void *prefix, size_t prefix_bytes,
		    AVIOContext **ret, struct error *e) _must_check_;

/* One that writes from offset 0 on and seeks. */
int media_view_write(struct media_io *io, AVIOContext **ret, struct error *e) _must_check_;

/* Frees view and buffer without flushing; accepts NULL. */
void media_view_free(AVIOContext *view);
DEFINE_CLEANUP(AVIOContext, media_view_free)

/* Plain files by descriptor, for tests and the developer's command; `file` is an int *. */
extern const struct media_io_functions media_io_plain;

#endif
