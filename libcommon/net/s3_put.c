#include "net/s3_request.h"

#include <assert.h>
#include <openssl/evp.h>
#include <string.h>

#define MD5_BYTES	   16
#define MD5_HEX_BYTES	   (2 * MD5_BYTES + 1)
#define BASE64_BYTES(n)	   (((n) + 2) / 3 * 4 + 1)
#define COMPLETE_BYTES_MAX (8 * MIB)
/* A server may think for minutes when it joins thousands of parts. */
#define COMPLETE_IDLE_SECONDS 600
#define ABORT_ROUNDS	      3

/* Digests of one body, as the requests need them. */
struct body_digests {
	uint8_t sha256[S3_SHA256_BYTES];
	uint8_t md5[MD5_BYTES];
	bool has_md5; /* OpenSSL may be set up without it */
	char sha256_hex[S3_SHA256_HEX_BYTES];
	char sha256_base64[BASE64_BYTES(S3_SHA256_BYTES)];
	char md5_hex[MD5_HEX_BYTES];
	char md5_base64[BASE64_BYTES(MD5_BYTES)];
};

struct part {
	char etag[S3_ETAG_BYTES];
	char checksum[BASE64_BYTES(S3_SHA256_BYTES)];
};

/* A multipart upload being made. */
struct upload {
	struct s3_client *client;
	const struct s3_put *put;
	char id[S3_UPLOAD_BYTES];
	uint8_t *buffer; /* of one part */
	uint64_t part_bytes;
	uint64_t sent;
	unsigned n_parts, made;
	struct part *parts;
	EVP_MD_CTX *whole, *md5s, *sha256s; /* of the object; of the parts' digests */
	bool has_md5;
};

static void to_hex(const uint8_t *data, size_t n, char *ret)
{
	for (size_t i = 0; i < n; i++)
		(void)snprintf(ret + 2 * i, 3, "%02x", data[i]);
}

static void to_base64(const uint8_t *data, size_t n, char *ret)
{
	(void)EVP_EncodeBlock((unsigned char *)ret, data, (int)n);
}

static int digest_body(const void *data, size_t n, struct body_digests *ret, struct error *e)
{
	if (EVP_Digest(data, n, ret->sha256, NULL, EVP_sha256(), NULL) != 1)
		return error_set(e, ERR_FATAL, "SHA-256 failed");
	ret->has_md5 = EVP_Digest(data, n, ret->md5, NULL, EVP_md5(), NULL) == 1;
	to_hex(ret->sha256, sizeof ret->sha256, ret->sha256_hex);
	to_base64(ret->sha256, sizeof ret->sha256, ret->sha256_base64);
	if (ret->has_md5) {
		to_hex(ret->md5, sizeof ret->md5, ret->md5_hex);
		to_base64(ret->md5, sizeof ret->md5, ret->md5_base64);
	}
	return 0;
}

/* Reads exactly `n` bytes. */
static int read_source(const struct s3_source *s, uint8_t *to, uint64_t n, struct error *e)
{
	for (uint64_t have = 0; have < n;) {
		size_t got = 0;
		int r = s->read(s->arg, to + have, (size_t)(n - have), &got, e);
		if (r < 0)
			return r;
		if (got == 0)
			return error_set(e, ERR_CORRUPT, "the source ended before its declared size");
		have += got;
	}
	return 0;
}

static int check_source_end(const struct s3_source *s, struct error *e)
{
	uint8_t one = 0;
	size_t got = 0;
	int r = s->read(s->arg, &one, 1, &got, e);
	if (r == 0 && got > 0)
		return error_set(e, ERR_CORRUPT, "the source is longer than its declared size");
	return r;
}

static void add_body_headers(struct s3_client *c, struct s3_request *r, const struct body_digests *d)
{
	r->body_sha256 = d->sha256_hex;
	if (d->has_md5)
		s3_request_header(r, "Content-MD5", d->md5_base64);
	if (c->checksums)
		s3_request_header(r, "x-amz-checksum-sha256", d->sha256_base64);
}

static void add_object_headers(struct s3_client *c, struct s3_request *r, const struct s3_put *put)
{
	const char *class = put->storage_class ? put->storage_class : c->storage_class;
	s3_request_header(r, "Content-Type", put->content_type ? put->content_type : "application/octet-stream");
	if (class && class[0])
		s3_request_header(r, "x-amz-storage-class", class);
	if (c->encryption)
		s3_request_header(r, "x-amz-server-side-encryption", c->encryption);
}

static bool looks_like_md5(const char *etag)
{
	return strlen(etag) == MD5_HEX_BYTES - 1 && strspn(etag, "0123456789abcdef") == MD5_HEX_BYTES - 1;
}

static int put_whole(struct s3_client *c, const struct s3_put *put, struct s3_stored *ret, struct error *e)
{
	_cleanup_(freep) uint8_t *body = malloc(put->size > 0 ? put->size : 1);
	struct body_digests d;
	struct s3_request r = {.method = "PUT", .key = put->key, .body = body, .body_n = put->size};
	_cleanup_(s3_answer_done) struct s3_answer a = {0};
	if (!body)
		return error_nomem(e);
	int x = read_source(&put->source, body, put->size, e);
	if (x == 0)
		x = check_source_end(&put->source, e);
	if (x == 0)
		x = digest_body(body, put->size, &d, e);
	if (x < 0)
		return x;
	if (put->sha256 && memcmp(d.sha256, put->sha256, sizeof d.sha256) != 0)
		return error_set(e, ERR_CORRUPT, "the file's bytes do not have its SHA-256");
	add_object_headers(c, &r, put);
	add_body_headers(c, &r, &d);
	if (put->create_only)
		s3_request_header(&r, "If-None-Match", "*");
	x = s3_request_tries(c, &r, &a, e);
	if (x < 0)
		return x;
	*ret = a.stored;
	ret->size = put->size;
	if (d.has_md5)
		memcpy(ret->expected_etag, d.md5_hex, sizeof d.md5_hex);
	memcpy(ret->expected_checksum, d.sha256_base64, sizeof d.sha256_base64);
	return 0;
}

static void upload_done(struct upload *u)
{
	free(u->buffer);
	free(u->parts);
	EVP_MD_CTX_free(u->whole);
	EVP_MD_CTX_free(u->md5s);
	EVP_MD_CTX_free(u->sha256s);
}

/* Parts of the configured size, larger ones in whole MiB when 10,000 would not reach. */
static uint64_t part_size(const struct s3_client *c, uint64_t size)
{
	uint64_t least = (size + S3_PARTS_MAX - 1) / S3_PARTS_MAX;
	return least <= c->part_bytes ? c->part_bytes : (least + MIB - 1) / MIB * MIB;
}

static int upload_init(struct upload *u, struct s3_client *c, const struct s3_put *put, struct error *e)
{
	u->client = c;
	u->put = put;
	u->part_bytes = part_size(c, put->size);
	u->n_parts = (unsigned)((put->size + u->part_bytes - 1) / u->part_bytes);
	assert(u->n_parts <= S3_PARTS_MAX);
	u->buffer = malloc(u->part_bytes);
	u->parts = calloc(u->n_parts, sizeof u->parts[0]);
	u->whole = EVP_MD_CTX_new();
	u->md5s = EVP_MD_CTX_new();
	u->sha256s = EVP_MD_CTX_new();
	if (!u->buffer || !u->parts || !u->whole || !u->md5s || !u->sha256s)
		return error_nomem(e);
	u->has_md5 = EVP_DigestInit_ex(u->md5s, EVP_md5(), NULL) == 1;
	if (EVP_DigestInit_ex(u->whole, EVP_sha256(), NULL) != 1 ||
	    EVP_DigestInit_ex(u->sha256s, EVP_sha256(), NULL) != 1)
		return error_set(e, ERR_FATAL, "SHA-256 cannot start");
	return 0;
}

/* Neither repeated nor stopped midway: a lost answer leaves an upload whose id nobody knows. */
static int upload_create(struct upload *u, struct error *e)
{
	struct s3_request r = {.method = "POST", .key = u->put->key};
	_cleanup_(s3_answer_done) struct s3_answer a = {0};
	s3_request_query(&r, "uploads", "");
	add_object_headers(u->client, &r, u->put);
	if (u->client->checksums)
		s3_request_header(&r, "x-amz-checksum-algorithm", "SHA256");
	bool (*stop)(void *arg) = TAKE_PTR(u->client->stop);
	int x = s3_request(u->client, &r, &a, e);
	u->client->stop = stop;
	if (x < 0)
		return x;
	x = s3_xml_upload(a.body.data ? a.body.data : "", a.body.size, u->id, e);
	if (x == 0 && u->put->upload_begun)
		x = u->put->upload_begun(u->put->upload_arg, u->id, e);
	return x;
}

static int upload_part(struct upload *u, struct error *e)
{
	uint64_t n = MIN(u->part_bytes, u->put->size - u->sent);
	struct part *part = &u->parts[u->made];
	struct body_digests d;
	char number[16];
	struct s3_request r = {.method = "PUT", .key = u->put->key, .body = u->buffer, .body_n = n};
	_cleanup_(s3_answer_done) struct s3_answer a = {0};
	int x = read_source(&u->put->source, u->buffer, n, e);
	if (x == 0)
		x = digest_body(u->buffer, n, &d, e);
	if (x < 0)
		return x;
	if (EVP_DigestUpdate(u->whole, u->buffer, n) != 1 ||
	    EVP_DigestUpdate(u->sha256s, d.sha256, sizeof d.sha256) != 1 ||
	    (u->has_md5 && EVP_DigestUpdate(u->md5s, d.md5, sizeof d.md5) != 1))
		return error_set(e, ERR_FATAL, "a digest failed");
	(void)snprintf(number, sizeof number, "%u", u->made + 1);
	s3_request_query(&r, "partNumber", number);
	s3_request_query(&r, "uploadId", u->id);
	add_body_headers(u->client, &r, &d);
	x = s3_request_tries(u->client, &r, &a, e);
	if (x < 0)
		return error_wrap(e, "part %u of %u", u->made + 1, u->n_parts);
	if (a.stored.etag[0] == '\0')
		return error_set(e, ERR_CORRUPT, "the server gave part %u no ETag", u->made + 1);
	memcpy(part->etag, a.stored.etag, sizeof part->etag);
	memcpy(part->checksum, d.sha256_base64, sizeof part->checksum);
	u->sent += n;
	u->made++;
	return 0;
}

/* ETags are the server's own words: what would break the XML is refused. */
static int format_parts(const struct upload *u, struct buffer *b, struct error *e)
{
	int r = buffer_append_string(b, "<CompleteMultipartUpload xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">");
	for (unsigned i = 0; r == 0 && i < u->n_parts; i++) {
		if (strpbrk(u->parts[i].etag, "<>&"))
			return error_set(e, ERR_CORRUPT, "the ETag of part %u is not one", i + 1);
		r = buffer_printf(b, "<Part><PartNumber>%u</PartNumber><ETag>&quot;%s&quot;</ETag>", i + 1,
				  u->parts[i].etag);
		if (r == 0 && u->client->checksums)
			r = buffer_printf(b, "<ChecksumSHA256>%s</ChecksumSHA256>", u->parts[i].checksum);
		if (r == 0)
			r = buffer_append_string(b, "</Part>");
	}
	if (r == 0)
		r = buffer_append_string(b, "</CompleteMultipartUpload>");
	return r < 0 ? error_set(e, r, "the list of parts is too long") : 0;
}

/* One request to complete. *ret_again: a later one may work. */
static int complete_once(struct upload *u, const struct buffer *body, struct s3_stored *ret, bool *ret_again,
			 struct error *e)
{
	struct s3_request r = {.method = "POST",
			       .key = u->put->key,
			       .body = body->data,
			       .body_n = body->size,
			       .idle_seconds = COMPLETE_IDLE_SECONDS};
	_cleanup_(s3_answer_done) struct s3_answer a = {0};
	struct s3_error late;
	char etag[S3_ETAG_BYTES];
	s3_request_query(&r, "uploadId", u->id);
	s3_request_header(&r, "Content-Type", "application/xml");
	int x = s3_request(u->client, &r, &a, e);
	*ret_again = a.again;
	if (x == 0)
		x = s3_xml_complete(a.body.data ? a.body.data : "", a.body.size, etag, &late, e);
	if (x == 0 && late.code[0]) {
		x = s3_classify(500, late.code, ret_again);
		(void)error_set(e, x, "complete at %s: %s%s%s", u->client->host, late.code, late.message[0] ? ": " : "",
				late.message);
	}
	if (x == 0)
		*ret = a.stored;
	return x;
}

static int final_digests(struct upload *u, struct s3_stored *ret, struct error *e)
{
	uint8_t digest[EVP_MAX_MD_SIZE];
	char hex[MD5_HEX_BYTES], base64[BASE64_BYTES(S3_SHA256_BYTES)];
	if (EVP_DigestFinal_ex(u->whole, digest, NULL) != 1)
		return error_set(e, ERR_FATAL, "SHA-256 failed");
	if (u->put->sha256 && memcmp(digest, u->put->sha256, S3_SHA256_BYTES) != 0)
		return error_set(e, ERR_CORRUPT, "the file's bytes do not have its SHA-256");
	if (EVP_DigestFinal_ex(u->sha256s, digest, NULL) != 1)
		return error_set(e, ERR_FATAL, "SHA-256 failed");
	to_base64(digest, S3_SHA256_BYTES, base64);
	(void)snprintf(ret->expected_checksum, sizeof ret->expected_checksum, "%s-%u", base64, u->n_parts);
	if (u->has_md5 && EVP_DigestFinal_ex(u->md5s, digest, NULL) == 1) {
		to_hex(digest, MD5_BYTES, hex);
		(void)snprintf(ret->expected_etag, sizeof ret->expected_etag, "%s-%u", hex, u->n_parts);
	}
	return 0;
}

/* A complete whose answer was lost may have worked: then the upload is unknown and the object is the expected one.
 * libcurl may have asked a second time by itself, on a new connection. */
static bool is_completed(struct upload *u, const struct s3_stored *expected)
{
	struct s3_stored there;
	struct error ignored = {0};
	return s3_head(u->client, u->put->key, NULL, &there, &ignored) == 0 && there.size == u->put->size &&
	       expected->expected_etag[0] && strcmp(there.etag, expected->expected_etag) == 0;
}

static int upload_complete(struct upload *u, struct s3_stored *ret, struct error *e)
{
	_cleanup_(buffer_done) struct buffer body;
	struct s3_stored expected = {.size = u->put->size}, answered = {0};
	buffer_init(&body, COMPLETE_BYTES_MAX);
	int r = final_digests(u, &expected, e);
	if (r == 0)
		r = format_parts(u, &body, e);
	if (r < 0)
		return r;
	for (unsigned n = 1;; n++) {
		bool again = false;
		r = complete_once(u, &body, &answered, &again, e);
		if (r < 0 && is_completed(u, &expected))
			r = 0;
		if (r == 0 || !again || n == S3_TRIES)
			break;
		r = s3_pause(u->client, n, e);
		if (r < 0)
			return r;
	}
	if (r < 0)
		return r;
	*ret = expected;
	memcpy(ret->version, answered.version, sizeof ret->version);
	return 0;
}

static int put_parts(struct s3_client *c, const struct s3_put *put, struct s3_stored *ret, bool *ret_aborted,
		     struct error *e)
{
	_cleanup_(upload_done) struct upload u = {0};
	int r = upload_init(&u, c, put, e);
	if (r == 0)
		r = upload_create(&u, e);
	while (r == 0 && u.made < u.n_parts)
		r = upload_part(&u, e);
	if (r == 0)
		r = check_source_end(&put->source, e);
	if (r == 0)
		r = upload_complete(&u, ret, e);
	if (r < 0 && u.id[0]) {
		struct error ignored = {0};
		/* also when it is no longer wanted: the abort is what is wanted then */
		bool (*stop)(void *arg) = TAKE_PTR(c->stop);
		*ret_aborted = s3_abort(c, put->key, u.id, &ignored) == 0;
		c->stop = stop;
	}
	return r;
}

int s3_put(struct s3_client *c, const struct s3_put *put, struct s3_stored *ret, bool *ret_aborted, struct error *e)
{
	bool aborted = true; /* nothing was begun */
	*ret = (struct s3_stored){0};
	int r = s3_check_key(put->key, e);
	if (r == 0 && put->size > S3_OBJECT_BYTES_MAX)
		r = error_set(e, ERR_REJECT, "the file is larger than the 5 TiB that S3 takes");
	if (r == 0 && put->create_only && put->size > c->part_bytes)
		r = error_set(e, ERR_REJECT, "an object of several parts cannot be put on a condition");
	if (r == 0)
		r = put->size <= c->part_bytes ? put_whole(c, put, ret, e) : put_parts(c, put, ret, &aborted, e);
	if (ret_aborted)
		*ret_aborted = aborted;
	/* the server's word on the body it got: a plain MD5 that is another one means damage in transit */
	if (r == 0 && put->size <= c->part_bytes && !c->encryption && looks_like_md5(ret->etag) &&
	    ret->expected_etag[0] && strcmp(ret->etag, ret->expected_etag) != 0)
		return error_set(e, ERR_CORRUPT, "the server's ETag is not the MD5 of what was sent");
	return r;
}

/* Whether the server still knows parts of an upload. */
static int is_upload_known(struct s3_client *c, const char *key, const char *upload, bool *ret, struct error *e)
{
	struct s3_request r = {.method = "GET", .key = key};
	_cleanup_(s3_answer_done) struct s3_answer a = {0};
	s3_request_query(&r, "uploadId", upload);
	s3_request_query(&r, "max-parts", "1");
	int x = s3_request_tries(c, &r, &a, e);
	*ret = x == 0;
	return x == ERR_NOTFOUND ? 0 : x;
}

int s3_abort(struct s3_client *c, const char *key, const char *upload, struct error *e)
{
	/* a part that was still arriving may outlive the first abort (S3 API Reference, AbortMultipartUpload) */
	for (unsigned round = 1; round <= ABORT_ROUNDS; round++) {
		struct s3_request r = {.method = "DELETE", .key = key};
		_cleanup_(s3_answer_done) struct s3_answer a = {0};
		bool known = false;
		s3_request_query(&r, "uploadId", upload);
		int x = s3_request_tries(c, &r, &a, e);
		if (x < 0 && (x != ERR_NOTFOUND || strcmp(a.error.code, "NotImplemented") == 0))
			return x;
		x = is_upload_known(c, key, upload, &known, e);
		if (x < 0 || !known)
			return x;
		x = s3_pause(c, round, e);
		if (x < 0)
			return x;
	}
	return error_set(e, ERR_RETRY, "the server still knows the aborted upload");
}

/* What a purge met. */
struct purge {
	struct s3_client *client;
	const char *key;
	unsigned removed;
};

static int abort_entry(void *arg, const struct s3_entry *entry, struct error *e)
{
	struct purge *p = arg;
	p->removed++;
	return s3_abort(p->client, p->key, entry->upload, e);
}

static int remove_entry(void *arg, const struct s3_entry *entry, struct error *e)
{
	struct purge *p = arg;
	p->removed++;
	return s3_delete(p->client, p->key, entry->version[0] ? entry->version : NULL, e);
}

static int refuse_entry(void *arg _unused_, const struct s3_entry *entry, struct error *e)
{
	return error_set(e, ERR_RETRY, "the object is still there: version %.64s, upload %.64s", entry->version,
			 entry->upload);
}

static int purge_versions(struct purge *p, struct error *e)
{
	int r = s3_versions(p->client, p->key, remove_entry, p, e);
	if (r == 0)
		return s3_versions(p->client, p->key, refuse_entry, p, e);
	if (r != ERR_NOTFOUND)
		return r;
	/* the server keeps no versions */
	struct s3_stored there;
	r = s3_head(p->client, p->key, NULL, &there, e);
	p->removed += r == 0;
	if (r == 0 || r == ERR_NOTFOUND)
		r = s3_delete(p->client, p->key, NULL, e);
	if (r < 0)
		return r;
	r = s3_head(p->client, p->key, NULL, &there, e);
	if (r == 0)
		return error_set(e, ERR_RETRY, "the object is still there");
	return r == ERR_NOTFOUND ? 0 : r;
}

int s3_purge(struct s3_client *c, const char *key, unsigned *ret_versions, unsigned *ret_uploads, struct error *e)
{
	struct purge uploads = {.client = c, .key = key}, versions = {.client = c, .key = key};
	int r = s3_uploads(c, key, abort_entry, &uploads, e);
	/* a server without multipart has no uploads */
	if (r == ERR_NOTFOUND)
		r = 0;
	if (r == 0)
		r = purge_versions(&versions, e);
	if (r == 0 && uploads.removed > 0)
		r = s3_uploads(c, key, refuse_entry, NULL, e);
	*ret_versions = versions.removed;
	*ret_uploads = uploads.removed;
	return r;
}
