/* A folder that a `file` target lives in: names are followed strictly below it, never through a symbolic link, and a
 * marker file tells this store from an empty disk mounted in its place. */
#ifndef RUSHES_PUSHER_FOLDER_H
#define RUSHES_PUSHER_FOLDER_H

#include "base/error.h"
#include "base/uuid.h"

#include <stdbool.h>

/* Holds the store's id; made by the first delivery. */
#define FOLDER_MARKER ".rushes-store"

/* Whether a path may be followed below a folder: parts of 1 to 255 bytes that are neither "." nor "..". */
bool folder_path_is_safe(const char *path);

/* Opens the folder itself; it must exist and, when `below` is not "", lie below that one without leaving it. The
 * descriptor is the caller's. ERR_RETRY: a disk may be mounted later. */
int folder_open(const char *path, const char *below, int *ret, struct error *e) _must_check_;

/* Opens the folder of a safe relative `path` ("a/b/name": that of "a/b"), making what is missing when `make`; each new
 * folder's entry is flushed. *ret_name points into `path`. ERR_NOTFOUND when it is missing and not made; ERR_REJECT for
 * an unsafe path. */
int folder_open_parent(int root, const char *path, bool make, int *ret, const char **ret_name,
		       struct error *e) _must_check_;

/* Opens a regular file for reading, not through a link. ERR_NOTFOUND when there is none. */
int folder_open_file(int folder, const char *name, int *ret, struct error *e) _must_check_;

/* Removes a name; one that is not there is fine. */
int folder_unlink(int folder, const char *name, struct error *e) _must_check_;

/* Whether nothing has this name. */
int folder_is_absent(int folder, const char *name, bool *ret, struct error *e) _must_check_;

/* Removes the empty folders above `path`, upwards, without the root itself. What is not empty stays. */
void folder_prune(int root, const char *path);

/* The id in the marker; ERR_NOTFOUND when there is none. */
int folder_store_id(int root, struct uuid *ret, struct error *e) _must_check_;

/* The same, making the marker when there is none; of several makers at once one wins. */
int folder_store_make(int root, struct uuid *ret, struct error *e) _must_check_;

#endif
