/* Starts the conversion child, watches it, and tells how it ended. */
#ifndef RUSHES_TRANSCODER_SUPERVISOR_H
#define RUSHES_TRANSCODER_SUPERVISOR_H

#include "child_protocol.h"

/* Without a sign of life for this long the child is stuck. A single frame takes seconds at most. */
#define SUPERVISOR_SILENCE_MS 120000

struct supervisor_job {
	int input_fd;		    /* the sealed raw file, for reading */
	int output_fds[OUTPUT_MAX]; /* empty files, for reading and writing; -1: not wanted. Main is needed */
	struct sealed_header input, outputs[OUTPUT_MAX];
	const uint8_t *key; /* the recording's data key, SEALED_KEY_BYTES */
	uint64_t input_bytes;
	int encoder_threads;
	bool trap; /* development only */
	/* asked several times a second; true: the work is no longer wanted. May be NULL */
	bool (*cancelled)(void *arg);
	/* told when it comes on; may be NULL */
	void (*progress)(void *arg, double seconds, double fraction);
	void *arg;
};

/* Blocks until the child has ended; it and whatever it started are gone then. Any thread, but not the loop's. Results:
 * 0 with facts; ERR_REJECT: the input can never be converted; ERR_CANCELLED; ERR_CORRUPT: the sealed input fails its
 * check; ERR_FULL, ERR_NOMEM, ERR_RETRY: another try may work (also after a crash). *ret_alarm: the child was killed
 * for a forbidden system call, which no healthy conversion makes. Outputs of a failed run are worthless. */
int supervisor_run(const struct supervisor_job *job, struct facts *ret, bool *ret_alarm, struct error *e) _must_check_;

#endif
