/* with: services/ingest/message.c services/ingest/multipart.c */
/* Fuzzes what ingest reads from strangers: text messages of the stream, forms, tokens. The first byte chooses.
 * Run: build/fuzz/fuzz_ingest -dict=tests/fuzz/ingest.dict tests/fuzz/corpus/ingest */
#include "../../services/ingest/message.h"
#include "../../services/ingest/multipart.h"
#include "crypto/paseto.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool ok)
{
	if (!ok)
		abort();
}

static void message(const char *text, size_t n)
{
	struct message m = {0};
	struct error e = {0};
	int r = message_read(text, n, &m, &e);
	must(r == 0 || r == ERR_REJECT || r == ERR_NOTFOUND || r == ERR_NOMEM);
	must(r == 0 || e.text[0]);
	if (r < 0) {
		/* what is said of it stays one JSON object */
		char out[MESSAGE_OUT_BYTES];
		json_t *object = NULL;
		must(json_parse(out, message_error(out, "bad-request", e.text, false), &object, NULL) == 0);
		json_decref(object);
	}
	message_done(&m);
}

/* The same body in two ways of cutting it gives the same file. */
struct gathered {
	uint64_t bytes;
	uint32_t sum;
};

static int gather(void *arg, const void *data, size_t n, struct error *e)
{
	(void)e;
	struct gathered *g = arg;
	const uint8_t *p = data;
	for (size_t i = 0; i < n; i++)
		g->sum = g->sum * 31 + p[i];
	g->bytes += n;
	return 0;
}

static int form(const char *type, const uint8_t *body, size_t n, size_t piece, struct gathered *g)
{
	_cleanup_(multipart_freep) struct multipart *m = NULL;
	struct error e = {0};
	if (multipart_new(type, gather, g, &m, &e) < 0)
		return -1;
	int r = 0;
	for (size_t at = 0; at < n && r == 0; at += piece)
		r = multipart_feed(m, body + at, MIN(piece, n - at), &e);
	return r < 0 ? r : multipart_finish(m, &e);
}

static void token(const char *text)
{
	static const uint8_t key[PASETO_KEY_BYTES] = {1};
	struct error e = {0};
	_cleanup_(freep) char *id = NULL;
	_cleanup_(freep) char *payload = NULL;
	(void)!paseto_key_id(text, &id, &e);
	must(paseto_verify(key, text, "", "", &payload, &e) < 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size < 2)
		return 0;
	_cleanup_(freep) char *text = strndup((const char *)data + 1, size - 1);
	must(text != NULL);
	switch (data[0] % 3) {
	case 0:
		message((const char *)data + 1, size - 1);
		break;
	case 1: {
		const char *type = "multipart/form-data; boundary=b";
		struct gathered whole = {0}, pieces = {0};
		int a = form(type, data + 1, size - 1, size, &whole);
		int b = form(type, data + 1, size - 1, 1, &pieces);
		must(a == b && (a < 0 || (whole.bytes == pieces.bytes && whole.sum == pieces.sum)));
		struct gathered other = {0};
		(void)form(text, data + 1, size - 1, 7, &other);
		break;
	}
	default:
		token(text);
	}
	return 0;
}
