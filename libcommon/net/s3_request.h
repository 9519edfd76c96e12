/* One signed request of the S3 client and its answer. For s3_*.c only: others use net/s3.h. */
#ifndef RUSHES_NET_S3_REQUEST_H
#define RUSHES_NET_S3_REQUEST_H

#include "net/s3.h"

#include <curl/curl.h>

/* Answers with a list or an error are at most this long: pages of 100 entries with keys of 1 KiB, escaped. */
#define S3_ANSWER_BYTES_MAX MIB
/* How often a request that may be repeated is tried, and the first pause. */
#define S3_TRIES	 3
#define S3_PAUSE_MS	 250
#define S3_HOST_BYTES	 320
#define S3_ENDPOINT_HOST 256

struct s3_client {
	CURL *curl;
	struct curl_slist *resolve;
	struct s3_credentials credentials; /* borrowed */
	bool https;
	bool path_style;
	bool allow_private;
	bool checksums;
	char host[S3_HOST_BYTES]; /* of the Host header: the bucket before it in virtual-host style, the port behind it
				   */
	char *region, *bucket, *ca_file, *storage_class, *encryption;
	uint64_t part_bytes;
	unsigned idle_seconds;
	bool (*stop)(void *arg);
	void *stop_arg;
};

struct s3_request {
	const char *method; /* GET, HEAD, PUT, POST, DELETE */
	const char *key;    /* NULL: the bucket itself */
	struct s3_pair query[S3_QUERY_MAX];
	size_t n_query;
	struct s3_pair headers[S3_HEADERS_MAX];
	size_t n_headers;
	const void *body; /* of PUT and POST; NULL: none */
	size_t body_n;
	const char *body_sha256;    /* hex; NULL: computed here */
	const struct s3_sink *sink; /* of the body of a 2xx answer; NULL: into the answer */
	unsigned idle_seconds;	    /* longer than the client's; 0: that */
};

struct s3_answer {
	long status;
	bool again; /* the same request may work in a moment: network, 5xx, 429, damaged in transit */
	struct s3_stored stored;
	bool has_size;
	char region[S3_CODE_BYTES];
	struct s3_error error;
	struct buffer body;
};

void s3_answer_done(struct s3_answer *a);

/* Makes the request once. `*ret` is released by the caller also after an error. 0 for 2xx, else the classes of s3.h. */
int s3_request(struct s3_client *c, const struct s3_request *r, struct s3_answer *ret, struct error *e) _must_check_;

/* The same up to three times with pauses. Only for what may be repeated; no sink. */
int s3_request_tries(struct s3_client *c, const struct s3_request *r, struct s3_answer *ret,
		     struct error *e) _must_check_;

void s3_request_header(struct s3_request *r, const char *name, const char *value);
void s3_request_query(struct s3_request *r, const char *name, const char *value);

/* The path of a key as it is sent and signed. */
int s3_path(const struct s3_client *c, const char *key, struct buffer *ret) _must_check_;

/* The class for an HTTP status and S3's code, and whether a try at once makes sense. */
int s3_classify(long status, const char *code, bool *ret_again);

/* ERR_REJECT for a key that S3 cannot have. */
int s3_check_key(const char *key, struct error *e) _must_check_;

/* Waits before try `n` (1, 2, ...). ERR_CANCELLED by the client's stop. */
int s3_pause(struct s3_client *c, unsigned n, struct error *e) _must_check_;

#endif
