/* Fuzzes the sealed format. The first byte chooses: whatever bytes come, or a valid file that was changed, which must
 * never open as anything but what was written.
 * Build: make fuzz-build; run: build/fuzz/fuzz_sealed tests/fuzz/corpus/sealed */
#include "spool/codec.h"
#include "spool/writer.h"

#include <string.h>
#include <sys/mman.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const uint8_t key[SEALED_KEY_BYTES] = {1, 2, 3};

static void must(bool ok)
{
	if (!ok)
		abort();
}

static int count(void *arg, const uint8_t *data, size_t n, struct error *e)
{
	(void)data;
	(void)e;
	*(size_t *)arg += n;
	return 0;
}

static int file_of(const uint8_t *data, size_t size)
{
	int fd = memfd_create("fuzz", MFD_CLOEXEC);
	must(fd >= 0);
	must(pwrite(fd, data, size, 0) == (ssize_t)size);
	return fd;
}

/* Reader, scanner and decoder over the same bytes. */
static void read_all(int fd, const uint8_t *data, size_t size)
{
	struct error e = {0};
	_cleanup_(sealed_reader_freep) struct sealed_reader *r = NULL;
	bool opens = sealed_reader_new(fd, key, NULL, &r, &e) == 0;
	uint8_t out[512];
	size_t got = 0;
	if (opens)
		(void)!sealed_reader_read(r, 0, out, sizeof(out), &got, &e);
	struct sealed_scan scan;
	if (sealed_scan(fd, key, &scan, &e) == 0 && scan.complete)
		must(opens && scan.plain == sealed_reader_size(r));
	size_t total = 0;
	_cleanup_(sealed_decoder_freep) struct sealed_decoder *d = NULL;
	must(sealed_decoder_new(key, NULL, count, &total, &d, &e) == 0);
	size_t piece = 1 + size % 5000;
	int rc = 0;
	for (size_t at = 0; at < size && rc == 0; at += piece)
		rc = sealed_decoder_feed(d, data + at, MIN(piece, size - at), &e);
	if (rc == 0 && sealed_decoder_finish(d, &e) == 0)
		must(opens && total == sealed_reader_size(r));
}

static void raw(const uint8_t *data, size_t size)
{
	/* a header that decodes lets the fuzzer reach the slots */
	_cleanup_(freep) uint8_t *bytes = malloc(SEALED_HEADER_BYTES + size);
	must(bytes != NULL);
	struct sealed_header h = {.kind = SEALED_RAW};
	sealed_header_encode(&h, bytes);
	memcpy(bytes + SEALED_HEADER_BYTES, data, size);
	bool with_header = size > 0 && data[0] & 1;
	const uint8_t *from = with_header ? bytes : data;
	size_t n = with_header ? SEALED_HEADER_BYTES + size : size;
	_cleanup_(closep) int fd = file_of(from, n);
	read_all(fd, from, n);
}

/* at (2 bytes), change (1 byte), then plaintext that is repeated to cover several slots */
static void changed(const uint8_t *data, size_t size)
{
	if (size < 4)
		return;
	uint8_t change = data[2];
	const uint8_t *plain = data + 3;
	size_t n = size - 3;
	size_t repeats = 1 + (data[0] & 3) * (SEALED_SLOT_PAYLOAD / n);
	_cleanup_(closep) int fd = memfd_create("fuzz", MFD_CLOEXEC);
	must(fd >= 0);
	struct sealed_header h = {.kind = SEALED_MAIN};
	struct error e = {0};
	_cleanup_(sealed_writer_freep) struct sealed_writer *w = NULL;
	must(sealed_writer_new(fd, &h, key, &w, &e) == 0);
	for (size_t i = 0; i < repeats; i++)
		must(sealed_writer_write(w, i * n, plain, n, &e) == 0);
	must(sealed_writer_finish(w, &e) == 0);
	uint64_t file = sealed_file_size(repeats * n);
	_cleanup_(freep) uint8_t *bytes = malloc(file);
	must(bytes != NULL && pread(fd, bytes, file, 0) == (ssize_t)file);
	uint64_t at = ((uint64_t)data[0] << 8 | data[1]) * 2654435761u % file;
	bytes[at] ^= change;
	must(pwrite(fd, bytes, file, 0) == (ssize_t)file);
	struct sealed_scan scan = {0};
	int rc = sealed_scan(fd, key, &scan, &e);
	must((rc == 0 && scan.complete) == (change == 0));
	read_all(fd, bytes, file);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size == 0)
		return 0;
	if (data[0] & 0x80)
		changed(data + 1, size - 1);
	else
		raw(data + 1, size - 1);
	return 0;
}
