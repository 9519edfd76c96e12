/* with: services/ingest/tus_field.c services/ingest/digest_field.c services/ingest/checksum.c */
/* Fuzzes the headers of uploads: metadata, checksums, numbers of tus, and the digests of RFC 9530. The first byte
 * chooses. Build: make fuzz-build; run: build/fuzz/fuzz_tus -dict=tests/fuzz/tus.dict tests/fuzz/corpus/tus */
#include "../../services/ingest/digest_field.h"
#include "../../services/ingest/tus_field.h"
#include "net/http_parse.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool ok)
{
	if (!ok)
		abort();
}

/* A name goes into the database: text, without what could end a line. */
static void is_text(const char *value)
{
	if (!value)
		return;
	must(value[0] && http_utf8_valid(value, strlen(value)));
	for (const char *p = value; *p; p++)
		must((unsigned char)*p >= 0x20 && *p != 0x7f);
}

static void metadata(const char *text)
{
	struct tus_metadata m;
	struct error e = {0};
	int r = tus_metadata_read(text, &m, &e);
	must(r == 0 || ((r == ERR_REJECT || r == ERR_NOMEM) && e.text[0] && !m.file_name && !m.file_type));
	is_text(m.file_name);
	is_text(m.file_type);
	/* what is accepted is told again as a header's value */
	for (const char *p = text; r == 0 && *p; p++)
		must(((unsigned char)*p >= 0x20 && (unsigned char)*p < 0x7f) || *p == '\t');
	tus_metadata_done(&m);
}

static void compare(const struct checksum_value *v)
{
	_cleanup_(checksum_freep) struct checksum *c = NULL;
	struct error e = {0};
	must(v->kind < CHECKSUM_KIND_MAX && checksum_bytes(v->kind) <= CHECKSUM_BYTES_MAX);
	if (checksum_new(v, &c, &e) < 0)
		return;
	checksum_update(c, v->bytes, sizeof(v->bytes));
	/* nobody finds a checksum that holds itself */
	must(v->kind == CHECKSUM_CRC32 || !checksum_matches(c));
}

static void checksum(const char *text)
{
	struct checksum_value v;
	struct error e = {0};
	int r = tus_checksum_read(text, &v, &e);
	must(r == 0 || ((r == ERR_REJECT || r == ERR_NOTFOUND) && e.text[0]));
	if (r == 0)
		compare(&v);
}

static void digests(const char *text)
{
	struct checksum_value v[DIGEST_FIELD_MAX];
	unsigned n = 0;
	struct error e = {0};
	int r = digest_field_read(text, v, &n, &e);
	must((r == 0 || (r == ERR_REJECT && e.text[0])) && n <= DIGEST_FIELD_MAX);
	for (unsigned i = 0; r == 0 && i < n; i++)
		compare(&v[i]);
	must(r < 0 || n < 2 || v[0].kind != v[1].kind);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size < 2)
		return 0;
	_cleanup_(freep) char *text = strndup((const char *)data + 1, size - 1);
	must(text != NULL);
	uint64_t number = 0;
	switch (data[0] % 4) {
	case 0:
		metadata(text);
		break;
	case 1:
		checksum(text);
		break;
	case 2:
		must(!tus_number_read(text, &number) || number < (uint64_t)1000000000000000000);
		break;
	default:
		digests(text);
	}
	return 0;
}
