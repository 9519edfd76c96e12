/* with: services/transcoder/[a-z]*.c */
/* Converts a plain file exactly as the service does (sealed input and outputs, sandboxed child), and opens the results
 * into plain files:
 *
 *	convert_probe [--plain] [--trap] INPUT FOLDER
 *
 * prints the facts as JSON, writes FOLDER/main.mp4, snapshot.jpg and filmstrip.jpg. --plain works in this process on
 * plain files, for sanitizers and debuggers; --trap names a forbidden system call. Status: 0 converted, 3 can never be
 * converted, 4 any other failure, 5 alarm. */
#include "../../services/transcoder/child.h"
#include "../../services/transcoder/convert.h"
#include "../../services/transcoder/media_log.h"
#include "../../services/transcoder/sealed_io.h"
#include "../../services/transcoder/supervisor.h"

#include "crypto/random.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

enum { STATUS_OK = 0, STATUS_USAGE = 2, STATUS_NEVER = 3, STATUS_FAILED = 4, STATUS_ALARM = 5 };

#define PIECE_BYTES 65536

static const char *const NAMES[OUTPUT_MAX] = {"main.mp4", "snapshot.jpg", "filmstrip.jpg"};

static int open_output(const char *folder, enum output o, bool sealed, struct error *e)
{
	char path[512];
	(void)snprintf(path, sizeof(path), "%s/%s%s", folder, NAMES[o], sealed ? ".sealed" : "");
	int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (fd >= 0 && sealed)
		(void)unlink(path);
	return fd >= 0 ? fd : error_set_errno(e, ERR_FATAL, errno, "cannot create %s", path);
}

static int convert_plain(const char *input_path, const char *folder, struct facts *ret, struct error *e)
{
	_cleanup_(closep) int in = open(input_path, O_RDONLY | O_CLOEXEC);
	if (in < 0)
		return error_set_errno(e, ERR_FATAL, errno, "cannot open %s", input_path);
	struct media_io input, outputs[OUTPUT_MAX];
	int fds[OUTPUT_MAX];
	struct convert_job job = {.input = &input, .encoder_threads = 2};
	media_log_init();
	media_io_init(&input, &media_io_plain, &in);
	for (enum output o = 0; o < OUTPUT_MAX; o++) {
		fds[o] = open_output(folder, o, false, e);
		if (fds[o] < 0)
			return fds[o];
		media_io_init(&outputs[o], &media_io_plain, &fds[o]);
		job.outputs[o] = &outputs[o];
	}
	int r = convert_run(&job, ret, e);
	for (enum output o = 0; o < OUTPUT_MAX; o++)
		(void)close(fds[o]);
	return r;
}

/* ---- sealed, in the child ---- */

static int seal(const char *path, int to, const struct sealed_header *h, const uint8_t *key, struct error *e)
{
	_cleanup_(sealed_writer_freep) struct sealed_writer *w = NULL;
	_cleanup_(closep) int from = open(path, O_RDONLY | O_CLOEXEC);
	static uint8_t piece[PIECE_BYTES];
	if (from < 0)
		return error_set_errno(e, ERR_FATAL, errno, "cannot open %s", path);
	int r = sealed_writer_new(to, h, key, &w, e);
	uint64_t at = 0;
	for (ssize_t n; r == 0 && (n = read(from, piece, sizeof(piece))) > 0; at += (uint64_t)n)
		r = sealed_writer_write(w, at, piece, (size_t)n, e);
	return r == 0 ? sealed_writer_finish(w, e) : r;
}

static int unseal(int from, const struct sealed_header *h, const uint8_t *key, int to, struct error *e)
{
	_cleanup_(sealed_reader_freep) struct sealed_reader *reader = NULL;
	static uint8_t piece[PIECE_BYTES];
	int r = sealed_reader_new(from, key, h, &reader, e);
	uint64_t at = 0;
	for (size_t n = 1; r == 0 && n > 0; at += n) {
		r = sealed_reader_read(reader, at, piece, sizeof(piece), &n, e);
		if (r == 0 && write(to, piece, n) != (ssize_t)n)
			r = error_set_errno(e, ERR_FATAL, errno, "cannot write the result");
	}
	return r;
}

static struct sealed_header header(enum sealed_kind kind, struct uuid account, struct uuid recording)
{
	return (struct sealed_header){.kind = kind, .account = account, .recording = recording, .copy = uuid_v4()};
}

static int open_results(const struct supervisor_job *job, const struct facts *facts, const char *folder,
			struct error *e)
{
	for (enum output o = 0; o < OUTPUT_MAX; o++) {
		if (!facts->outputs[o].made)
			continue;
		_cleanup_(closep) int to = open_output(folder, o, false, e);
		int r = to < 0 ? to : unseal(job->output_fds[o], &job->outputs[o], job->key, to, e);
		if (r < 0)
			return r;
	}
	return 0;
}

static void show_progress(void *arg _unused_, double seconds, double fraction)
{
	(void)fprintf(stderr, "%.1f s, %.0f %%\n", seconds, fraction * 100);
}

static int convert_sealed(const char *input_path, const char *folder, bool trap, struct facts *ret, bool *ret_alarm,
			  struct error *e)
{
	static const enum sealed_kind kinds[OUTPUT_MAX] = {SEALED_MAIN, SEALED_SNAPSHOT, SEALED_FILMSTRIP};
	uint8_t key[SEALED_KEY_BYTES];
	struct uuid account = uuid_v4(), recording = uuid_v7();
	struct supervisor_job job = {
	    .input = header(SEALED_RAW, account, recording),
	    .key = key,
	    .encoder_threads = 2,
	    .trap = trap,
	    .progress = show_progress,
	};
	struct stat st;
	random_bytes(key, sizeof(key));
	job.input_fd = open_output(folder, OUTPUT_MAIN, true, e);
	int r = job.input_fd < 0 ? job.input_fd : seal(input_path, job.input_fd, &job.input, key, e);
	for (enum output o = 0; o < OUTPUT_MAX; o++) {
		job.outputs[o] = header(kinds[o], account, recording);
		job.output_fds[o] = open_output(folder, o, true, e);
	}
	if (r == 0 && stat(input_path, &st) == 0)
		job.input_bytes = (uint64_t)st.st_size;
	if (r == 0)
		r = supervisor_run(&job, ret, ret_alarm, e);
	if (r == 0)
		r = open_results(&job, ret, folder, e);
	(void)close(job.input_fd);
	for (enum output o = 0; o < OUTPUT_MAX; o++)
		(void)close(job.output_fds[o]);
	return r;
}

int main(int argc, char **argv)
{
	bool plain = false, trap = false, alarm_raised = false;
	if (argc == 2 && strcmp(argv[1], CHILD_ARGUMENT) == 0)
		return child_main();
	for (; argc > 1 && argv[1][0] == '-'; argc--, argv++) {
		plain |= strcmp(argv[1], "--plain") == 0;
		trap |= strcmp(argv[1], "--trap") == 0;
	}
	if (argc != 3) {
		(void)fprintf(stderr, "usage: convert_probe [--plain] [--trap] INPUT FOLDER\n");
		return STATUS_USAGE;
	}
	struct facts facts;
	struct error e = {0};
	int r = plain ? convert_plain(argv[1], argv[2], &facts, &e)
		      : convert_sealed(argv[1], argv[2], trap, &facts, &alarm_raised, &e);
	if (r < 0) {
		(void)fprintf(stderr, "%s: %s\n", error_code_to_string(r), e.text);
		return alarm_raised ? STATUS_ALARM : r == ERR_REJECT ? STATUS_NEVER : STATUS_FAILED;
	}
	json_t *o = facts_to_json(&facts);
	_cleanup_(freep) char *text = o ? json_dumps(o, JSON_INDENT(1) | JSON_REAL_PRECISION(9)) : NULL;
	json_decref(o);
	(void)puts(text ? text : "{}");
	return STATUS_OK;
}
