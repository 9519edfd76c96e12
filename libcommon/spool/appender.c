#include "spool/appender.h"

#include "crypto/digest.h"
#include "crypto/random.h"
#include "spool/codec.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <string.h>
#include <sys/stat.h>

struct sealed_appender {
	int fd;
	bool direct; /* the descriptor is in O_DIRECT mode */
	bool finished;
	struct error failed; /* the first failure, sticky */
	struct slab *buffers;
	struct sealed_codec *codec;
	struct sha256 *sha;
	uint32_t crc;	  /* of the full slots */
	uint64_t slots;	  /* sealed so far */
	uint64_t stored;  /* of these, written to the file */
	uint64_t durable; /* plaintext bytes */
	size_t tail_size; /* bytes of the slot that is filling */
	uint8_t *tail;	  /* SEALED_SLOT_PAYLOAD */
	uint8_t *out;	  /* lent buffer, only within a call */
	size_t out_size;
};

static int refuse(struct sealed_appender *a, struct error *e)
{
	return error_set(e, a->failed.code, "an earlier write failed: %s", a->failed.text);
}

static int fail(struct sealed_appender *a, const struct error *why, struct error *e)
{
	slab_give(a->buffers, TAKE_PTR(a->out));
	a->out_size = 0;
	a->failed = *why;
	if (e)
		*e = *why;
	return why->code;
}

/* Some file systems take the flag and refuse the write. Nothing was written then, so writing again is no retry of a
 * failed write. */
static int write_at(struct sealed_appender *a, const void *data, size_t n, uint64_t offset, struct error *e)
{
	if (a->direct) {
		ssize_t put = pwrite(a->fd, data, n, (off_t)offset);
		if (put == (ssize_t)n)
			return 0;
		if (put < 0 && errno != EINVAL && errno != EINTR)
			return error_set_errno(e, ERR_RETRY, errno, "sealed file cannot be written at %llu",
					       (unsigned long long)offset);
		int flags = fcntl(a->fd, F_GETFL);
		if (flags < 0 || fcntl(a->fd, F_SETFL, flags & ~O_DIRECT) < 0)
			return error_set_errno(e, ERR_RETRY, errno, "sealed file");
		a->direct = false;
		if (put > 0) {
			data = (const uint8_t *)data + put;
			offset += (uint64_t)put;
			n -= (size_t)put;
		}
	}
	return sealed_pwrite(a->fd, data, n, offset, e);
}

static void try_direct(struct sealed_appender *a)
{
	int flags = fcntl(a->fd, F_GETFL);
	a->direct = flags >= 0 && fcntl(a->fd, F_SETFL, flags | O_DIRECT) == 0;
}

static void leave_direct(struct sealed_appender *a)
{
	int flags = fcntl(a->fd, F_GETFL);
	if (a->direct && flags >= 0)
		(void)fcntl(a->fd, F_SETFL, flags & ~O_DIRECT);
	a->direct = false;
}

/* `h` is the header of the file. */
static int appender_new(int fd, const struct sealed_header *h, const uint8_t key[SEALED_KEY_BYTES],
			struct slab *buffers, struct sealed_appender **ret, struct error *e)
{
	assert(slab_buffer_bytes(buffers) >= SEALED_SLOT_BYTES && slab_buffer_bytes(buffers) % SEALED_SLOT_BYTES == 0);
	_cleanup_(sealed_appender_freep) struct sealed_appender *a = calloc(1, sizeof(*a));
	if (!a)
		return error_nomem(e);
	a->fd = fd;
	a->buffers = buffers;
	int r = sealed_codec_new(h, key, &a->codec, e);
	if (r == 0)
		r = sha256_new(&a->sha, e);
	if (r < 0)
		return r;
	*ret = TAKE_PTR(a);
	return 0;
}

int sealed_appender_new(int fd, const struct sealed_header *h, const uint8_t key[SEALED_KEY_BYTES],
			struct slab *buffers, struct sealed_appender **ret, struct error *e)
{
	_cleanup_(sealed_appender_freep) struct sealed_appender *a = NULL;
	struct sealed_header header = *h;
	random_bytes(header.salt, sizeof(header.salt));
	int r = appender_new(fd, &header, key, buffers, &a, e);
	if (r < 0)
		return r;
	uint8_t *buffer = slab_wait(buffers);
	if (!buffer)
		return error_nomem(e);
	try_direct(a);
	sealed_header_encode(&header, buffer);
	r = write_at(a, buffer, SEALED_HEADER_BYTES, 0, e);
	slab_give(buffers, buffer);
	if (r < 0)
		return r;
	*ret = TAKE_PTR(a);
	return 0;
}

/* Opens slot after slot; *ret_is_complete: a final one ends the file. */
static int find_end(struct sealed_appender *a, uint64_t slots, bool *ret_is_complete, struct error *e)
{
	struct stat st;
	if (fstat(a->fd, &st) < 0)
		return error_set_errno(e, ERR_RETRY, errno, "sealed file");
	uint64_t size = (uint64_t)st.st_size;
	if (size < sealed_slot_offset(a->slots))
		return error_set(e, ERR_CORRUPT, "the sealed file ends before its slot %llu",
				 (unsigned long long)a->slots);
	_cleanup_(freep) uint8_t *disk = malloc(SEALED_SLOT_BYTES);
	_cleanup_(freep) uint8_t *room = malloc(SEALED_SLOT_ROOM);
	if (!disk || !room)
		return error_nomem(e);
	int r = 0;
	while (r == 0 && a->slots < slots && !*ret_is_complete) {
		uint64_t left = size - sealed_slot_offset(a->slots);
		struct error why = {0};
		if (left < SEALED_SLOT_OVERHEAD)
			break;
		size_t n = (size_t)MIN(left, (uint64_t)SEALED_SLOT_BYTES);
		r = sealed_pread(a->fd, disk, n, sealed_slot_offset(a->slots), &why);
		if (r == 0)
			r = sealed_codec_open(a->codec, a->slots, disk, n, room, NULL, &why);
		if (r == ERR_CORRUPT) {
			r = 0;
			break;
		}
		if (r < 0)
			(void)error_set(e, r, "%s", why.text);
		*ret_is_complete = n < SEALED_SLOT_BYTES;
		a->slots += n == SEALED_SLOT_BYTES;
	}
	sodium_memzero(room, SEALED_SLOT_ROOM);
	return r;
}

int sealed_appender_resume(int fd, const uint8_t key[SEALED_KEY_BYTES], uint64_t first, uint64_t slots,
			   struct slab *buffers, struct sealed_appender **ret, struct error *e)
{
	_cleanup_(sealed_appender_freep) struct sealed_appender *a = NULL;
	struct sealed_header h;
	bool is_complete = false;
	int r = sealed_header_read(fd, &h, e);
	if (r == 0)
		r = appender_new(fd, &h, key, buffers, &a, e);
	if (r < 0)
		return r;
	a->slots = MIN(first, slots);
	r = find_end(a, slots, &is_complete, e);
	if (r < 0 || is_complete)
		return r;
	if (ftruncate(fd, (off_t)sealed_slot_offset(a->slots)) < 0)
		return error_set_errno(e, ERR_RETRY, errno, "a torn sealed file cannot be cut");
	a->stored = a->slots;
	try_direct(a);
	*ret = TAKE_PTR(a);
	return 0;
}

static void free_tail(struct sealed_appender *a)
{
	if (a->tail)
		sodium_memzero(a->tail, SEALED_SLOT_PAYLOAD);
	free(TAKE_PTR(a->tail));
}

void sealed_appender_free(struct sealed_appender *a)
{
	if (!a)
		return;
	slab_give(a->buffers, a->out);
	sealed_codec_free(a->codec);
	sha256_free(a->sha);
	free_tail(a);
	free(a);
}

/* Writes the sealed slots that wait in the lent buffer. */
static int write_out(struct sealed_appender *a, struct error *e)
{
	if (a->out_size == 0)
		return 0;
	int r = write_at(a, a->out, a->out_size, sealed_slot_offset(a->stored), e);
	if (r < 0)
		return r;
	a->stored += a->out_size / SEALED_SLOT_BYTES;
	a->out_size = 0;
	assert(a->stored == a->slots);
	return 0;
}

/* Seals one full slot into the lent buffer. */
static int seal_full(struct sealed_appender *a, const uint8_t *data, struct error *e)
{
	if (!a->out && !(a->out = slab_wait(a->buffers)))
		return error_nomem(e);
	uint32_t crc;
	int r = sealed_codec_seal(a->codec, a->slots, data, SEALED_SLOT_PAYLOAD, a->out + a->out_size, &crc, e);
	if (r < 0)
		return r;
	a->crc = crc32_join(a->crc, crc, SEALED_SLOT_PAYLOAD);
	a->slots++;
	a->out_size += SEALED_SLOT_BYTES;
	return a->out_size == slab_buffer_bytes(a->buffers) ? write_out(a, e) : 0;
}

static int append(struct sealed_appender *a, const uint8_t *data, size_t n, struct error *e)
{
	while (n > 0) {
		int r = 0;
		if (a->tail_size == 0 && n >= SEALED_SLOT_PAYLOAD) {
			r = seal_full(a, data, e);
			data += SEALED_SLOT_PAYLOAD;
			n -= SEALED_SLOT_PAYLOAD;
		} else {
			size_t take = MIN(n, SEALED_SLOT_PAYLOAD - a->tail_size);
			if (!a->tail && !(a->tail = malloc(SEALED_SLOT_PAYLOAD)))
				return error_nomem(e);
			memcpy(a->tail + a->tail_size, data, take);
			a->tail_size += take;
			data += take;
			n -= take;
			if (a->tail_size == SEALED_SLOT_PAYLOAD) {
				r = seal_full(a, a->tail, e);
				a->tail_size = 0;
			}
		}
		if (r < 0)
			return r;
	}
	return 0;
}

int sealed_appender_append(struct sealed_appender *a, const void *data, size_t n, struct error *e)
{
	if (a->failed.code)
		return refuse(a, e);
	assert(!a->finished);
	struct error why = {0};
	sha256_update(a->sha, data, n);
	int r = append(a, data, n, &why);
	return r < 0 ? fail(a, &why, e) : 0;
}

int sealed_appender_push(struct sealed_appender *a, struct error *e)
{
	if (a->failed.code)
		return refuse(a, e);
	struct error why = {0};
	int r = write_out(a, &why);
	if (r < 0)
		return fail(a, &why, e);
	slab_give(a->buffers, TAKE_PTR(a->out));
	return 0;
}

int sealed_appender_yield(struct sealed_appender *a, struct error *e)
{
	/* a buffer is always left for whoever runs, so that those who keep theirs never make anybody wait for them */
	bool keeps = a->out && slab_has_spare(a->buffers);
	return keeps && !a->failed.code ? 0 : sealed_appender_push(a, e);
}

int sealed_appender_sync(struct sealed_appender *a, struct error *e)
{
	if (a->failed.code)
		return refuse(a, e);
	struct error why = {0};
	if (fdatasync(a->fd) < 0) {
		(void)error_set_errno(&why, ERR_RETRY, errno, "sealed file cannot be flushed");
		return fail(a, &why, e);
	}
	if (!a->finished)
		a->durable = a->stored * SEALED_SLOT_PAYLOAD;
	return 0;
}

int sealed_appender_flush(struct sealed_appender *a, struct error *e)
{
	int r = sealed_appender_push(a, e);
	if (r < 0)
		return r;
	if (a->finished || a->durable == a->stored * SEALED_SLOT_PAYLOAD)
		return 0;
	return sealed_appender_sync(a, e);
}

int sealed_appender_complete(struct sealed_appender *a, struct error *e)
{
	int r = sealed_appender_push(a, e);
	if (r < 0 || a->finished)
		return r;
	struct error why = {0};
	uint8_t *out = slab_wait(a->buffers);
	if (!out) {
		(void)error_nomem(&why);
		return fail(a, &why, e);
	}
	leave_direct(a); /* the final slot is no multiple of the block size */
	r = sealed_codec_seal(a->codec, a->slots, a->tail, a->tail_size, out, NULL, &why);
	if (r == 0)
		r = sealed_pwrite(a->fd, out, a->tail_size + SEALED_SLOT_OVERHEAD, sealed_slot_offset(a->slots), &why);
	slab_give(a->buffers, out);
	if (r < 0)
		return fail(a, &why, e);
	a->finished = true;
	return 0;
}

int sealed_appender_finish(struct sealed_appender *a, struct error *e)
{
	int r = sealed_appender_complete(a, e);
	if (r == 0)
		r = sealed_appender_sync(a, e);
	if (r == 0)
		a->durable = sealed_appender_taken(a);
	return r;
}

const uint8_t *sealed_appender_tail(const struct sealed_appender *a, size_t *ret_n)
{
	*ret_n = a->tail_size;
	return a->tail;
}

uint64_t sealed_appender_taken(const struct sealed_appender *a)
{
	return a->slots * SEALED_SLOT_PAYLOAD + a->tail_size;
}

uint64_t sealed_appender_sealed(const struct sealed_appender *a)
{
	return a->finished ? sealed_appender_taken(a) : a->slots * SEALED_SLOT_PAYLOAD;
}

uint64_t sealed_appender_written(const struct sealed_appender *a)
{
	return a->finished ? sealed_appender_taken(a) : a->stored * SEALED_SLOT_PAYLOAD;
}

uint64_t sealed_appender_durable(const struct sealed_appender *a)
{
	return a->durable;
}

void sealed_appender_sha256(const struct sealed_appender *a, uint8_t ret[32])
{
	sha256_peek(a->sha, ret);
}

uint32_t sealed_appender_crc32(const struct sealed_appender *a)
{
	return crc32_join(a->crc, crc32_update(0, a->tail, a->tail_size), a->tail_size);
}
