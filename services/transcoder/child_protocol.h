/* What the service and its conversion child say to each other over a SOCK_SEQPACKET pair: one setup in, then progress
 * and one end out. Keys travel here and nowhere else: no argument, no environment, no file. The child is not trusted:
 * everything it says is bounded and checked. */
#ifndef RUSHES_TRANSCODER_CHILD_PROTOCOL_H
#define RUSHES_TRANSCODER_CHILD_PROTOCOL_H

#include "facts.h"
#include "sandbox.h"

#include "spool/sealed.h"

/* The hidden first argument by which the service's own binary becomes the child. */
#define CHILD_ARGUMENT "convert-child"

/* Descriptors that the child inherits; all others are closed. */
enum {
	CHILD_FD_CONTROL = 3,
	CHILD_FD_INPUT,
	CHILD_FD_OUTPUT, /* main, snapshot, filmstrip: as in enum output */
	CHILD_FD_END = CHILD_FD_OUTPUT + OUTPUT_MAX,
};

/* Sent as it lies in memory: both ends are one binary. */
struct child_setup {
	uint32_t size; /* of this struct */
	struct sealed_header input;
	struct sealed_header outputs[OUTPUT_MAX];
	bool wanted[OUTPUT_MAX];
	uint8_t key[SEALED_KEY_BYTES];
	struct sandbox_limits limits;
	int encoder_threads;
	bool trap; /* development: see sandbox_enter() */
};

enum child_message_type { CHILD_PROGRESS, CHILD_DONE, CHILD_FAILED };

#define CHILD_MESSAGE_BYTES_MAX 8192

struct child_message {
	enum child_message_type type;
	double seconds, fraction; /* CHILD_PROGRESS */
	struct facts facts;	  /* CHILD_DONE */
	struct error error;	  /* CHILD_FAILED: code and text of the conversion */
};

/* Sends one message, waiting while the pair is full. ERR_RETRY when the other end is gone. */
int child_message_send(int fd, const struct child_message *m, struct error *e) _must_check_;

/* Reads the text of one message. ERR_REJECT when it is not one. */
int child_message_parse(const char *text, size_t n, struct child_message *ret, struct error *e) _must_check_;

#endif
