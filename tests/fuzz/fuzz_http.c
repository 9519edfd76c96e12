/* Fuzzes the reading of HTTP requests: whatever the cuts between reads, the same bytes must mean the same. The first
 * byte is the size of the reads.
 * Build: make fuzz-build; run: build/fuzz/fuzz_http tests/fuzz/corpus/http -dict=tests/fuzz/http.dict */
#include "net/http_body.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct http_parse_limits limits = {.head_bytes_max = 2048, .target_bytes_max = 512, .headers_max = 16};

static void must(bool ok)
{
	if (!ok)
		abort();
}

/* The head's length, 0 when it is not complete, or the status. */
static int find(const char *data, size_t n, size_t step, size_t *ret_n)
{
	size_t scanned = 0;
	const char *reason = NULL;
	for (size_t have = MIN(step, n);; have = MIN(have + step, n)) {
		int status = http_head_find(data, have, &limits, &scanned, ret_n, &reason);
		if (status != 0) {
			must(reason);
			return status;
		}
		if (*ret_n > 0 || have == n)
			return 0;
	}
}

/* What came of a body: how it ended, how much was used, and a sum over its bytes. */
struct outcome {
	enum http_body_result result;
	size_t used;
	uint64_t bytes, sum;
};

static struct outcome read_body(const struct http_head *head, const char *data, size_t n, size_t step)
{
	struct http_body b;
	struct outcome o = {.result = HTTP_BODY_MORE};
	http_body_init(&b, head);
	size_t end = 0;
	for (;;) {
		size_t used = 0, piece_n = 0;
		const char *piece = NULL;
		o.result = http_body_next(&b, data + o.used, end - o.used, &used, &piece, &piece_n);
		must(used <= end - o.used);
		if (o.result == HTTP_BODY_PIECE) {
			must(piece_n > 0 && piece >= data + o.used && piece + piece_n <= data + o.used + used);
			for (size_t i = 0; i < piece_n; i++)
				o.sum = o.sum * 31 + (unsigned char)piece[i];
			o.bytes += piece_n;
		}
		o.used += used;
		if (o.result == HTTP_BODY_DONE || o.result == HTTP_BODY_BAD)
			return o;
		if (o.result == HTTP_BODY_MORE) {
			must(o.used == end);
			if (end == n)
				return o;
			end = MIN(end + step, n);
		}
	}
}

static void check_text(const char *s)
{
	for (; *s; s++)
		must(*s != '\r' && *s != '\n');
}

static void check_head(const struct http_head *h)
{
	must(h->path[0] == '/' || strcmp(h->path, "*") == 0);
	check_text(h->path);
	must(!(h->chunked && http_head_field(h, "content-length")));
	must(h->minor == 0 || http_head_field(h, "host"));
	for (unsigned i = 0; i < h->n_fields; i++) {
		must(h->fields[i].name[0] != '\0' && !strpbrk(h->fields[i].name, " \t:"));
		check_text(h->fields[i].value);
	}
	char decoded[2049];
	if (http_decode(h->path, strlen(h->path), false, decoded))
		must(http_utf8_valid(decoded, strlen(decoded)));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size < 2)
		return 0;
	size_t step = (size_t)data[0] + 1;
	const char *text = (const char *)data + 1;
	size_t n = size - 1, length = 0, again = 0;
	int status = find(text, n, step, &length);
	must(find(text, n, n, &again) == status && again == length);
	if (status != 0 || length == 0)
		return 0;
	struct http_head head;
	const char *reason = NULL;
	status = http_head_parse(text, length, &limits, &head, &reason);
	if (status != 0) {
		must(status >= 400 && status < 600 && reason);
		return 0;
	}
	check_head(&head);
	struct outcome cut = read_body(&head, text + length, n - length, step);
	struct outcome whole = read_body(&head, text + length, n - length, n);
	must(cut.result == whole.result && cut.bytes == whole.bytes && cut.sum == whole.sum);
	must(cut.result == HTTP_BODY_BAD || cut.used == whole.used);
	http_head_done(&head);
	return 0;
}
