/* The S3 client against a real gateway and against a double that misbehaves; started by s3.test.mjs. */
#include "net/s3.h"

#include <openssl/evp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
/* after the headers it needs */
#include <cmocka.h>

#define PART_BYTES S3_PART_BYTES_MIN

static struct s3_credentials credentials;
static const char *endpoint, *plain, *ca_file, *double_endpoint;

/* Bytes that are the same on each run and differ everywhere. */
struct pattern {
	uint64_t at, size;
	uint64_t fail_at; /* 0: never */
};

static int pattern_read(void *arg, void *buf, size_t n, size_t *ret, struct error *e)
{
	struct pattern *p = arg;
	uint8_t *to = buf;
	/* odd pieces, so that no boundary is met by chance */
	n = (size_t)MIN(MIN((uint64_t)n, p->size - p->at), 65521);
	if (p->fail_at > 0 && p->at >= p->fail_at)
		return error_set(e, ERR_CORRUPT, "the source broke");
	for (size_t i = 0; i < n; i++, p->at++)
		to[i] = (uint8_t)((p->at * UINT64_C(0x9e3779b97f4a7c15)) >> 56);
	*ret = n;
	return 0;
}

static void pattern_sha256(uint64_t size, uint8_t ret[S3_SHA256_BYTES])
{
	struct pattern p = {.size = size};
	EVP_MD_CTX *c = EVP_MD_CTX_new();
	uint8_t piece[65536];
	struct error e = {0};
	assert_int_equal(EVP_DigestInit_ex(c, EVP_sha256(), NULL), 1);
	for (size_t n = 1; n > 0;) {
		assert_int_equal(pattern_read(&p, piece, sizeof piece, &n, &e), 0);
		assert_int_equal(EVP_DigestUpdate(c, piece, n), 1);
	}
	assert_int_equal(EVP_DigestFinal_ex(c, ret, NULL), 1);
	EVP_MD_CTX_free(c);
}

static struct s3_config gateway(const char *bucket)
{
	return (struct s3_config){.endpoint = endpoint,
				  .bucket = bucket,
				  .path_style = true,
				  .allow_private = true,
				  .ca_file = ca_file,
				  .checksums = true,
				  .part_bytes = PART_BYTES};
}

static struct s3_config double_of(const char *bucket)
{
	struct s3_config c = gateway(bucket);
	c.endpoint = double_endpoint;
	return c;
}

static struct s3_client *client(const struct s3_config *config)
{
	struct s3_client *c = NULL;
	struct error e = {0};
	if (s3_client_new(config, &credentials, &c, &e) < 0)
		fail_msg("%s", e.text);
	return c;
}

struct begun {
	unsigned n;
	char upload[S3_UPLOAD_BYTES];
	int result;
};

static int on_begun(void *arg, const char *upload, struct error *e)
{
	struct begun *b = arg;
	b->n++;
	(void)snprintf(b->upload, sizeof b->upload, "%s", upload);
	return b->result < 0 ? error_set(e, b->result, "not recorded") : 0;
}

static int put(struct s3_client *c, const char *key, struct pattern *p, struct begun *b, struct s3_stored *ret,
	       bool *aborted, struct error *e)
{
	uint8_t sha256[S3_SHA256_BYTES];
	pattern_sha256(p->size, sha256);
	struct s3_put put = {.key = key,
			     .content_type = "video/mp4",
			     .size = p->size,
			     .sha256 = sha256,
			     .source = {pattern_read, p},
			     .upload_begun = b ? on_begun : NULL,
			     .upload_arg = b};
	return s3_put(c, &put, ret, aborted, e);
}

static void put_ok(struct s3_client *c, const char *key, uint64_t size, struct s3_stored *ret)
{
	struct pattern p = {.size = size};
	struct error e = {0};
	if (put(c, key, &p, NULL, ret, NULL, &e) < 0)
		fail_msg("%s: %s", key, e.text);
}

struct collected {
	EVP_MD_CTX *sha256;
	char first[8];
	uint64_t size;
};

static int collect(void *arg, const void *data, size_t n, struct error *e _unused_)
{
	struct collected *c = arg;
	if (c->size == 0)
		memcpy(c->first, data, MIN(n, sizeof c->first));
	c->size += n;
	assert_int_equal(EVP_DigestUpdate(c->sha256, data, n), 1);
	return 0;
}

static void check_stored(struct s3_client *c, const char *key, uint64_t size)
{
	struct collected got = {.sha256 = EVP_MD_CTX_new()};
	struct s3_sink sink = {collect, &got};
	uint8_t digest[S3_SHA256_BYTES], expected[S3_SHA256_BYTES];
	uint64_t n = 0;
	struct error e = {0};
	assert_int_equal(EVP_DigestInit_ex(got.sha256, EVP_sha256(), NULL), 1);
	if (s3_get(c, key, 0, 0, &sink, &n, &e) < 0)
		fail_msg("%s: %s", key, e.text);
	assert_int_equal(EVP_DigestFinal_ex(got.sha256, digest, NULL), 1);
	EVP_MD_CTX_free(got.sha256);
	pattern_sha256(size, expected);
	assert_int_equal(n, size);
	assert_memory_equal(digest, expected, sizeof digest);
}

static int count(void *arg, const struct s3_entry *entry _unused_, struct error *e _unused_)
{
	++*(unsigned *)arg;
	return 0;
}

static unsigned uploads_of(struct s3_client *c, const char *key)
{
	unsigned n = 0;
	struct error e = {0};
	if (s3_uploads(c, key, count, &n, &e) < 0)
		fail_msg("%s", e.text);
	return n;
}

static void test_small_object(void **state _unused_)
{
	struct s3_config config = gateway("takes");
	_cleanup_(s3_client_freep) struct s3_client *c = client(&config);
	struct s3_stored stored, head;
	struct error e = {0};
	put_ok(c, "small/main.mp4", 100000, &stored);
	assert_string_equal(stored.etag, stored.expected_etag);
	assert_int_equal(s3_head(c, "small/main.mp4", NULL, &head, &e), 0);
	assert_int_equal(head.size, 100000);
	assert_string_equal(head.etag, stored.expected_etag);
	assert_string_equal(head.content_type, "video/mp4");
	check_stored(c, "small/main.mp4", 100000);
	assert_int_equal(s3_delete(c, "small/main.mp4", NULL, &e), 0);
	assert_int_equal(s3_head(c, "small/main.mp4", NULL, &head, &e), ERR_NOTFOUND);
	assert_int_equal(s3_delete(c, "small/main.mp4", NULL, &e), 0);
	put_ok(c, "small/empty", 0, &stored);
	check_stored(c, "small/empty", 0);
}

static void test_hostile_keys(void **state _unused_)
{
	static const char *const keys[] = {"a b+c(d)!'*e",	     "\xc3\xbc/\xe2\x82\xac", "per%25cent",
					   "two//slashes",	     "dot/../dot/.",	      "q?x=1&y#z",
					   "semi;colon=equals,comma"};
	struct s3_config config = gateway("takes");
	_cleanup_(s3_client_freep) struct s3_client *c = client(&config);
	for (size_t i = 0; i < ARRAY_SIZE(keys); i++) {
		struct s3_stored stored;
		unsigned versions = 0, uploads = 0;
		struct error e = {0};
		put_ok(c, keys[i], 1000 + i, &stored);
		check_stored(c, keys[i], 1000 + i);
		if (s3_purge(c, keys[i], &versions, &uploads, &e) < 0)
			fail_msg("%s: %s", keys[i], e.text);
		assert_int_equal(versions, 1);
		assert_int_equal(s3_head(c, keys[i], NULL, &stored, &e), ERR_NOTFOUND);
	}
}

static void test_multipart(void **state _unused_)
{
	const uint64_t size = 2 * PART_BYTES + 12345;
	struct s3_config config = gateway("takes");
	_cleanup_(s3_client_freep) struct s3_client *c = client(&config);
	struct pattern p = {.size = size};
	struct begun begun = {0};
	struct s3_stored stored, head;
	struct error e = {0};
	if (put(c, "multi/main.mp4", &p, &begun, &stored, NULL, &e) < 0)
		fail_msg("%s", e.text);
	assert_int_equal(begun.n, 1);
	assert_int_equal(s3_head(c, "multi/main.mp4", NULL, &head, &e), 0);
	assert_int_equal(head.size, size);
	assert_string_equal(head.etag, stored.expected_etag);
	assert_non_null(strstr(head.etag, "-3"));
	check_stored(c, "multi/main.mp4", size);
	assert_int_equal(uploads_of(c, "multi/main.mp4"), 0);
	/* a part of it */
	struct collected got = {.sha256 = EVP_MD_CTX_new()};
	struct s3_sink sink = {collect, &got};
	struct pattern whole = {.size = size};
	uint8_t expected[64];
	size_t have = 0;
	uint64_t n = 0;
	assert_int_equal(EVP_DigestInit_ex(got.sha256, EVP_sha256(), NULL), 1);
	assert_int_equal(pattern_read(&whole, expected, sizeof expected, &have, &e), 0);
	assert_int_equal(s3_get(c, "multi/main.mp4", 10, 20, &sink, &n, &e), 0);
	assert_int_equal(n, 20);
	assert_memory_equal(got.first, expected + 10, sizeof got.first);
	EVP_MD_CTX_free(got.sha256);
	/* completed: its upload is not known any more */
	assert_int_equal(s3_abort(c, "multi/main.mp4", begun.upload, &e), 0);
	assert_int_equal(s3_head(c, "multi/main.mp4", NULL, &head, &e), 0);
}

static void test_exact_parts(void **state _unused_)
{
	struct s3_config config = gateway("takes");
	_cleanup_(s3_client_freep) struct s3_client *c = client(&config);
	struct s3_stored stored;
	put_ok(c, "multi/one", PART_BYTES, &stored);
	assert_null(strchr(stored.expected_etag, '-'));
	put_ok(c, "multi/two", 2 * PART_BYTES, &stored);
	assert_non_null(strstr(stored.expected_etag, "-2"));
	check_stored(c, "multi/two", 2 * PART_BYTES);
}

static void test_broken_sources_leave_nothing(void **state _unused_)
{
	struct s3_config config = gateway("takes");
	_cleanup_(s3_client_freep) struct s3_client *c = client(&config);
	struct s3_stored stored;
	bool aborted = false;
	struct error e = {0};
	/* breaks in the second part */
	struct pattern breaks = {.size = 3 * PART_BYTES, .fail_at = PART_BYTES + 1};
	struct begun begun = {0};
	uint8_t sha256[S3_SHA256_BYTES] = {0};
	struct s3_put put_breaks = {.key = "broken/a",
				    .size = breaks.size,
				    .source = {pattern_read, &breaks},
				    .upload_begun = on_begun,
				    .upload_arg = &begun};
	assert_int_equal(s3_put(c, &put_breaks, &stored, &aborted, &e), ERR_CORRUPT);
	assert_string_equal(e.text, "the source broke");
	assert_true(aborted);
	assert_int_equal(begun.n, 1);
	/* shorter and longer than declared, and other bytes than the hash says; in one request and in parts */
	for (uint64_t size = 1000; size <= PART_BYTES + 1000; size += PART_BYTES) {
		struct pattern shorter = {.size = size - 1}, longer = {.size = size + 1}, other = {.size = size};
		struct pattern *const sources[] = {&shorter, &longer, &other};
		for (size_t i = 0; i < ARRAY_SIZE(sources); i++) {
			struct s3_put wrong = {.key = "broken/a",
					       .size = size,
					       .sha256 = sha256,
					       .source = {pattern_read, sources[i]}};
			assert_int_equal(s3_put(c, &wrong, &stored, &aborted, &e), ERR_CORRUPT);
			assert_true(aborted);
		}
	}
	/* what could not be recorded is not uploaded */
	struct pattern p = {.size = PART_BYTES + 1};
	struct begun refused = {.result = ERR_CONFLICT};
	assert_int_equal(put(c, "broken/a", &p, &refused, &stored, &aborted, &e), ERR_CONFLICT);
	assert_int_equal(p.at, 0);
	assert_true(aborted);
	assert_int_equal(uploads_of(c, "broken/a"), 0);
	assert_int_equal(s3_head(c, "broken/a", NULL, &stored, &e), ERR_NOTFOUND);
}

static bool stop_after(void *arg)
{
	unsigned *left = arg;
	return *left == 0 || --*left == 0;
}

static void test_stop_aborts_the_upload(void **state _unused_)
{
	struct s3_config config = gateway("takes");
	unsigned left = 6;
	config.stop = stop_after;
	config.stop_arg = &left;
	_cleanup_(s3_client_freep) struct s3_client *c = client(&config);
	struct pattern p = {.size = 8 * PART_BYTES};
	struct s3_stored stored;
	bool aborted = false;
	struct error e = {0};
	assert_int_equal(put(c, "stopped", &p, NULL, &stored, &aborted, &e), ERR_CANCELLED);
	assert_true(aborted);
	struct s3_config again = gateway("takes");
	_cleanup_(s3_client_freep) struct s3_client *other = client(&again);
	assert_int_equal(uploads_of(other, "stopped"), 0);
}

static void test_purge_takes_versions_markers_and_uploads(void **state _unused_)
{
	struct s3_config config = gateway("versions");
	_cleanup_(s3_client_freep) struct s3_client *c = client(&config);
	struct s3_stored stored;
	unsigned n = 0, versions = 0, uploads = 0;
	struct error e = {0};
	put_ok(c, "v/main.mp4", 1000, &stored);
	put_ok(c, "v/main.mp4", 2000, &stored);
	put_ok(c, "v/main.mp4.other", 3000, &stored);
	assert_int_equal(s3_delete(c, "v/main.mp4", NULL, &e), 0);
	assert_int_equal(s3_head(c, "v/main.mp4", NULL, &stored, &e), ERR_NOTFOUND);
	assert_int_equal(s3_versions(c, "v/main.mp4", count, &n, &e), 0);
	assert_int_equal(n, 3);
	assert_int_equal(s3_purge(c, "v/main.mp4", &versions, &uploads, &e), 0);
	assert_int_equal(versions, 3);
	n = 0;
	assert_int_equal(s3_versions(c, "v/main.mp4", count, &n, &e), 0);
	assert_int_equal(n, 0);
	check_stored(c, "v/main.mp4.other", 3000);
	assert_int_equal(s3_purge(c, "v/main.mp4", &versions, &uploads, &e), 0);
	assert_int_equal(versions, 0);
}

static void test_refusals(void **state _unused_)
{
	static const struct s3_credentials unknown = {"NOSUCHACCESSKEY", "x", NULL};
	struct s3_credentials wrong = credentials;
	struct s3_config config = gateway("takes"), nowhere = gateway("nosuchbucket");
	struct s3_client *c = NULL;
	struct s3_stored stored;
	struct error e = {0};
	wrong.secret_key = "wrong";
	assert_int_equal(s3_client_new(&config, &wrong, &c, &e), 0);
	struct pattern p = {.size = 10};
	/* a refused login is tried again later: a person may repair it */
	assert_int_equal(put(c, "refused", &p, NULL, &stored, NULL, &e), ERR_RETRY);
	assert_non_null(strstr(e.text, "403 SignatureDoesNotMatch"));
	assert_null(strstr(e.text, "wrong"));
	s3_client_free(c);
	assert_int_equal(s3_client_new(&config, &unknown, &c, &e), 0);
	p.at = 0;
	assert_int_equal(put(c, "refused", &p, NULL, &stored, NULL, &e), ERR_RETRY);
	assert_non_null(strstr(e.text, "InvalidAccessKeyId"));
	s3_client_free(c);
	_cleanup_(s3_client_freep) struct s3_client *there = client(&nowhere);
	p.at = 0;
	assert_int_equal(put(there, "refused", &p, NULL, &stored, NULL, &e), ERR_RETRY);
	assert_non_null(strstr(e.text, "NoSuchBucket"));
	unsigned n = 0, m = 0;
	/* no bucket is no proof that the object is gone */
	assert_int_equal(s3_purge(there, "refused", &n, &m, &e), ERR_RETRY);
}

static void test_storage_classes(void **state _unused_)
{
	struct s3_config config = gateway("takes");
	config.storage_class = "STANDARD_IA";
	_cleanup_(s3_client_freep) struct s3_client *c = client(&config);
	struct s3_stored stored, head;
	struct error e = {0};
	put_ok(c, "class/small", 100, &stored);
	assert_int_equal(s3_head(c, "class/small", NULL, &head, &e), 0);
	assert_string_equal(head.storage_class, "STANDARD_IA");
	put_ok(c, "class/multi", PART_BYTES + 1, &stored);
	assert_int_equal(s3_head(c, "class/multi", NULL, &head, &e), 0);
	assert_string_equal(head.storage_class, "STANDARD_IA");
	struct pattern p = {.size = 10};
	struct s3_put unknown = {.key = "class/x",
				 .size = 10,
				 .storage_class = "NO_SUCH_CLASS",
				 .source = {pattern_read, &p}};
	assert_int_equal(s3_put(c, &unknown, &stored, NULL, &e), ERR_RETRY);
	assert_non_null(strstr(e.text, "400 InvalidArgument"));
}

static void test_virtual_host_style(void **state _unused_)
{
	struct s3_config config = gateway("takes");
	char resolve[128];
	config.endpoint = plain;
	config.path_style = false;
	(void)snprintf(resolve, sizeof resolve, "takes.localhost:%s:127.0.0.1", strrchr(plain, ':') + 1);
	config.resolve = resolve;
	_cleanup_(s3_client_freep) struct s3_client *c = client(&config);
	struct s3_stored stored;
	put_ok(c, "virtual/main.mp4", 4242, &stored);
	check_stored(c, "virtual/main.mp4", 4242);
	/* the same object by the other style */
	struct s3_config by_path = gateway("takes");
	_cleanup_(s3_client_freep) struct s3_client *other = client(&by_path);
	check_stored(other, "virtual/main.mp4", 4242);
}

static void test_who_is_trusted(void **state _unused_)
{
	struct s3_config config = gateway("takes");
	struct s3_stored stored;
	struct error e = {0};
	config.ca_file = NULL; /* the system's authorities do not know the test's */
	_cleanup_(s3_client_freep) struct s3_client *stranger = client(&config);
	assert_int_equal(s3_head(stranger, "x", NULL, &stored, &e), ERR_RETRY);
	assert_non_null(strstr(e.text, "SSL peer certificate"));
	/* a right certificate of another name */
	struct s3_config renamed = gateway("takes");
	char other_name[64], resolve[128];
	const char *port = strrchr(endpoint, ':') + 1;
	(void)snprintf(other_name, sizeof other_name, "https://s3.example:%s", port);
	(void)snprintf(resolve, sizeof resolve, "s3.example:%s:127.0.0.1", port);
	renamed.endpoint = other_name;
	renamed.resolve = resolve;
	_cleanup_(s3_client_freep) struct s3_client *impostor = client(&renamed);
	assert_int_equal(s3_head(impostor, "x", NULL, &stored, &e), ERR_RETRY);
	assert_non_null(strstr(e.text, "SSL"));
	/* a name that leads into our own network */
	struct s3_config inside = gateway("takes");
	inside.allow_private = false;
	_cleanup_(s3_client_freep) struct s3_client *blocked = client(&inside);
	assert_int_equal(s3_head(blocked, "x", NULL, &stored, &e), ERR_RETRY);
	assert_non_null(strstr(e.text, "loopback address"));
}

static void test_double_recomputes_checksums(void **state _unused_)
{
	struct s3_config config = double_of("checksums");
	config.encryption = "AES256";
	_cleanup_(s3_client_freep) struct s3_client *c = client(&config);
	struct s3_stored stored, head;
	struct error e = {0};
	put_ok(c, "c/small one", 1234, &stored);
	assert_string_equal(stored.checksum, stored.expected_checksum);
	assert_string_equal(stored.encryption, "AES256");
	put_ok(c, "c/multi+one", 2 * PART_BYTES + 1, &stored);
	assert_int_equal(s3_head(c, "c/multi+one", NULL, &head, &e), 0);
	assert_string_equal(head.checksum, stored.expected_checksum);
	assert_string_equal(head.etag, stored.expected_etag);
}

static void test_double_is_tried_again(void **state _unused_)
{
	/* each of these fails twice per request, or loses an answer, and then works */
	static const char *const buckets[] = {"busy", "lost-complete", "late-error", "hang-up"};
	for (size_t i = 0; i < ARRAY_SIZE(buckets); i++) {
		struct s3_config config = double_of(buckets[i]);
		_cleanup_(s3_client_freep) struct s3_client *c = client(&config);
		struct s3_stored stored;
		if (strcmp(buckets[i], "busy") == 0 || strcmp(buckets[i], "hang-up") == 0)
			put_ok(c, "small", 100, &stored);
		else
			put_ok(c, "multi", PART_BYTES + 1, &stored);
	}
}

static void test_double_misbehaves(void **state _unused_)
{
	static const struct {
		const char *bucket;
		int class;
		const char *text;
	} cases[] = {
	    {"redirect", ERR_RETRY, "region eu-west-3"},
	    {"temporary-redirect", ERR_RETRY, "the bucket is elsewhere"},
	    {"gateway-page", ERR_RETRY, "502"},
	    {"huge-error", ERR_CORRUPT, "longer than"},
	    {"bomb", ERR_RETRY, "500"},
	    {"no-message", ERR_RETRY, "403 AccessDenied"},
	    {"wrong-etag", ERR_CORRUPT, "MD5"},
	    {"bare-404", ERR_RETRY, "404"},
	};
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct s3_config config = double_of(cases[i].bucket);
		_cleanup_(s3_client_freep) struct s3_client *c = client(&config);
		struct pattern p = {.size = 100};
		struct s3_stored stored;
		struct error e = {0};
		int r = put(c, "k", &p, NULL, &stored, NULL, &e);
		if (r != cases[i].class || !strstr(e.text, cases[i].text))
			fail_msg("%s: %d %s", cases[i].bucket, r, e.text);
	}
}

static void test_double_cannot_prove_a_deletion(void **state _unused_)
{
	static const char *const buckets[] = {"bare-404", "endless-list", "gateway-page", "keeps-it", "redirect"};
	for (size_t i = 0; i < ARRAY_SIZE(buckets); i++) {
		struct s3_config config = double_of(buckets[i]);
		_cleanup_(s3_client_freep) struct s3_client *c = client(&config);
		unsigned versions = 0, uploads = 0;
		struct error e = {0};
		int r = s3_purge(c, "k", &versions, &uploads, &e);
		if (r >= 0)
			fail_msg("%s counts as a proof", buckets[i]);
	}
	/* a server without versions and uploads can */
	struct s3_config plain_server = double_of("plain");
	_cleanup_(s3_client_freep) struct s3_client *c = client(&plain_server);
	struct s3_stored stored;
	unsigned versions = 0, uploads = 0;
	struct error e = {0};
	put_ok(c, "k", 100, &stored);
	if (s3_purge(c, "k", &versions, &uploads, &e) < 0)
		fail_msg("%s", e.text);
	assert_int_equal(s3_head(c, "k", NULL, &stored, &e), ERR_NOTFOUND);
}

/* Leaves an object and its presigned URL for s3.test.mjs, which reads it with other clients. */
static void test_presigned(void **state _unused_)
{
	struct s3_config config = gateway("takes");
	_cleanup_(s3_client_freep) struct s3_client *c = client(&config);
	_cleanup_(freep) char *url = NULL;
	struct s3_stored stored;
	struct error e = {0};
	put_ok(c, "shared/with space+plus.mp4", 2 * PART_BYTES + 99, &stored);
	assert_int_equal(s3_presigned_get(c, "shared/with space+plus.mp4", 300, &url, &e), 0);
	uint8_t digest[S3_SHA256_BYTES];
	pattern_sha256(2 * PART_BYTES + 99, digest);
	printf("presigned ");
	for (size_t i = 0; i < sizeof digest; i++)
		printf("%02x", digest[i]);
	printf(" %s\n", url);
}

static const char *need(const char *name)
{
	const char *value = getenv(name);
	if (!value) {
		fprintf(stderr, "test_s3: %s is not set; run it by tests/integration/s3.test.mjs\n", name);
		exit(2);
	}
	return value;
}

int main(void)
{
	credentials = (struct s3_credentials){need("TEST_S3_ACCESS_KEY"), need("TEST_S3_SECRET_KEY"), NULL};
	endpoint = need("TEST_S3_ENDPOINT");
	plain = need("TEST_S3_PLAIN_ENDPOINT");
	ca_file = need("TEST_S3_CA");
	double_endpoint = need("TEST_S3_DOUBLE");
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_small_object),
	    cmocka_unit_test(test_hostile_keys),
	    cmocka_unit_test(test_multipart),
	    cmocka_unit_test(test_exact_parts),
	    cmocka_unit_test(test_broken_sources_leave_nothing),
	    cmocka_unit_test(test_stop_aborts_the_upload),
	    cmocka_unit_test(test_purge_takes_versions_markers_and_uploads),
	    cmocka_unit_test(test_refusals),
	    cmocka_unit_test(test_storage_classes),
	    cmocka_unit_test(test_virtual_host_style),
	    cmocka_unit_test(test_who_is_trusted),
	    cmocka_unit_test(test_double_recomputes_checksums),
	    cmocka_unit_test(test_double_is_tried_again),
	    cmocka_unit_test(test_double_misbehaves),
	    cmocka_unit_test(test_double_cannot_prove_a_deletion),
	    cmocka_unit_test(test_presigned),
	};
	return cmocka_run_group_tests_name("s3", tests, NULL, NULL);
}
