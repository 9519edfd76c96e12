/* Sealed files as the conversion's inputs and outputs (media_io.h). */
#ifndef RUSHES_TRANSCODER_SEALED_IO_H
#define RUSHES_TRANSCODER_SEALED_IO_H

#include "media_io.h"

#include "spool/writer.h"

/* `file` of the reading functions is a struct sealed_reader. */
extern const struct media_io_functions media_io_sealed_input;

/* A sealed file being written; it can be emptied and begun again. */
struct sealed_output {
	int fd; /* borrowed */
	struct sealed_header header;
	uint8_t key[SEALED_KEY_BYTES];
	struct sealed_writer *writer;
};

int sealed_output_open(struct sealed_output *o, int fd, const struct sealed_header *header,
		       const uint8_t key[SEALED_KEY_BYTES], struct error *e) _must_check_;
/* Releases the writer and wipes the key; accepts a zeroed struct. */
void sealed_output_close(struct sealed_output *o);

/* `file` of the writing functions is a struct sealed_output. */
extern const struct media_io_functions media_io_sealed_output;

#endif
