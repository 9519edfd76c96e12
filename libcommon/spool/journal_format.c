#include "spool/journal_format.h"

#include "base/bytes.h"
#include "crypto/digest.h"
#include "crypto/hmac.h"
#include "crypto/random.h"

#include <assert.h>
#include <sodium.h>
#include <string.h>

#define HEADER_MAGIC	"RUSHJRNL"
#define BATCH_MAGIC	"RUSHBTCH"
#define MAGIC_BYTES	8
#define FORMAT_VERSION	1
#define RECORD_ALIGN	16
#define KEY_LABEL	"rushes journal 1"
#define NONCE_AT	JOURNAL_RECORD_AD_BYTES
#define RECORD_OVERHEAD (JOURNAL_RECORD_HEAD_BYTES + AEAD_TAG_BYTES)
_Static_assert(NONCE_AT + AEAD_NONCE_BYTES == JOURNAL_RECORD_HEAD_BYTES, "a record's head ends with its nonce");

/* Offsets in the file's header. */
#define AT_VERSION 8
#define AT_NUMBER  12
#define AT_BYTES   16
#define AT_NODE	   24
#define AT_SALT	   40
#define AT_CRC	   (JOURNAL_HEADER_BYTES - 4)

/* In a batch's head. */
#define BATCH_AT_NODE	    8
#define BATCH_AT_GENERATION 24
#define BATCH_AT_SEQUENCE   32
#define BATCH_AT_BYTES	    40
#define BATCH_AT_USED	    44
#define BATCH_AT_RECORDS    48
#define BATCH_AT_CRC	    60

/* In a record. */
#define RECORD_AT_PLAIN	    4
#define RECORD_AT_SEGMENT   8
#define RECORD_AT_KIND	    12
#define RECORD_AT_COPY	    16
#define RECORD_AT_RECORDING 32
#define RECORD_AT_FROM	    48

enum record_kind { RECORD_VOID = 0, RECORD_BYTES = 1 };

void journal_header_encode(const struct journal_header *h, uint8_t ret[JOURNAL_HEADER_BYTES])
{
	memset(ret, 0, JOURNAL_HEADER_BYTES);
	memcpy(ret, HEADER_MAGIC, MAGIC_BYTES);
	bytes_put32(ret + AT_VERSION, FORMAT_VERSION);
	bytes_put32(ret + AT_NUMBER, h->number);
	bytes_put64(ret + AT_BYTES, h->bytes);
	memcpy(ret + AT_NODE, h->node.b, UUID_BYTES);
	memcpy(ret + AT_SALT, h->salt, JOURNAL_SALT_BYTES);
	bytes_put32(ret + AT_CRC, crc32_update(0, ret, AT_CRC));
}

int journal_header_decode(const uint8_t data[JOURNAL_HEADER_BYTES], struct journal_header *ret, struct error *e)
{
	if (memcmp(data, HEADER_MAGIC, MAGIC_BYTES) != 0)
		return error_set(e, ERR_CORRUPT, "no file of a journal");
	if (bytes_get32(data + AT_VERSION) != FORMAT_VERSION)
		return error_set(e, ERR_CORRUPT, "a journal of version %u", bytes_get32(data + AT_VERSION));
	if (bytes_get32(data + AT_CRC) != crc32_update(0, data, AT_CRC))
		return error_set(e, ERR_CORRUPT, "the header of a journal fails its CRC-32");
	struct journal_header h = {.number = bytes_get32(data + AT_NUMBER), .bytes = bytes_get64(data + AT_BYTES)};
	if (h.number >= JOURNAL_FILES || h.bytes <= JOURNAL_HEADER_BYTES || h.bytes % JOURNAL_BLOCK_BYTES != 0)
		return error_set(e, ERR_CORRUPT, "the header of a journal makes no sense");
	memcpy(h.node.b, data + AT_NODE, UUID_BYTES);
	memcpy(h.salt, data + AT_SALT, JOURNAL_SALT_BYTES);
	*ret = h;
	return 0;
}

size_t journal_batch_bytes(size_t used)
{
	size_t bytes = JOURNAL_BATCH_HEAD_BYTES + used;
	return (bytes + JOURNAL_BLOCK_BYTES - 1) / JOURNAL_BLOCK_BYTES * JOURNAL_BLOCK_BYTES;
}

/* Over head and records; the field itself is zero meanwhile. */
static uint32_t batch_crc(const uint8_t *batch, size_t used)
{
	static const uint8_t zero[4];
	uint32_t crc = crc32_update(0, batch, BATCH_AT_CRC);
	crc = crc32_update(crc, zero, sizeof(zero));
	return crc32_update(crc, batch + JOURNAL_BATCH_HEAD_BYTES, used);
}

void journal_batch_encode(const struct journal_batch_head *h, uint8_t *batch)
{
	assert(h->bytes == journal_batch_bytes(h->used));
	memset(batch, 0, JOURNAL_BATCH_HEAD_BYTES);
	memcpy(batch, BATCH_MAGIC, MAGIC_BYTES);
	memcpy(batch + BATCH_AT_NODE, h->node.b, UUID_BYTES);
	bytes_put64(batch + BATCH_AT_GENERATION, h->generation);
	bytes_put64(batch + BATCH_AT_SEQUENCE, h->sequence);
	bytes_put32(batch + BATCH_AT_BYTES, h->bytes);
	bytes_put32(batch + BATCH_AT_USED, h->used);
	bytes_put32(batch + BATCH_AT_RECORDS, h->records);
	bytes_put32(batch + BATCH_AT_CRC, batch_crc(batch, h->used));
	size_t end = JOURNAL_BATCH_HEAD_BYTES + h->used;
	memset(batch + end, 0, h->bytes - end);
}

int journal_batch_head_decode(const uint8_t data[JOURNAL_BATCH_HEAD_BYTES], const struct uuid *node,
			      struct journal_batch_head *ret, struct error *e)
{
	if (memcmp(data, BATCH_MAGIC, MAGIC_BYTES) != 0 || memcmp(data + BATCH_AT_NODE, node->b, UUID_BYTES) != 0)
		return error_set(e, ERR_CORRUPT, "no batch of this node");
	struct journal_batch_head h = {.node = *node,
				       .generation = bytes_get64(data + BATCH_AT_GENERATION),
				       .sequence = bytes_get64(data + BATCH_AT_SEQUENCE),
				       .bytes = bytes_get32(data + BATCH_AT_BYTES),
				       .used = bytes_get32(data + BATCH_AT_USED),
				       .records = bytes_get32(data + BATCH_AT_RECORDS)};
	if (h.used > UINT32_MAX - 2 * JOURNAL_BLOCK_BYTES || h.bytes != journal_batch_bytes(h.used) ||
	    h.generation == 0 || h.sequence == 0)
		return error_set(e, ERR_CORRUPT, "the head of a batch makes no sense");
	*ret = h;
	return 0;
}

bool journal_batch_is_whole(const struct journal_batch_head *h, const uint8_t *data, size_t n)
{
	return n >= JOURNAL_BATCH_HEAD_BYTES + (size_t)h->used &&
	       bytes_get32(data + BATCH_AT_CRC) == batch_crc(data, h->used);
}

size_t journal_record_bytes(size_t plain)
{
	return (RECORD_OVERHEAD + plain + RECORD_ALIGN - 1) / RECORD_ALIGN * RECORD_ALIGN;
}

int journal_record_next(const uint8_t *records, size_t n, size_t *at, struct journal_record *ret, struct error *e)
{
	if (*at == n)
		return 0;
	size_t left = n - *at;
	const uint8_t *data = records + *at;
	if (left < RECORD_ALIGN)
		return error_set(e, ERR_CORRUPT, "a record begins at the very end of its batch");
	struct journal_record r = {.data = data, .bytes = bytes_get32(data)};
	if (r.bytes < RECORD_ALIGN || r.bytes % RECORD_ALIGN != 0 || r.bytes > left)
		return error_set(e, ERR_CORRUPT, "a record has an impossible length of %u bytes", r.bytes);
	uint32_t kind = bytes_get32(data + RECORD_AT_KIND);
	*at += r.bytes;
	*ret = r;
	if (kind == RECORD_VOID)
		return 1;
	r.plain = bytes_get32(data + RECORD_AT_PLAIN);
	if (kind != RECORD_BYTES || r.plain == 0 || r.plain > JOURNAL_RECORD_PLAIN_MAX ||
	    r.bytes != journal_record_bytes(r.plain))
		return error_set(e, ERR_CORRUPT, "a record of kind %u with %u bytes makes no sense", kind, r.plain);
	memcpy(r.copy.b, data + RECORD_AT_COPY, UUID_BYTES);
	memcpy(r.recording.b, data + RECORD_AT_RECORDING, UUID_BYTES);
	r.segment = bytes_get32(data + RECORD_AT_SEGMENT);
	r.from = bytes_get64(data + RECORD_AT_FROM);
	if (r.from > UINT64_MAX - r.plain)
		return error_set(e, ERR_CORRUPT, "a record begins behind the end of all numbers");
	*ret = r;
	return 1;
}

int journal_key_new(const uint8_t key[AEAD_KEY_BYTES], const uint8_t salt[JOURNAL_SALT_BYTES],
		    const struct uuid *recording, uint32_t segment, struct aead **ret, struct error *e)
{
	uint8_t info[sizeof(KEY_LABEL) - 1 + UUID_BYTES + 4], subkey[AEAD_KEY_BYTES];
	memcpy(info, KEY_LABEL, sizeof(KEY_LABEL) - 1);
	memcpy(info + sizeof(KEY_LABEL) - 1, recording->b, UUID_BYTES);
	bytes_put32(info + sizeof(KEY_LABEL) - 1 + UUID_BYTES, segment);
	int r =
	    hkdf_sha256(key, AEAD_KEY_BYTES, salt, JOURNAL_SALT_BYTES, info, sizeof(info), subkey, sizeof(subkey), e);
	if (r == 0)
		r = aead_new(subkey, ret, e);
	sodium_memzero(subkey, sizeof(subkey));
	return r;
}

int journal_record_seal(struct aead *key, const struct journal_record *r, const void *data, uint8_t *ret,
			struct error *e)
{
	assert(r->plain > 0 && r->plain <= JOURNAL_RECORD_PLAIN_MAX);
	size_t bytes = journal_record_bytes(r->plain);
	bytes_put32(ret, (uint32_t)bytes);
	bytes_put32(ret + RECORD_AT_PLAIN, r->plain);
	bytes_put32(ret + RECORD_AT_SEGMENT, r->segment);
	bytes_put32(ret + RECORD_AT_KIND, RECORD_BYTES);
	memcpy(ret + RECORD_AT_COPY, r->copy.b, UUID_BYTES);
	memcpy(ret + RECORD_AT_RECORDING, r->recording.b, UUID_BYTES);
	bytes_put64(ret + RECORD_AT_FROM, r->from);
	random_bytes(ret + NONCE_AT, AEAD_NONCE_BYTES);
	const struct aead_piece piece = {data, r->plain};
	uint8_t *sealed = ret + JOURNAL_RECORD_HEAD_BYTES, *tag = sealed + r->plain;
	memset(tag + AEAD_TAG_BYTES, 0, bytes - RECORD_OVERHEAD - r->plain);
	return aead_seal(key, ret + NONCE_AT, ret, JOURNAL_RECORD_AD_BYTES, &piece, 1, sealed, tag, e);
}

void journal_record_void(size_t bytes, uint8_t *ret)
{
	assert(bytes >= RECORD_ALIGN && bytes % RECORD_ALIGN == 0);
	memset(ret, 0, bytes);
	bytes_put32(ret, (uint32_t)bytes);
}

int journal_record_open(struct aead *key, const struct journal_record *r, uint8_t *ret, struct error *e)
{
	const uint8_t *sealed = r->data + JOURNAL_RECORD_HEAD_BYTES;
	return aead_open(key, r->data + NONCE_AT, r->data, JOURNAL_RECORD_AD_BYTES, sealed, r->plain, sealed + r->plain,
			 ret, e);
}
