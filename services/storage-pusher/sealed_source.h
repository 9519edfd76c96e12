/* A file of the processing node as a stream of opened bytes: pulled sealed from its spool over mutual TLS, slot after
 * slot, in one pass. The spool is asked for one range at a time, so a slow target keeps no connection waiting. For the
 * delivery child's one thread. */
#ifndef RUSHES_PUSHER_SEALED_SOURCE_H
#define RUSHES_PUSHER_SEALED_SOURCE_H

#include "base/log.h"
#include "spool/sealed.h"

struct sealed_source_options {
	const char *peer_url; /* https://host:port of the spool's peer listener */
	const char *copy;
	const char *job;
	unsigned attempt;
	const char *traceparent;	    /* NULL: none */
	const char *certificate, *key, *ca; /* PEM files of the service's identity */
	const uint8_t *data_key;	    /* SEALED_KEY_BYTES */
	const struct sealed_header *expected;
	uint64_t size; /* opened bytes, of the file's row */
	bool (*stop)(void *arg);
	void *stop_arg;
};

struct sealed_source;

/* Does not connect. The options' texts are borrowed until it is freed. */
int sealed_source_new(const struct sealed_source_options *o, struct sealed_source **ret, struct error *e) _must_check_;
void sealed_source_free(struct sealed_source *s);
DEFINE_CLEANUP(struct sealed_source, sealed_source_free)

/* Gives up to `n` opened bytes; *ret 0 after the last, when the final slot was opened and the size is the row's.
 * ERR_RETRY: the spool is away or refuses; ERR_CORRUPT: the file fails its check; ERR_CANCELLED: its recording is being
 * deleted, or `stop`. `source` is the struct sealed_source. */
int sealed_source_read(void *source, void *buf, size_t n, size_t *ret, struct error *e) _must_check_;

#endif
