/* What the delivery child can do with a storage destination, whatever its kind. One target is used by one thread; calls
 * block. The errors are those of a job's attempt: ERR_RETRY unless the input can never work (ERR_REJECT). */
#ifndef RUSHES_PUSHER_DELIVERY_TARGET_H
#define RUSHES_PUSHER_DELIVERY_TARGET_H

#include "base/error.h"
#include "domain/delivery.h"
#include "domain/target.h"

#define DELIVERY_SHA256_BYTES 32

/* The opened bytes of a file, in one pass. */
struct delivery_source {
	/* Fills `buf` with up to `n` bytes; *ret 0 only at the end. */
	int (*read)(void *arg, void *buf, size_t n, size_t *ret, struct error *e);
	void *arg;
	uint64_t size;
	uint8_t sha256[DELIVERY_SHA256_BYTES]; /* of the file's row; anything else is ERR_CORRUPT */
};

/* One file at the target. */
struct delivery_item {
	const char *file_kind; /* main, raw, snapshot, filmstrip */
	const char *location;
	const char *temporary;	  /* may be NULL */
	const char *upload_id;	  /* recorded by an earlier attempt; NULL: none */
	const char *content_type; /* put only */
	bool is_again;		  /* an earlier attempt may have left something */
	json_t *evidence;	  /* remove: of the delivery, borrowed; may be NULL */
};

/* What the child's parent does for a target in the middle of a call. */
struct delivery_hooks {
	/* Records a multipart upload before its first byte leaves. */
	int (*upload_begun)(void *arg, const char *upload, struct error *e);
	/* Whether the work is no longer wanted. */
	bool (*stop)(void *arg);
	void *arg;
};

/* The proof of a delivery: goes into the copy's row. */
struct delivery_proof {
	json_t *evidence; /* the caller's */
	enum delivery_encryption encryption;
};

struct delivery_target;

struct delivery_target_ops {
	/* Stores the file under its location, in one pass over the source, and proves by the target's own answer that
	 * it is there whole. *ret_clean after an error: nothing of it is left at the target. */
	int (*put)(struct delivery_target *t, const struct delivery_item *item, const struct delivery_source *source,
		   struct delivery_proof *ret, bool *ret_clean, struct error *e);
	/* Removes everything that may exist under the item's names and proves that it is gone. *ret_found: something
	 * was there. */
	int (*remove)(struct delivery_target *t, const struct delivery_item *item, json_t **ret_evidence,
		      bool *ret_found, struct error *e);
	void (*free)(struct delivery_target *t);
};

struct delivery_target {
	const struct delivery_target_ops *ops;
};

static inline void delivery_target_free(struct delivery_target *t)
{
	if (t)
		t->ops->free(t);
}
DEFINE_CLEANUP(struct delivery_target, delivery_target_free)

struct delivery_target_options {
	const struct target_endpoint *endpoint; /* borrowed */
	const char *credential;			/* opened text; borrowed; NULL: none */
	const char *file_root;			/* `file` targets lie below it; "": anywhere */
	bool allow_private;			/* the endpoint's word for private addresses counts */
	struct delivery_hooks hooks;
};

/* Make a target; do not connect yet. */
int delivery_file_new(const struct delivery_target_options *o, struct delivery_target **ret,
		      struct error *e) _must_check_;
int delivery_s3_new(const struct delivery_target_options *o, struct delivery_target **ret,
		    struct error *e) _must_check_;

#endif
