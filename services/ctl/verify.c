#include "verify.h"

#include "crypto/digest.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdarg.h>
#include <string.h>
#include <sys/stat.h>

#define READ_BYTES ((size_t)256 * 1024)

static const char *const result_names[] = {"ok", "failed", "not checked"};

void verify_add(json_t *checks, enum verify_result result, const char *check, const char *fmt, ...)
{
	char detail[512];
	va_list args;
	va_start(args, fmt);
	(void)vsnprintf(detail, sizeof(detail), fmt, args);
	va_end(args);
	(void)json_array_append_new(checks, json_pack("{s:s, s:s, s:s}", "check", check, "result", result_names[result],
						      "detail", detail));
}

size_t verify_count(json_t *checks, enum verify_result result)
{
	size_t i = 0, n = 0;
	json_t *check = NULL;
	json_array_foreach (checks, i, check)
		n += strcmp(json_string_value(json_object_get(check, "result")), result_names[result]) == 0;
	return n;
}

static const char *text_of(json_t *o, const char *name)
{
	const char *text = json_string_value(json_object_get(o, name));
	return text ? text : "";
}

static json_int_t number_of(json_t *o, const char *name)
{
	return json_integer_value(json_object_get(o, name));
}

static json_t *file_of(json_t *recording, const char *kind)
{
	size_t i = 0;
	json_t *file = NULL;
	json_array_foreach (json_object_get(recording, "files"), i, file)
		if (strcmp(text_of(file, "kind"), kind) == 0)
			return file;
	return NULL;
}

/* Runs of bytes must lie end to end from 0; an overlap was settled when it came, a gap is a loss. */
static void check_segments(json_t *recording, json_t *checks)
{
	json_t *segments = json_object_get(recording, "segments");
	json_int_t end = 0;
	size_t i = 0;
	json_t *s = NULL;
	if (json_array_size(segments) == 0) {
		verify_add(checks, VERIFY_NOT_CHECKED, "segments", "there is none");
		return;
	}
	json_array_foreach (segments, i, s) {
		json_int_t start = number_of(s, "start_offset");
		if (strcmp(text_of(s, "state"), "closed") != 0) {
			verify_add(checks, VERIFY_NOT_CHECKED, "segments", "segment %lld is still open",
				   (long long)number_of(s, "number"));
			return;
		}
		if (start > end || strlen(text_of(s, "sha256")) != 64) {
			verify_add(checks, VERIFY_FAILED, "segments",
				   "segment %lld begins at byte %lld, but the bytes before it end at %lld",
				   (long long)number_of(s, "number"), (long long)start, (long long)end);
			return;
		}
		end = MAX(end, start + number_of(s, "bytes"));
	}
	json_t *bytes = json_object_get(recording, "bytes");
	if (json_is_integer(bytes) && json_integer_value(bytes) != end)
		verify_add(checks, VERIFY_FAILED, "segments", "they end at byte %lld, the recording has %lld",
			   (long long)end, (long long)json_integer_value(bytes));
	else
		verify_add(checks, VERIFY_OK, "segments", "%zu, end to end, %lld bytes, each with its SHA-256",
			   json_array_size(segments), (long long)end);
}

/* The raw, or what took its place, is what ingest received. */
static void check_raw(json_t *recording, json_t *checks)
{
	const char *whole = text_of(recording, "sha256");
	json_t *segments = json_object_get(recording, "segments");
	json_t *raw = file_of(recording, "raw");
	if (!raw)
		raw = file_of(recording, "main");
	if (!*whole || !raw) {
		verify_add(checks, VERIFY_NOT_CHECKED, "raw", "it has not been read whole by a transcoder yet");
		return;
	}
	if (strcmp(text_of(raw, "sha256"), whole) != 0 || number_of(raw, "bytes") != number_of(recording, "bytes")) {
		verify_add(checks, VERIFY_FAILED, "raw", "size or SHA-256 of the file is not the recording's");
		return;
	}
	if (json_array_size(segments) == 1 && strcmp(text_of(json_array_get(segments, 0), "sha256"), whole) != 0) {
		verify_add(checks, VERIFY_FAILED, "raw", "its SHA-256 is not the only segment's");
		return;
	}
	verify_add(checks, VERIFY_OK, "raw", "%s has the %s's bytes and SHA-256 %s", text_of(raw, "kind"),
		   json_array_size(segments) == 1 ? "segment" : "recording", whole);
}

/* What the storage-pusher recorded when the target's own answer proved the delivery. */
static void check_evidence(json_t *recording, json_t *copy, json_t *checks)
{
	char check[96];
	json_t *file = file_of(recording, text_of(copy, "kind"));
	json_t *evidence = json_object_get(copy, "evidence");
	(void)snprintf(check, sizeof(check), "%s at %s", text_of(copy, "kind"), text_of(copy, "target"));
	if (!file || !json_is_integer(json_object_get(evidence, "size")) || !*text_of(evidence, "sha256"))
		verify_add(checks, VERIFY_NOT_CHECKED, check, "no evidence of the delivery is recorded");
	else if (number_of(evidence, "size") != number_of(file, "bytes"))
		verify_add(checks, VERIFY_FAILED, check, "%lld bytes were delivered, the file has %lld",
			   (long long)number_of(evidence, "size"), (long long)number_of(file, "bytes"));
	else if (strcmp(text_of(evidence, "sha256"), text_of(file, "sha256")) != 0)
		verify_add(checks, VERIFY_FAILED, check, "bytes of another SHA-256 were delivered");
	else
		verify_add(checks, VERIFY_OK, check, "delivered with its size and SHA-256, then proven by %s",
			   *text_of(evidence, "verified") ? text_of(evidence, "verified") : "the target");
}

static void check_copies(json_t *recording, json_t *checks)
{
	size_t i = 0, sealed = 0;
	json_t *copy = NULL;
	json_array_foreach (json_object_get(recording, "copies"), i, copy) {
		const char *state = text_of(copy, "state");
		if (strcmp(state, "lost") == 0)
			verify_add(checks, VERIFY_FAILED, "copies", "the copy %s on %s is lost", text_of(copy, "id"),
				   text_of(copy, "place"));
		else if (strcmp(state, "present") != 0 && strcmp(state, "released") != 0)
			continue;
		else if (strncmp(text_of(copy, "place"), "node/", 5) == 0)
			sealed++;
		else
			check_evidence(recording, copy, checks);
	}
	if (sealed > 0)
		verify_add(checks, VERIFY_NOT_CHECKED, "sealed copies",
			   "%zu on spools: rushesctl has no key; their bytes are checked whenever they are read",
			   sealed);
}

void verify_chain(json_t *recording, json_t *checks)
{
	check_segments(recording, checks);
	check_raw(recording, checks);
	check_copies(recording, checks);
}

static int hash_file(int fd, uint64_t *ret_bytes, char ret[SHA256_TEXT_BYTES], struct error *e)
{
	_cleanup_(sha256_freep) struct sha256 *hash = NULL;
	_cleanup_(freep) uint8_t *buffer = malloc(READ_BYTES);
	uint8_t digest[SHA256_BYTES];
	int r = buffer ? sha256_new(&hash, e) : error_nomem(e);
	*ret_bytes = 0;
	while (r == 0) {
		ssize_t n = read(fd, buffer, READ_BYTES);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return error_set_errno(e, ERR_FATAL, errno, "cannot be read");
		if (n == 0)
			break;
		sha256_update(hash, buffer, (size_t)n);
		*ret_bytes += (uint64_t)n;
	}
	if (r == 0) {
		sha256_finish(hash, digest);
		sha256_format(digest, ret);
	}
	return r;
}

void verify_local_copy(json_t *checks, const char *check, const char *folder, const char *location, json_t *file)
{
	char path[PATH_MAX], sha256[SHA256_TEXT_BYTES];
	struct error e = {0};
	struct stat st;
	uint64_t bytes = 0;
	int n = snprintf(path, sizeof(path), "%s/%s", folder, location);
	_cleanup_(closep) int fd = n < PATH_MAX ? open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK) : -1;
	if (fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode)) {
		verify_add(checks, VERIFY_NOT_CHECKED, check, "%s cannot be opened on this machine", path);
		return;
	}
	if (hash_file(fd, &bytes, sha256, &e) < 0)
		verify_add(checks, VERIFY_FAILED, check, "%s: %s", path, e.text);
	else if (bytes != (uint64_t)number_of(file, "bytes"))
		verify_add(checks, VERIFY_FAILED, check, "%s has %" PRIu64 " bytes, want %lld", path, bytes,
			   (long long)number_of(file, "bytes"));
	else if (strcmp(sha256, text_of(file, "sha256")) != 0)
		verify_add(checks, VERIFY_FAILED, check, "%s has another SHA-256: %s", path, sha256);
	else
		verify_add(checks, VERIFY_OK, check, "read whole: %" PRIu64 " bytes, SHA-256 %s", bytes, sha256);
}
