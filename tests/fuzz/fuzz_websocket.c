/* Fuzzes the reading of WebSocket frames: whatever the cuts between reads, the same bytes must tell the same. The first
 * byte is the size of the reads, the second the limit of a message.
 * Build: make fuzz-build; run: build/fuzz/fuzz_websocket tests/fuzz/corpus/websocket */
#include "net/websocket_frame.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool ok)
{
	if (!ok)
		abort();
}

/* Everything that was told, summed up. */
struct outcome {
	uint64_t sum, payload_bytes, frames;
	int code;
};

static struct outcome run(unsigned char *data, size_t n, size_t step, uint64_t limit)
{
	struct websocket_parser p;
	struct outcome o = {0};
	websocket_parser_init(&p, limit);
	size_t at = 0, end = 0;
	for (;;) {
		size_t used = 0, piece_n = 0;
		unsigned char *piece = NULL;
		int code = 0;
		enum websocket_event what = websocket_parse(&p, data + at, end - at, &used, &piece, &piece_n, &code);
		must(used <= end - at);
		if (what == WEBSOCKET_PIECE) {
			must(piece == data + at && piece_n == used && piece_n > 0);
			for (size_t i = 0; i < piece_n; i++)
				o.sum = o.sum * 31 + piece[i];
			o.payload_bytes += piece_n;
		}
		at += used;
		if (what == WEBSOCKET_FRAME) {
			o.frames++;
			o.sum = o.sum * 31 + p.opcode * 2 + p.final;
			must(p.opcode < 8 || (p.final && p.left <= WEBSOCKET_CONTROL_BYTES_MAX));
			must(p.message_bytes <= limit);
		} else if (what == WEBSOCKET_BROKEN) {
			must(code == 1002 || code == 1009);
			o.code = code;
			return o;
		} else if (what == WEBSOCKET_MORE) {
			must(at == end);
			if (end == n)
				return o;
			end = MIN(end + step, n);
		}
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size < 2)
		return 0;
	size_t step = (size_t)data[0] + 1, n = size - 2;
	uint64_t limit = (uint64_t)data[1] * 300;
	/* payloads are unmasked in place */
	unsigned char *cut = malloc(n + 1), *whole = malloc(n + 1);
	must(cut && whole);
	memcpy(cut, data + 2, n);
	memcpy(whole, data + 2, n);
	struct outcome a = run(cut, n, step, limit), b = run(whole, n, n + 1, limit);
	must(a.sum == b.sum && a.payload_bytes == b.payload_bytes && a.frames == b.frames && a.code == b.code);
	free(cut);
	free(whole);
	return 0;
}
