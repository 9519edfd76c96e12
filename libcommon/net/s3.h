/* A client of Amazon S3 and of servers that speak its protocol. Blocking: for the delivery child, worker threads and
 * the ledger target, never on a loop. One client is used by one thread at a time.
 *
 * Redirects are never followed (the text of the error says where the bucket is), proxies of the environment are
 * ignored, certificates and names are verified, and plain http is for loopback only. */
#ifndef RUSHES_NET_S3_H
#define RUSHES_NET_S3_H

#include "net/s3_sign.h"
#include "net/s3_xml.h"

/* Smallest part that is not the last, most parts, largest object (Amazon S3 User Guide, "Multipart upload limits"). */
#define S3_PART_BYTES_MIN   (5 * MIB)
#define S3_PARTS_MAX	    10000
#define S3_OBJECT_BYTES_MAX ((uint64_t)5 * 1024 * GIB)
/* Part size where the configuration gives none: what one transfer holds in memory. It grows only for objects over
 * 10,000 parts of it (156 GiB). */
#define S3_PART_BYTES_DEFAULT (16 * MIB)

struct s3_config {
	const char *endpoint; /* "https://host[:port]"; "" or NULL: Amazon's of the region */
	const char *region;   /* "" or NULL: us-east-1 */
	const char *bucket;
	bool path_style;	   /* https://host/bucket/key; else https://bucket.host/key */
	bool allow_private;	   /* may connect to loopback and private addresses; link-local ones never */
	const char *ca_file;	   /* PEM; "" or NULL: the system's */
	const char *resolve;	   /* "host:port:address" for tests of virtual-host style; NULL: DNS */
	const char *storage_class; /* for put; "" or NULL: not sent */
	const char *encryption;	   /* x-amz-server-side-encryption, "AES256"; "" or NULL: not sent */
	bool checksums;		   /* send x-amz-checksum-sha256 with bodies and ask for it */
	uint64_t part_bytes;	   /* 0: the default; at least S3_PART_BYTES_MIN */
	unsigned idle_seconds;	   /* a transfer slower than 1 KiB/s for so long fails; 0: 60 */
	/* Asked now and then during transfers; true ends the call with ERR_CANCELLED. NULL: never. */
	bool (*stop)(void *arg);
	void *stop_arg;
};

struct s3_client;

/* Copies `config`; borrows `credentials`, which must outlive the client. ERR_REJECT with the reason for what cannot
 * be: a bad bucket name, endpoint or option. Does not connect. */
int s3_client_new(const struct s3_config *config, const struct s3_credentials *credentials, struct s3_client **ret,
		  struct error *e) _must_check_;
void s3_client_free(struct s3_client *c);
DEFINE_CLEANUP(struct s3_client, s3_client_free)

/* The classes of all calls below: ERR_RETRY for network, 5xx, 429, refused login and rights, missing bucket, redirects
 * (a person may repair them while the job still tries); ERR_NOTFOUND for a key or upload that is not there; ERR_REJECT
 * for what never works (key or object too long); ERR_FULL for a quota; ERR_CORRUPT for an answer that makes no sense
 * or does not match what was sent; ERR_CANCELLED by `stop`. Texts hold S3's code and message, never a secret. */

/* Where bytes come from: fills `buf` with up to `n` bytes, *ret 0 only at the end. Negative results are passed on. */
struct s3_source {
	int (*read)(void *arg, void *buf, size_t n, size_t *ret, struct error *e);
	void *arg;
};

/* Where bytes go to. */
struct s3_sink {
	int (*write)(void *arg, const void *data, size_t n, struct error *e);
	void *arg;
};

struct s3_put {
	const char *key; /* at most 1024 bytes of UTF-8, not escaped */
	const char *content_type;
	uint64_t size;		   /* exactly what the source gives; anything else is ERR_CORRUPT */
	const uint8_t *sha256;	   /* of the whole; NULL: not known before. A single request is signed with it */
	const char *storage_class; /* overrides the configuration's; NULL: that */
	/* Never takes the place of an object: If-None-Match, ERR_CONFLICT when there is one. Only up to the part size,
	 * else ERR_REJECT. A server that does not know conditions may ignore it: look before and afterwards. */
	bool create_only;
	struct s3_source source;
	/* Called before the first byte of a multipart upload leaves, with its id, so that it can be aborted after a
	 * crash. A negative result aborts it and is returned. NULL: not asked. */
	int (*upload_begun)(void *arg, const char *upload, struct error *e);
	void *upload_arg;
};

struct s3_stored {
	uint64_t size;
	char etag[S3_ETAG_BYTES];	   /* without its quotes; "" when the server gave none */
	char expected_etag[S3_ETAG_BYTES]; /* of s3_put(): the MD5 form; a server that encrypts may answer another */
	char checksum[S3_CHECKSUM_BYTES];  /* x-amz-checksum-sha256, base64, "-parts" behind it for multipart; or "" */
	char expected_checksum[S3_CHECKSUM_BYTES];
	char version[S3_VERSION_BYTES]; /* "" in buckets without versions */
	char storage_class[S3_CODE_BYTES];
	char encryption[S3_CODE_BYTES];
	char content_type[128];
};

/* Stores an object in one pass over the source, holding one part in memory: a single PUT up to the part size, else
 * multipart. Each request is tried three times. A failed multipart upload is aborted, and `*ret_aborted` (may be NULL)
 * says whether the server confirmed that nothing of it is left. */
int s3_put(struct s3_client *c, const struct s3_put *put, struct s3_stored *ret, bool *ret_aborted,
	   struct error *e) _must_check_;

/* What the server says of an object (HEAD). `version` NULL: the newest. */
int s3_head(struct s3_client *c, const char *key, const char *version, struct s3_stored *ret,
	    struct error *e) _must_check_;

/* Streams an object (`length` bytes from `offset`; length 0: all). *ret_size: bytes given to the sink. */
int s3_get(struct s3_client *c, const char *key, uint64_t offset, uint64_t length, const struct s3_sink *sink,
	   uint64_t *ret_size, struct error *e) _must_check_;

/* Removes the object, or exactly one version. Removing what is not there succeeds. */
int s3_delete(struct s3_client *c, const char *key, const char *version, struct error *e) _must_check_;

/* The keys that begin with `prefix` and lie behind `after` (NULL: from the first), in their order (bytes of UTF-8), at
 * most `max` (0: all). */
int s3_list(struct s3_client *c, const char *prefix, const char *after, unsigned max, s3_entry_function *fn, void *arg,
	    struct error *e) _must_check_;

/* Every version and delete marker of exactly `key`. ERR_NOTFOUND when the server keeps no versions at all. */
int s3_versions(struct s3_client *c, const char *key, s3_entry_function *fn, void *arg, struct error *e) _must_check_;

/* Every unfinished upload of exactly `key`. */
int s3_uploads(struct s3_client *c, const char *key, s3_entry_function *fn, void *arg, struct error *e) _must_check_;

/* Aborts an upload and asks again until the server knows no part of it. An unknown upload succeeds. */
int s3_abort(struct s3_client *c, const char *key, const char *upload, struct error *e) _must_check_;

/* Removes an object wholly: aborts its uploads, removes every version and delete marker, and looks again. Writes what
 * was found absent to `ret` for the evidence. ERR_RETRY when something is still there. */
int s3_purge(struct s3_client *c, const char *key, unsigned *ret_versions, unsigned *ret_uploads,
	     struct error *e) _must_check_;

/* A URL that lets anyone read the object for `seconds`. `*ret` is the caller's, to free(). */
int s3_presigned_get(struct s3_client *c, const char *key, unsigned seconds, char **ret, struct error *e) _must_check_;

#endif
