/* Fuzzes the reading of S3's answers. The first byte chooses the answer. Whatever a server sends, ids come back whole
 * or not at all, and texts for people hold no control characters. Build: make fuzz-build; run: build/fuzz/fuzz_s3_xml
 * tests/fuzz/corpus/s3_xml -dict=tests/fuzz/s3_xml.dict */
#include "net/s3_xml.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* No answer is longer: the client stops before. */
#define ANSWER_BYTES_MAX ((size_t)1024 * 1024)

static void must(bool ok)
{
	if (!ok)
		abort();
}

static bool is_readable(const char *text, size_t capacity)
{
	size_t n = strnlen(text, capacity);
	for (size_t i = 0; i < n; i++)
		if ((unsigned char)text[i] < 0x20 || text[i] == 0x7f)
			return false;
	return n < capacity;
}

static int on_entry(void *arg, const struct s3_entry *entry, struct error *e)
{
	unsigned *n = arg;
	must(strlen(entry->key) < S3_KEY_BYTES && strlen(entry->version) < S3_VERSION_BYTES &&
	     strlen(entry->upload) < S3_UPLOAD_BYTES);
	/* some callers end the list by themselves */
	return ++*n == 7 ? error_set(e, ERR_RETRY, "enough") : 0;
}

static void check_error(const struct s3_error *got)
{
	must(is_readable(got->code, sizeof(got->code)) && is_readable(got->message, sizeof(got->message)) &&
	     is_readable(got->region, sizeof(got->region)) && is_readable(got->endpoint, sizeof(got->endpoint)));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size == 0 || size > ANSWER_BYTES_MAX)
		return 0;
	const char *text = (const char *)data + 1;
	size_t n = size - 1;
	char upload[S3_UPLOAD_BYTES], etag[S3_ETAG_BYTES];
	struct s3_error failed = {0};
	struct s3_page page = {0};
	struct error e = {0};
	unsigned entries = 0;
	int r = 0;
	switch (data[0] % 6) {
	case 0:
		r = s3_xml_error(text, n, &failed, &e);
		check_error(&failed);
		break;
	case 1:
		r = s3_xml_upload(text, n, upload, &e);
		must(r < 0 || upload[0] != '\0');
		break;
	case 2:
		r = s3_xml_complete(text, n, etag, &failed, &e);
		check_error(&failed);
		break;
	case 3:
		r = s3_xml_versions(text, n, on_entry, &entries, &page, &e);
		break;
	case 4:
		r = s3_xml_objects(text, n, on_entry, &entries, &page, &e);
		break;
	default:
		r = s3_xml_uploads(text, n, on_entry, &entries, &page, &e);
	}
	must(r == 0 || e.code == r);
	must(r != ERR_RETRY || entries == 7);
	return 0;
}
