/* with: services/ingest/multipart.c */
/* Fuzzes the reading of forms: whatever the cuts between reads, the same bytes must mean the same. The first byte is
 * the size of the reads. Build: make fuzz-build; run: build/fuzz/fuzz_multipart -dict=tests/fuzz/multipart.dict
 * tests/fuzz/corpus/multipart */
#include "../../services/ingest/multipart.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool ok)
{
	if (!ok)
		abort();
}

/* What came out, as sums. */
struct gathered {
	uint64_t bytes, fields, files;
	uint32_t sum;
};

static void add(struct gathered *g, const void *data, size_t n)
{
	const uint8_t *p = data;
	for (size_t i = 0; i < n; i++)
		g->sum = g->sum * 31 + p[i];
}

static int on_bytes(void *arg, const void *data, size_t n, struct error *e)
{
	(void)e;
	struct gathered *g = arg;
	must(g->files == 1 && n > 0);
	add(g, data, n);
	g->bytes += n;
	return 0;
}

static int on_field(void *arg, const char *name, const char *value, struct error *e)
{
	(void)e;
	struct gathered *g = arg;
	must(name[0] && strlen(name) < MULTIPART_NAME_CHARS && strlen(value) <= MULTIPART_FIELD_BYTES);
	add(g, name, strlen(name) + 1);
	add(g, value, strlen(value) + 1);
	g->fields++;
	return 0;
}

static int on_file(void *arg, const struct multipart_file *file, struct error *e)
{
	(void)e;
	struct gathered *g = arg;
	add(g, file->name, strlen(file->name) + 1);
	add(g, file->type, strlen(file->type) + 1);
	g->files++;
	return 0;
}

static const struct multipart_callbacks callbacks = {.on_field = on_field, .on_file = on_file, .on_bytes = on_bytes};

static int form(const char *type, const uint8_t *body, size_t n, size_t piece, struct gathered *g)
{
	_cleanup_(multipart_freep) struct multipart *m = NULL;
	struct error e = {0};
	if (multipart_new(type, &callbacks, g, &m, &e) < 0)
		return -1;
	int r = 0;
	for (size_t at = 0; at < n && r == 0; at += piece)
		r = multipart_feed(m, body + at, MIN(piece, n - at), &e);
	return r < 0 ? r : multipart_finish(m, &e);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char type[] = "multipart/form-data; boundary=b";
	if (size < 2)
		return 0;
	const uint8_t *body = data + 1;
	struct gathered whole = {0}, pieces = {0}, other = {0};
	int a = form(type, body, size - 1, size, &whole);
	int b = form(type, body, size - 1, (size_t)data[0] + 1, &pieces);
	must(a == b && whole.bytes == pieces.bytes && whole.sum == pieces.sum && whole.fields == pieces.fields);
	must(a < 0 || whole.files == 1);
	/* the same as a header of its own */
	_cleanup_(freep) char *text = strndup((const char *)body, size - 1);
	must(text != NULL);
	(void)form(text, body, size - 1, 7, &other);
	char value[16];
	if (multipart_parameter(text, "filename", value, sizeof(value)))
		must(strlen(value) < sizeof(value));
	return 0;
}
