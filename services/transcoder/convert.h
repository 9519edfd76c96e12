/* A conversion: one recording in, the .mp4 and its pictures out, in one pass over the input. H.264 and AAC are copied
 * where that is sound; if a copy turns out not to be, the outputs are emptied and made again by decoding. Runs inside
 * the sandbox; nothing here opens anything. */
#ifndef RUSHES_TRANSCODER_CONVERT_H
#define RUSHES_TRANSCODER_CONVERT_H

#include "facts.h"
#include "media_io.h"

struct convert_job {
	struct media_io *input;
	struct media_io *outputs[OUTPUT_MAX]; /* main is needed; the others may be NULL */
	int encoder_threads;
	/* how far it is, for whoever watches; kept up to date while convert_run() works */
	uint64_t input_bytes, input_position;
	double seconds; /* of the output */
};

/* One thread per job. Results: 0 with facts; ERR_REJECT: no decoder opens this input or nothing comes out of it, now
 * and ever; the inputs' or outputs' own error where one failed; else ERR_RETRY, ERR_NOMEM, ERR_FATAL. After a failure
 * the outputs are worthless. */
int convert_run(struct convert_job *job, struct facts *ret, struct error *e) _must_check_;

#endif
