#include "spool/codec.h"

#include "base/bytes.h"
#include "crypto/aead.h"
#include "crypto/digest.h"
#include "crypto/hmac.h"
#include "crypto/random.h"

#include <assert.h>
#include <errno.h>
#include <sodium.h>
#include <string.h>

/* Associated data of a slot: header digest, slot number, plaintext length, final. */
#define AD_NUMBER SHA256_BYTES
#define AD_LENGTH (AD_NUMBER + 8)
#define AD_FINAL  (AD_LENGTH + 4)
#define AD_BYTES  (AD_FINAL + 1)

/* A slot: nonce, sealed CRC-32, sealed plaintext, tag. */
#define SLOT_SEALED AEAD_NONCE_BYTES
_Static_assert(AEAD_NONCE_BYTES + SEALED_SLOT_PREFIX + AEAD_TAG_BYTES == SEALED_SLOT_OVERHEAD, "slot overhead");

#define SUBKEY_LABEL "rushes sealed 1"

struct sealed_codec {
	struct aead *aead;
	uint8_t ad[AD_BYTES]; /* the header's digest stands in it, the rest is set for each slot */
};

/* label, recording, kind (2 bytes), segment (4 bytes) */
static int derive(const struct sealed_header *h, const uint8_t key[SEALED_KEY_BYTES], uint8_t ret[AEAD_KEY_BYTES],
		  struct error *e)
{
	uint8_t info[sizeof(SUBKEY_LABEL) - 1 + UUID_BYTES + 6];
	uint8_t *p = info;
	memcpy(p, SUBKEY_LABEL, sizeof(SUBKEY_LABEL) - 1);
	p += sizeof(SUBKEY_LABEL) - 1;
	memcpy(p, h->recording.b, UUID_BYTES);
	p += UUID_BYTES;
	bytes_put16(p, (uint16_t)h->kind);
	bytes_put32(p + sizeof(uint16_t), h->segment);
	return hkdf_sha256(key, SEALED_KEY_BYTES, h->salt, SEALED_SALT_BYTES, info, sizeof(info), ret, AEAD_KEY_BYTES,
			   e);
}

int sealed_codec_new(const struct sealed_header *h, const uint8_t key[SEALED_KEY_BYTES], struct sealed_codec **ret,
		     struct error *e)
{
	_cleanup_(sealed_codec_freep) struct sealed_codec *c = calloc(1, sizeof(*c));
	if (!c)
		return error_nomem(e);
	uint8_t header[SEALED_HEADER_BYTES];
	sealed_header_encode(h, header);
	int r = sha256_of(header, sizeof(header), c->ad, e);
	if (r < 0)
		return r;
	uint8_t subkey[AEAD_KEY_BYTES];
	r = derive(h, key, subkey, e);
	if (r == 0)
		r = aead_new(subkey, &c->aead, e);
	sodium_memzero(subkey, sizeof(subkey));
	if (r < 0)
		return r;
	*ret = TAKE_PTR(c);
	return 0;
}

void sealed_codec_free(struct sealed_codec *c)
{
	if (!c)
		return;
	aead_free(c->aead);
	free(c);
}

static void set_ad(struct sealed_codec *c, uint64_t number, size_t n)
{
	bytes_put64(c->ad + AD_NUMBER, number);
	bytes_put32(c->ad + AD_LENGTH, (uint32_t)n);
	c->ad[AD_FINAL] = n < SEALED_SLOT_PAYLOAD;
}

int sealed_codec_seal(struct sealed_codec *c, uint64_t number, const void *data, size_t n, uint8_t *ret,
		      uint32_t *ret_crc, struct error *e)
{
	assert(n <= SEALED_SLOT_PAYLOAD);
	if (number >= SEALED_SLOTS_MAX)
		return error_set(e, ERR_FULL, "a sealed file has at most %llu slots",
				 (unsigned long long)SEALED_SLOTS_MAX);
	uint32_t crc = crc32_update(0, data, n);
	uint32_t crc_be = htobe32(crc);
	const struct aead_piece pieces[] = {{&crc_be, sizeof(crc_be)}, {data, n}};
	random_bytes(ret, AEAD_NONCE_BYTES);
	set_ad(c, number, n);
	int r = aead_seal(c->aead, ret, c->ad, AD_BYTES, pieces, ARRAY_SIZE(pieces), ret + SLOT_SEALED,
			  ret + SLOT_SEALED + SEALED_SLOT_PREFIX + n, e);
	if (r == 0 && ret_crc)
		*ret_crc = crc;
	return r;
}

int sealed_codec_open(struct sealed_codec *c, uint64_t number, const uint8_t *data, size_t n, uint8_t *ret,
		      uint32_t *ret_crc, struct error *e)
{
	assert(n >= SEALED_SLOT_OVERHEAD && n <= SEALED_SLOT_BYTES);
	size_t plain = n - SEALED_SLOT_OVERHEAD;
	set_ad(c, number, plain);
	int r = aead_open(c->aead, data, c->ad, AD_BYTES, data + SLOT_SEALED, SEALED_SLOT_PREFIX + plain,
			  data + n - AEAD_TAG_BYTES, ret, e);
	if (r < 0) {
		(void)error_wrap(e, "slot %llu", (unsigned long long)number);
		return r;
	}
	uint32_t crc = crc32_update(0, ret + SEALED_SLOT_PREFIX, plain);
	/* authentic, yet wrong: memory failed between checksum and sealing */
	if (bytes_get32(ret) != crc)
		return error_set(e, ERR_CORRUPT, "slot %llu: the plaintext fails its CRC-32",
				 (unsigned long long)number);
	if (ret_crc)
		*ret_crc = crc;
	return 0;
}

int sealed_pread(int fd, void *ret, size_t n, uint64_t offset, struct error *e)
{
	uint8_t *p = ret;
	while (n > 0) {
		ssize_t got = pread(fd, p, n, (off_t)offset);
		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return error_set_errno(e, ERR_RETRY, errno, "sealed file cannot be read at %llu",
					       (unsigned long long)offset);
		if (got == 0)
			return error_set(e, ERR_CORRUPT, "sealed file ends at %llu, %zu bytes too early",
					 (unsigned long long)offset, n);
		p += got;
		offset += (uint64_t)got;
		n -= (size_t)got;
	}
	return 0;
}

int sealed_pwrite(int fd, const void *data, size_t n, uint64_t offset, struct error *e)
{
	const uint8_t *p = data;
	while (n > 0) {
		ssize_t put = pwrite(fd, p, n, (off_t)offset);
		if (put < 0 && errno == EINTR)
			continue;
		if (put <= 0)
			return error_set_errno(e, ERR_RETRY, put < 0 ? errno : ENOSPC,
					       "sealed file cannot be written at %llu", (unsigned long long)offset);
		p += put;
		offset += (uint64_t)put;
		n -= (size_t)put;
	}
	return 0;
}

uint64_t sealed_slot_offset(uint64_t number)
{
	return SEALED_HEADER_BYTES + number * SEALED_SLOT_BYTES;
}
