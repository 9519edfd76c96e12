#include "spool/sealed.h"

#include "base/bytes.h"
#include "crypto/digest.h"
#include "spool/codec.h"

#include <assert.h>
#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#define MAGIC	"RUSHSEAL"
#define VERSION 1

/* Offsets in the header; numbers are big-endian. */
#define AT_MAGIC      0
#define AT_VERSION    8
#define AT_KIND	      10
#define AT_SLOT_BYTES 12
#define AT_ACCOUNT    16
#define AT_RECORDING  32
#define AT_COPY	      48
#define AT_SEGMENT    64
#define AT_SALT	      72
#define AT_FILLER     104
#define AT_CRC	      (SEALED_HEADER_BYTES - 4)

static const char *const kind_names[SEALED_KIND_MAX] = {
    [SEALED_RAW_SEGMENT] = "raw-segment", [SEALED_RAW] = "raw", [SEALED_MAIN] = "main", [SEALED_SNAPSHOT] = "snapshot",
    [SEALED_FILMSTRIP] = "filmstrip",
};

const char *sealed_kind_to_string(enum sealed_kind k)
{
	return k >= SEALED_RAW_SEGMENT && k < SEALED_KIND_MAX ? kind_names[k] : "unknown";
}

enum sealed_kind sealed_kind_from_string(const char *text)
{
	for (int k = SEALED_RAW_SEGMENT; k < SEALED_KIND_MAX; k++)
		if (strcmp(text, kind_names[k]) == 0)
			return (enum sealed_kind)k;
	return SEALED_KIND_MAX;
}

/* The rest of the header: SHA-256(salt, counter) over and over, so that no run of it equals bytes of a recording, as a
 * run of zeros might. */
static void fill(uint8_t header[SEALED_HEADER_BYTES])
{
	uint8_t seed[SEALED_SALT_BYTES + 4], block[SHA256_BYTES];
	memcpy(seed, header + AT_SALT, SEALED_SALT_BYTES);
	for (size_t at = AT_FILLER, n = 0; at < AT_CRC; at += sizeof(block), n++) {
		bytes_put32(seed + SEALED_SALT_BYTES, (uint32_t)n);
		struct error e = {0};
		if (sha256_of(seed, sizeof(seed), block, &e) < 0)
			abort(); /* without its hash the library cannot seal anything */
		memcpy(header + at, block, MIN(sizeof(block), AT_CRC - at));
	}
}

void sealed_header_encode(const struct sealed_header *h, uint8_t ret[SEALED_HEADER_BYTES])
{
	memset(ret, 0, SEALED_HEADER_BYTES);
	memcpy(ret + AT_MAGIC, MAGIC, sizeof(MAGIC) - 1);
	bytes_put16(ret + AT_VERSION, VERSION);
	bytes_put16(ret + AT_KIND, (uint16_t)h->kind);
	bytes_put32(ret + AT_SLOT_BYTES, SEALED_SLOT_BYTES);
	memcpy(ret + AT_ACCOUNT, h->account.b, UUID_BYTES);
	memcpy(ret + AT_RECORDING, h->recording.b, UUID_BYTES);
	memcpy(ret + AT_COPY, h->copy.b, UUID_BYTES);
	bytes_put32(ret + AT_SEGMENT, h->segment);
	memcpy(ret + AT_SALT, h->salt, SEALED_SALT_BYTES);
	fill(ret);
	bytes_put32(ret + AT_CRC, crc32_update(0, ret, AT_CRC));
}

int sealed_header_decode(const uint8_t data[SEALED_HEADER_BYTES], struct sealed_header *ret, struct error *e)
{
	if (memcmp(data + AT_MAGIC, MAGIC, sizeof(MAGIC) - 1) != 0)
		return error_set(e, ERR_CORRUPT, "not a sealed file: the magic is missing");
	if (bytes_get32(data + AT_CRC) != crc32_update(0, data, AT_CRC))
		return error_set(e, ERR_CORRUPT, "the sealed file's header fails its CRC-32");
	if (bytes_get16(data + AT_VERSION) != VERSION)
		return error_set(e, ERR_CORRUPT, "the sealed file has version %u, known is %d",
				 bytes_get16(data + AT_VERSION), VERSION);
	uint16_t kind = bytes_get16(data + AT_KIND);
	if (kind < SEALED_RAW_SEGMENT || kind >= SEALED_KIND_MAX)
		return error_set(e, ERR_CORRUPT, "the sealed file has the unknown kind %u", kind);
	if (bytes_get32(data + AT_SLOT_BYTES) != SEALED_SLOT_BYTES)
		return error_set(e, ERR_CORRUPT, "the sealed file has slots of %u bytes",
				 bytes_get32(data + AT_SLOT_BYTES));
	uint32_t segment = bytes_get32(data + AT_SEGMENT);
	if (kind != SEALED_RAW_SEGMENT && segment != 0)
		return error_set(e, ERR_CORRUPT, "the sealed file is a whole one, but has a segment's number");
	struct sealed_header h = {.kind = (enum sealed_kind)kind, .segment = segment};
	memcpy(h.account.b, data + AT_ACCOUNT, UUID_BYTES);
	memcpy(h.recording.b, data + AT_RECORDING, UUID_BYTES);
	memcpy(h.copy.b, data + AT_COPY, UUID_BYTES);
	memcpy(h.salt, data + AT_SALT, SEALED_SALT_BYTES);
	/* a header has one encoding: what is not a field may not be anything else */
	uint8_t again[SEALED_HEADER_BYTES];
	sealed_header_encode(&h, again);
	if (memcmp(again, data, SEALED_HEADER_BYTES) != 0)
		return error_set(e, ERR_CORRUPT, "the sealed file's header has bytes set that belong to no field");
	*ret = h;
	return 0;
}

int sealed_header_read(int fd, struct sealed_header *ret, struct error *e)
{
	uint8_t header[SEALED_HEADER_BYTES];
	int r = sealed_pread(fd, header, sizeof(header), 0, e);
	return r < 0 ? r : sealed_header_decode(header, ret, e);
}

int sealed_header_expect(const struct sealed_header *found, const struct sealed_header *expected, struct error *e)
{
	if (!expected)
		return 0;
	if (found->kind != expected->kind)
		return error_set(e, ERR_CORRUPT, "the sealed file is a %s, not a %s",
				 sealed_kind_to_string(found->kind), sealed_kind_to_string(expected->kind));
	if (!uuid_equal(&found->recording, &expected->recording) || !uuid_equal(&found->account, &expected->account))
		return error_set(e, ERR_CORRUPT, "the sealed file belongs to another recording");
	if (found->segment != expected->segment)
		return error_set(e, ERR_CORRUPT, "the sealed file is segment %u, not %u", found->segment,
				 expected->segment);
	return 0;
}

uint64_t sealed_file_size(uint64_t plain)
{
	assert(plain / SEALED_SLOT_PAYLOAD < SEALED_SLOTS_MAX);
	return sealed_slot_offset(plain / SEALED_SLOT_PAYLOAD) + SEALED_SLOT_OVERHEAD + plain % SEALED_SLOT_PAYLOAD;
}

bool sealed_plain_size(uint64_t file, uint64_t *ret)
{
	if (file < SEALED_HEADER_BYTES + SEALED_SLOT_OVERHEAD)
		return false;
	uint64_t slots = (file - SEALED_HEADER_BYTES) / SEALED_SLOT_BYTES;
	uint64_t rest = (file - SEALED_HEADER_BYTES) % SEALED_SLOT_BYTES;
	if (rest < SEALED_SLOT_OVERHEAD || slots >= SEALED_SLOTS_MAX)
		return false;
	*ret = slots * SEALED_SLOT_PAYLOAD + rest - SEALED_SLOT_OVERHEAD;
	return true;
}

/* State of a scan: one slot on disk, one opened. */
struct scanner {
	struct sealed_codec *codec;
	struct sha256 *sha;
	uint8_t *disk;
	uint8_t *room;
};

static void scanner_donep(struct scanner *s)
{
	sealed_codec_free(s->codec);
	sha256_free(s->sha);
	free(s->disk);
	free(s->room);
}

/* Opens one slot of `n` bytes on disk. False when it is not valid; errors of the disk itself are errors. */
static int scan_slot(struct scanner *s, int fd, uint64_t number, size_t n, struct sealed_scan *scan, bool *ret_valid,
		     struct error *e)
{
	*ret_valid = false;
	struct error why = {0};
	uint32_t crc = 0;
	int r = sealed_pread(fd, s->disk, n, sealed_slot_offset(number), &why);
	if (r == 0)
		r = sealed_codec_open(s->codec, number, s->disk, n, s->room, &crc, &why);
	if (r == ERR_CORRUPT)
		return 0;
	if (r < 0)
		return error_set(e, r, "%s", why.text);
	size_t plain = n - SEALED_SLOT_OVERHEAD;
	sha256_update(s->sha, s->room + SEALED_SLOT_PREFIX, plain);
	scan->crc32 = crc32_join(scan->crc32, crc, plain);
	scan->plain += plain;
	*ret_valid = true;
	return 0;
}

int sealed_scan(int fd, const uint8_t key[SEALED_KEY_BYTES], struct sealed_scan *ret, struct error *e)
{
	struct sealed_scan scan = {0};
	int r = sealed_header_read(fd, &scan.header, e);
	if (r < 0)
		return r;
	struct stat st;
	if (fstat(fd, &st) < 0)
		return error_set_errno(e, ERR_RETRY, errno, "sealed file");
	_cleanup_(scanner_donep) struct scanner s = {0};
	r = sealed_codec_new(&scan.header, key, &s.codec, e);
	if (r == 0)
		r = sha256_new(&s.sha, e);
	if (r < 0)
		return r;
	s.disk = malloc(SEALED_SLOT_BYTES);
	s.room = malloc(SEALED_SLOT_ROOM);
	if (!s.disk || !s.room)
		return error_nomem(e);
	for (;;) {
		uint64_t left = (uint64_t)st.st_size - sealed_slot_offset(scan.slots);
		if (left < SEALED_SLOT_OVERHEAD || scan.slots >= SEALED_SLOTS_MAX)
			break;
		bool valid;
		r = scan_slot(&s, fd, scan.slots, (size_t)MIN(left, (uint64_t)SEALED_SLOT_BYTES), &scan, &valid, e);
		if (r < 0)
			return r;
		if (!valid)
			break;
		if (left < SEALED_SLOT_BYTES) {
			scan.complete = true;
			break;
		}
		scan.slots++;
	}
	sha256_finish(s.sha, scan.sha256);
	*ret = scan;
	return 0;
}

int sealed_complete(int fd, const uint8_t key[SEALED_KEY_BYTES], struct sealed_scan *scan, struct error *e)
{
	if (scan->complete)
		return 0;
	assert(scan->plain == scan->slots * SEALED_SLOT_PAYLOAD);
	_cleanup_(sealed_codec_freep) struct sealed_codec *codec = NULL;
	int r = sealed_codec_new(&scan->header, key, &codec, e);
	if (r < 0)
		return r;
	uint8_t final[SEALED_SLOT_OVERHEAD];
	r = sealed_codec_seal(codec, scan->slots, NULL, 0, final, NULL, e);
	if (r < 0)
		return r;
	if (ftruncate(fd, (off_t)sealed_slot_offset(scan->slots)) < 0)
		return error_set_errno(e, ERR_RETRY, errno, "a torn sealed file cannot be cut");
	r = sealed_pwrite(fd, final, sizeof(final), sealed_slot_offset(scan->slots), e);
	if (r < 0)
		return r;
	if (fsync(fd) < 0)
		return error_set_errno(e, ERR_RETRY, errno, "a sealed file cannot be flushed");
	scan->complete = true;
	return 0;
}
