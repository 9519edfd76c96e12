/* with: services/ingest/message.c */
/* Fuzzes the text messages of the recorder's stream.
 * Build: make fuzz-build; run: build/fuzz/fuzz_message -dict=tests/fuzz/message.dict tests/fuzz/corpus/message */
#include "../../services/ingest/message.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool ok)
{
	if (!ok)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct message m = {0};
	struct error e = {0};
	int r = message_read((const char *)data, size, &m, &e);
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
	return 0;
}
