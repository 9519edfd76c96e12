#include "spool/codec.h"

#include <assert.h>
#include <sodium.h>
#include <string.h>

struct sealed_decoder {
	uint8_t key[SEALED_KEY_BYTES]; /* wiped when the codec has it */
	struct sealed_header expected;
	bool has_expected;
	sealed_sink *sink;
	void *arg;
	struct sealed_codec *codec; /* NULL until the header is there */
	struct sealed_header header;
	int failed;	 /* the class of the first error, sticky */
	uint64_t number; /* of the next slot */
	uint64_t size;
	size_t held;   /* bytes of the header or slot that is arriving */
	uint8_t *disk; /* SEALED_SLOT_BYTES */
	uint8_t *room; /* SEALED_SLOT_ROOM */
};

int sealed_decoder_new(const uint8_t key[SEALED_KEY_BYTES], const struct sealed_header *expected, sealed_sink *sink,
		       void *arg, struct sealed_decoder **ret, struct error *e)
{
	_cleanup_(sealed_decoder_freep) struct sealed_decoder *d = calloc(1, sizeof(*d));
	if (!d)
		return error_nomem(e);
	memcpy(d->key, key, sizeof(d->key));
	if (expected) {
		d->expected = *expected;
		d->has_expected = true;
	}
	d->sink = sink;
	d->arg = arg;
	d->disk = malloc(SEALED_SLOT_BYTES);
	d->room = malloc(SEALED_SLOT_ROOM);
	if (!d->disk || !d->room)
		return error_nomem(e);
	*ret = TAKE_PTR(d);
	return 0;
}

void sealed_decoder_free(struct sealed_decoder *d)
{
	if (!d)
		return;
	sealed_codec_free(d->codec);
	sodium_memzero(d->key, sizeof(d->key));
	if (d->room)
		sodium_memzero(d->room, SEALED_SLOT_ROOM);
	free(d->room);
	free(d->disk);
	free(d);
}

static int decode_header(struct sealed_decoder *d, struct error *e)
{
	int r = sealed_header_decode(d->disk, &d->header, e);
	if (r == 0)
		r = sealed_header_expect(&d->header, d->has_expected ? &d->expected : NULL, e);
	if (r == 0)
		r = sealed_codec_new(&d->header, d->key, &d->codec, e);
	sodium_memzero(d->key, sizeof(d->key));
	return r;
}

static int decode_slot(struct sealed_decoder *d, const uint8_t *data, size_t n, struct error *e)
{
	if (d->number >= SEALED_SLOTS_MAX)
		return error_set(e, ERR_CORRUPT, "the sealed stream has too many slots");
	int r = sealed_codec_open(d->codec, d->number, data, n, d->room, NULL, e);
	if (r < 0)
		return r;
	size_t plain = n - SEALED_SLOT_OVERHEAD;
	d->number++;
	d->size += plain;
	return plain > 0 ? d->sink(d->arg, d->room + SEALED_SLOT_PREFIX, plain, e) : 0;
}

static int feed(struct sealed_decoder *d, const uint8_t *data, size_t n, struct error *e)
{
	while (n > 0) {
		int r = 0;
		/* a whole slot in the caller's buffer needs no copy */
		if (d->codec && d->held == 0 && n >= SEALED_SLOT_BYTES) {
			r = decode_slot(d, data, SEALED_SLOT_BYTES, e);
			if (r < 0)
				return r;
			data += SEALED_SLOT_BYTES;
			n -= SEALED_SLOT_BYTES;
			continue;
		}
		size_t want = d->codec ? SEALED_SLOT_BYTES : SEALED_HEADER_BYTES;
		size_t take = MIN(n, want - d->held);
		memcpy(d->disk + d->held, data, take);
		d->held += take;
		data += take;
		n -= take;
		if (d->held < want)
			continue;
		d->held = 0;
		r = d->codec ? decode_slot(d, d->disk, want, e) : decode_header(d, e);
		if (r < 0)
			return r;
	}
	return 0;
}

int sealed_decoder_feed(struct sealed_decoder *d, const void *data, size_t n, struct error *e)
{
	if (d->failed)
		return error_set(e, d->failed, "the sealed stream failed before");
	int r = feed(d, data, n, e);
	if (r < 0)
		d->failed = r;
	return r;
}

int sealed_decoder_finish(struct sealed_decoder *d, struct error *e)
{
	if (d->failed)
		return error_set(e, d->failed, "the sealed stream failed before");
	int r;
	if (!d->codec || d->held < SEALED_SLOT_OVERHEAD)
		r = error_set(e, ERR_CORRUPT, "the sealed stream ends without a final slot");
	else
		r = decode_slot(d, d->disk, d->held, e);
	/* one finish only: a second one finds no final slot */
	d->held = 0;
	if (r < 0)
		d->failed = r;
	return r;
}

uint64_t sealed_decoder_rewind(struct sealed_decoder *d)
{
	d->held = 0;
	return d->codec ? sealed_slot_offset(d->number) : 0;
}

const struct sealed_header *sealed_decoder_header(const struct sealed_decoder *d)
{
	return d->codec ? &d->header : NULL;
}

uint64_t sealed_decoder_size(const struct sealed_decoder *d)
{
	return d->size;
}
