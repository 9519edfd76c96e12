#include "sealed_io.h"

#include <errno.h>
#include <string.h>

static int input_read(void *file, uint64_t offset, void *data, size_t n, size_t *ret_n, struct error *e)
{
	return sealed_reader_read(file, offset, data, n, ret_n, e);
}

static int input_size(void *file, uint64_t *ret_size, struct error *e _unused_)
{
	*ret_size = sealed_reader_size(file);
	return 0;
}

const struct media_io_functions media_io_sealed_input = {.read = input_read, .size = input_size};

int sealed_output_open(struct sealed_output *o, int fd, const struct sealed_header *header,
		       const uint8_t key[SEALED_KEY_BYTES], struct error *e)
{
	*o = (struct sealed_output){.fd = fd, .header = *header};
	memcpy(o->key, key, sizeof(o->key));
	return sealed_writer_new(fd, header, key, &o->writer, e);
}

void sealed_output_close(struct sealed_output *o)
{
	sealed_writer_free(o->writer);
	o->writer = NULL;
	explicit_bzero(o->key, sizeof(o->key));
}

static int output_read(void *file, uint64_t offset, void *data, size_t n, size_t *ret_n, struct error *e)
{
	struct sealed_output *o = file;
	return sealed_writer_read(o->writer, offset, data, n, ret_n, e);
}

static int output_write(void *file, uint64_t offset, const void *data, size_t n, struct error *e)
{
	struct sealed_output *o = file;
	return sealed_writer_write(o->writer, offset, data, n, e);
}

static int output_clear(void *file, struct error *e)
{
	struct sealed_output *o = file;
	sealed_writer_free(TAKE_PTR(o->writer));
	if (ftruncate(o->fd, 0) < 0)
		return error_set_errno(e, ERR_RETRY, errno, "cannot empty an output");
	return sealed_writer_new(o->fd, &o->header, o->key, &o->writer, e);
}

static int output_finish(void *file, struct error *e)
{
	struct sealed_output *o = file;
	return sealed_writer_finish(o->writer, e);
}

static int output_size(void *file, uint64_t *ret_size, struct error *e _unused_)
{
	struct sealed_output *o = file;
	*ret_size = sealed_writer_size(o->writer);
	return 0;
}

const struct media_io_functions media_io_sealed_output = {
    .read = output_read,
    .write = output_write,
    .clear = output_clear,
    .finish = output_finish,
    .size = output_size,
};
