/* Stands in for the services around a transcoder in tests, with the real keys and formats:
 *
 *	segment_probe seal ROOT_KEY_FILE ACCOUNT RECORDING FILE FOLDER START:BYTES[x]...
 *		cuts FILE into segments, seals each into FOLDER/<copy>.sealed, prints keys and segments as JSON; x: each
 *of its bytes is another than the file's segment_probe open ROOT_KEY_FILE RECORDING SEALED_FILE OUTPUT opens a sealed
 *file into a plain one
 *
 * DATABASE in the environment is the connection string of the role whose part is played (ingest, transcoder). */
#include "base/hex.h"
#include "crypto/digest.h"
#include "domain/key.h"
#include "spool/writer.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <string.h>
#include <sys/stat.h>

#define PIECE_BYTES 65536

static int seal_segment(const char *folder, const struct sealed_header *h, const uint8_t *key, const uint8_t *data,
			size_t n, struct error *e)
{
	_cleanup_(sealed_writer_freep) struct sealed_writer *w = NULL;
	char path[512], copy[UUID_TEXT_BYTES];
	uuid_format(&h->copy, copy);
	(void)snprintf(path, sizeof(path), "%s/%s.sealed", folder, copy);
	_cleanup_(closep) int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0)
		return error_set_errno(e, ERR_FATAL, errno, "cannot create %s", path);
	int r = sealed_writer_new(fd, h, key, &w, e);
	if (r == 0)
		r = sealed_writer_write(w, 0, data, n, e);
	return r == 0 ? sealed_writer_finish(w, e) : r;
}

static int read_whole(const char *path, uint8_t **ret, size_t *ret_n, struct error *e)
{
	struct stat st;
	_cleanup_(closep) int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st) < 0)
		return error_set_errno(e, ERR_FATAL, errno, "cannot open %s", path);
	*ret = malloc((size_t)st.st_size + 1);
	*ret_n = (size_t)st.st_size;
	if (!*ret || read(fd, *ret, *ret_n) != (ssize_t)*ret_n)
		return error_set_errno(e, ERR_FATAL, errno, "cannot read %s", path);
	return 0;
}

static json_t *segment_json(const struct sealed_header *h, const uint8_t *data, size_t start, size_t n)
{
	uint8_t digest[SHA256_BYTES];
	char sha256[SHA256_TEXT_BYTES], copy[UUID_TEXT_BYTES];
	if (sha256_of(data, n, digest, NULL) < 0)
		return NULL;
	sha256_format(digest, sha256);
	uuid_format(&h->copy, copy);
	return json_pack("{s:i, s:I, s:I, s:s, s:I, s:s}", "number", (int)h->segment, "start", (json_int_t)start,
			 "bytes", (json_int_t)n, "sha256", sha256, "crc32", (json_int_t)crc32_update(0, data, n),
			 "copy", copy);
}

static int seal(struct db_pool *db, const struct keyring *root, char **args, int n_args, struct error *e)
{
	struct uuid account, recording;
	_cleanup_(freep) uint8_t *data = NULL;
	size_t size = 0;
	uint8_t key[KEY_BYTES];
	struct recording_key made;
	if (n_args < 5 || !uuid_parse(args[0], &account) || !uuid_parse(args[1], &recording))
		return error_set(e, ERR_FATAL,
				 "usage: seal ROOT_KEY_FILE ACCOUNT RECORDING FILE FOLDER START:BYTES[x]...");
	int r = read_whole(args[2], &data, &size, e);
	if (r == 0)
		r = recording_key_make(db, root, &account, &recording, key, &made, e);
	json_t *segments = json_array();
	for (int i = 4; r == 0 && i < n_args; i++) {
		char *colon = NULL, *end = NULL;
		unsigned long start = strtoul(args[i], &colon, 10);
		unsigned long bytes = *colon == ':' ? strtoul(colon + 1, &end, 10) : 0;
		bool is_other = end && *end == 'x';
		if (!end || end[is_other] || start > size || bytes > size - start) {
			r = error_set(e, ERR_FATAL, "no such part: %s", args[i]);
			break;
		}
		const struct sealed_header h = {.kind = SEALED_RAW_SEGMENT,
						.account = account,
						.recording = recording,
						.copy = uuid_v7(),
						.segment = (uint32_t)(i - 4)};
		for (size_t at = start; is_other && at < start + bytes; at++)
			data[at] ^= 1;
		r = seal_segment(args[3], &h, key, data + start, bytes, e);
		(void)json_array_append_new(segments, segment_json(&h, data + start, start, bytes));
		for (size_t at = start; is_other && at < start + bytes; at++)
			data[at] ^= 1;
	}
	if (r == 0) {
		char account_key[UUID_TEXT_BYTES], wrapped[2 * WRAPPED_KEY_BYTES + 1];
		uuid_format(&made.account_key, account_key);
		hex_encode(made.wrapped, sizeof(made.wrapped), wrapped);
		json_t *o =
		    json_pack("{s:s, s:s, s:O}", "account_key", account_key, "wrapped", wrapped, "segments", segments);
		(void)json_dumpf(o, stdout, JSON_COMPACT);
		json_decref(o);
	}
	json_decref(segments);
	return r;
}

static int open_file(struct db_pool *db, const struct keyring *root, char **args, int n_args, struct error *e)
{
	struct uuid recording;
	uint8_t key[KEY_BYTES];
	static uint8_t piece[PIECE_BYTES];
	_cleanup_(sealed_reader_freep) struct sealed_reader *reader = NULL;
	if (n_args != 3 || !uuid_parse(args[0], &recording))
		return error_set(e, ERR_FATAL, "usage: open ROOT_KEY_FILE RECORDING SEALED_FILE OUTPUT");
	_cleanup_(closep) int from = open(args[1], O_RDONLY | O_CLOEXEC);
	_cleanup_(closep) int to = open(args[2], O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (from < 0 || to < 0)
		return error_set_errno(e, ERR_FATAL, errno, "cannot open %s or %s", args[1], args[2]);
	int r = recording_key_get(db, root, &recording, key, NULL, e);
	if (r == 0)
		r = sealed_reader_new(from, key, NULL, &reader, e);
	uint64_t at = 0;
	for (size_t n = 1; r == 0 && n > 0; at += n) {
		r = sealed_reader_read(reader, at, piece, sizeof(piece), &n, e);
		if (r == 0 && write(to, piece, n) != (ssize_t)n)
			r = error_set_errno(e, ERR_FATAL, errno, "cannot write %s", args[2]);
	}
	return r;
}

int main(int argc, char **argv)
{
	struct error e = {0};
	_cleanup_(keyring_freep) struct keyring *root = NULL;
	_cleanup_(db_pool_freep) struct db_pool *db = NULL;
	const char *conninfo = getenv("DATABASE");
	const struct db_pool_options options = {.conninfo = conninfo, .application_name = "segment-probe"};
	if (argc < 3 || !conninfo) {
		(void)fprintf(stderr, "usage: DATABASE=... segment_probe seal|open ROOT_KEY_FILE ...\n");
		return 2;
	}
	int r = keyring_load(argv[2], KEY_SPOOL_ROOT, &root, &e);
	if (r == 0)
		r = db_pool_new(&options, &db, &e);
	if (r == 0)
		r = strcmp(argv[1], "seal") == 0 ? seal(db, root, argv + 3, argc - 3, &e)
						 : open_file(db, root, argv + 3, argc - 3, &e);
	if (r < 0)
		(void)fprintf(stderr, "%s: %s\n", error_code_to_string(r), e.text);
	return r < 0 ? 1 : 0;
}
