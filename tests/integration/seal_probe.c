/* Seals plain files as a transcoder's spool holds them, under a fresh key of the recording:
 *
 *	seal_probe ROOT_KEY_FILE ACCOUNT ACCOUNT_KEY ACCOUNT_WRAPPED RECORDING KIND:COPY:INPUT:OUTPUT...
 *
 * ACCOUNT_WRAPPED is the account's key as its row holds it, or "new"; prints the key rows as JSON:
 *{"root_key","account_wrapped","wrapped"}, the last two in hexadecimal digits. */
#include "base/hex.h"
#include "crypto/random.h"
#include "crypto/wrap.h"
#include "spool/writer.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

static int seal(char *spec, const struct uuid *account, const struct uuid *recording, const uint8_t *key,
		struct error *e)
{
	struct sealed_header h = {.account = *account, .recording = *recording};
	char *rest = spec;
	const char *kind = strsep(&rest, ":"), *copy = strsep(&rest, ":"), *input = strsep(&rest, ":"), *output = rest;
	static uint8_t piece[65536];
	if (!output || !uuid_parse(copy, &h.copy) || (h.kind = sealed_kind_from_string(kind)) == SEALED_KIND_MAX)
		return error_set(e, ERR_REJECT, "want KIND:COPY:INPUT:OUTPUT");
	_cleanup_(closep) int from = open(input, O_RDONLY | O_CLOEXEC);
	_cleanup_(closep) int to = open(output, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (from < 0 || to < 0)
		return error_set_errno(e, ERR_FATAL, errno, "cannot open %s or %s", input, output);
	_cleanup_(sealed_writer_freep) struct sealed_writer *w = NULL;
	int r = sealed_writer_new(to, &h, key, &w, e);
	uint64_t at = 0;
	for (ssize_t n; r == 0 && (n = read(from, piece, sizeof(piece))) > 0; at += (uint64_t)n)
		r = sealed_writer_write(w, at, piece, (size_t)n, e);
	return r == 0 ? sealed_writer_finish(w, e) : r;
}

static int run(int argc, char **argv, struct error *e)
{
	_cleanup_(keyring_freep) struct keyring *root = NULL;
	struct uuid account, recording;
	uint8_t account_key[KEY_BYTES], key[KEY_BYTES], account_wrapped[WRAPPED_KEY_BYTES], wrapped[WRAPPED_KEY_BYTES];
	char account_hex[2 * WRAPPED_KEY_BYTES + 1], hex[2 * WRAPPED_KEY_BYTES + 1];
	const char *root_id = NULL;
	if (argc < 7 || !uuid_parse(argv[2], &account) || !uuid_parse(argv[5], &recording))
		return error_set(e, ERR_REJECT, "want ROOT_KEY_FILE ACCOUNT ACCOUNT_KEY ACCOUNT_WRAPPED RECORDING ...");
	int r = keyring_load(argv[1], KEY_SPOOL_ROOT, &root, e);
	if (r < 0)
		return r;
	const uint8_t *root_key = keyring_current(root, &root_id);
	const struct wrap_context by_root = {KEY_SPOOL_ROOT, root_id, &account, NULL};
	const struct wrap_context by_account = {KEY_SPOOL_ROOT, argv[3], &account, &recording};
	random_bytes(account_key, sizeof(account_key));
	random_bytes(key, sizeof(key));
	if (strcmp(argv[4], "new") == 0)
		r = wrap_key(root_key, &by_root, account_key, account_wrapped, e);
	else if (hex_decode(argv[4], account_wrapped, sizeof(account_wrapped)))
		r = unwrap_key(root_key, &by_root, account_wrapped, sizeof(account_wrapped), account_key, e);
	else
		r = error_set(e, ERR_REJECT, "ACCOUNT_WRAPPED is no wrapped key");
	if (r == 0)
		r = wrap_key(account_key, &by_account, key, wrapped, e);
	for (int i = 6; r == 0 && i < argc; i++)
		r = seal(argv[i], &account, &recording, key, e);
	if (r < 0)
		return r;
	hex_encode(account_wrapped, sizeof(account_wrapped), account_hex);
	hex_encode(wrapped, sizeof(wrapped), hex);
	(void)printf("{\"root_key\":\"%s\",\"account_wrapped\":\"%s\",\"wrapped\":\"%s\"}\n", root_id, account_hex,
		     hex);
	return 0;
}

int main(int argc, char **argv)
{
	struct error e = {0};
	if (run(argc, argv, &e) == 0)
		return 0;
	(void)fprintf(stderr, "seal_probe: %s\n", e.text);
	return 1;
}
