/* One pass over the input: packets are read in order and copied, or decoded and encoded; frames feed the pictures. */
#ifndef RUSHES_TRANSCODER_PASS_H
#define RUSHES_TRANSCODER_PASS_H

#include "convert.h"
#include "parts.h"

/* Which streams to copy, where they can be; the pass withdraws what proved not to be sound. */
struct pass_plan {
	bool copy_video, copy_audio;
};

/* A result of pass_part(): throw the outputs away and begin again with the changed plan. */
#define PASS_AGAIN 1

struct pass;

/* Opens every part once, to know which tracks the output will have. `job`, `parts` and `plan` must outlive it. */
int pass_new(struct convert_job *job, const struct media_parts *parts, struct pass_plan *plan, struct pass **ret,
	     struct error *e) _must_check_;
void pass_free(struct pass *p);
DEFINE_CLEANUP(struct pass, pass_free)

int pass_part(struct pass *p, const struct media_part *part, struct error *e) _must_check_;

/* Ends encoders, file and pictures, and fills in what was found and made (not the digests). */
int pass_finish(struct pass *p, struct facts *facts, struct error *e) _must_check_;

#endif
