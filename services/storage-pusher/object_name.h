/* The names of files at targets. They are made of the file's facts alone, so every attempt finds the same one and a
 * deletion knows what may exist:
 *   <account hash>/<yyyy>/<mm>/<dd>/<recording>/<main.mp4|raw.webm|snapshot.jpg|filmstrip.jpg>
 * The day is that of the recording's opening, in UTC. */
#ifndef RUSHES_PUSHER_OBJECT_NAME_H
#define RUSHES_PUSHER_OBJECT_NAME_H

#include "base/error.h"

#include <stdbool.h>

struct object_facts {
	const char *account_hash;
	const char *recording; /* canonical UUID text */
	const char *opened_at; /* "2026-11-22T01:44:01Z" */
	const char *file_kind; /* main, raw, snapshot, filmstrip */
	const char *mime;      /* of what was recorded, parameters and all; "" or NULL: not known */
	bool is_converted;     /* main is the .mp4; else it is the untouched raw */
};

/* Longest name and content type, ends included. */
#define OBJECT_NAME_BYTES 256
#define OBJECT_TYPE_BYTES 64

/* ERR_REJECT when a fact is not what its column holds. */
int object_name(const struct object_facts *f, char ret[OBJECT_NAME_BYTES], struct error *e) _must_check_;

/* "video/mp4", "image/jpeg", for raw the recorded type without its parameters, or application/octet-stream. */
void object_content_type(const struct object_facts *f, char ret[OBJECT_TYPE_BYTES]);

/* The temporary name beside `name`: "<folder>/.<last part>.<copy>.part". ERR_REJECT when it is too long. */
int object_temporary(const char *name, const char *copy, char ret[OBJECT_NAME_BYTES], struct error *e) _must_check_;

#endif
