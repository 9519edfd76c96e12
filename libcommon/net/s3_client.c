#include "net/s3_request.h"

#include "base/clock.h"

#include <ctype.h>
#include <pthread.h>
#include <string.h>

#define REGION_DEFAULT	     "us-east-1"
#define IDLE_SECONDS_DEFAULT 60
#define BUCKET_BYTES_MAX     63
#define REGION_BYTES_MAX     32
#define OPTION_BYTES_MAX     64
#define PAGE_ENTRIES	     "100"
/* Objects of a page: 2 KiB each at most in the answer. */
#define OBJECTS_PAGE 250U
/* A key has few versions and uploads; a server that never ends its list is stopped. */
#define PAGES_MAX 1000

static pthread_once_t curl_once = PTHREAD_ONCE_INIT;

static void start_curl(void)
{
	if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK)
		abort(); /* out of memory at the start of the process */
}

static bool all_of(const char *text, size_t max, const char *extra)
{
	size_t n = strlen(text);
	for (size_t i = 0; i < n; i++)
		if (!isalnum((unsigned char)text[i]) && !strchr(extra, text[i]))
			return false;
	return n > 0 && n <= max;
}

/* Names that DNS-compatible buckets may have, and, in path style, the older ones with capitals and '_'. */
static int check_bucket(const struct s3_config *config, bool https, struct error *e)
{
	const char *b = config->bucket ? config->bucket : "";
	if (strlen(b) < 3 || !all_of(b, BUCKET_BYTES_MAX, config->path_style ? ".-_" : ".-") || b[0] == '.' ||
	    strstr(b, ".."))
		return error_set(e, ERR_REJECT, "the bucket's name is not one that S3 can have");
	for (const char *c = b; !config->path_style && *c; c++)
		if (isupper((unsigned char)*c))
			return error_set(e, ERR_REJECT, "a bucket with capitals needs path style");
	if (!config->path_style && https && strchr(b, '.'))
		return error_set(e, ERR_REJECT, "a bucket with dots needs path style: no certificate covers its name");
	return 0;
}

static void url_freep(CURLU **u)
{
	curl_url_cleanup(*u);
}

static void curl_freep(char **s)
{
	curl_free(*s);
}

/* Scheme and host[:port] of "https://host[:port][/]"; everything else in a URL is refused. */
static int parse_endpoint(const char *text, bool *ret_https, char ret_host[S3_ENDPOINT_HOST], struct error *e)
{
	_cleanup_(url_freep) CURLU *u = curl_url();
	_cleanup_(curl_freep) char *scheme = NULL, *host = NULL, *port = NULL, *path = NULL, *other = NULL;
	if (!u)
		return error_nomem(e);
	if (curl_url_set(u, CURLUPART_URL, text, 0) != CURLUE_OK ||
	    curl_url_get(u, CURLUPART_SCHEME, &scheme, 0) != CURLUE_OK ||
	    curl_url_get(u, CURLUPART_HOST, &host, 0) != CURLUE_OK ||
	    curl_url_get(u, CURLUPART_PATH, &path, 0) != CURLUE_OK)
		return error_set(e, ERR_REJECT, "the endpoint is not https://host[:port]");
	static const CURLUPart refused[] = {CURLUPART_USER, CURLUPART_PASSWORD, CURLUPART_QUERY, CURLUPART_FRAGMENT};
	for (size_t i = 0; i < ARRAY_SIZE(refused); i++)
		if (curl_url_get(u, refused[i], &other, 0) == CURLUE_OK)
			return error_set(e, ERR_REJECT, "the endpoint may only have a scheme, a host and a port");
	if (strcmp(path, "/") != 0)
		return error_set(e, ERR_REJECT, "the endpoint may only have a scheme, a host and a port");
	*ret_https = strcmp(scheme, "https") == 0;
	if (!*ret_https && strcmp(scheme, "http") != 0)
		return error_set(e, ERR_REJECT, "the endpoint is not https://host[:port]");
	/* the scheme's own port is left out, as every client does: it is part of what is signed */
	bool with_port = curl_url_get(u, CURLUPART_PORT, &port, CURLU_NO_DEFAULT_PORT) == CURLUE_OK;
	int n = snprintf(ret_host, S3_ENDPOINT_HOST, "%s%s%s", host, with_port ? ":" : "", with_port ? port : "");
	return n < S3_ENDPOINT_HOST ? 0 : error_set(e, ERR_REJECT, "the endpoint's host is too long");
}

static int copy_option(const char *what, const char *value, char **ret, struct error *e)
{
	if (!value || !value[0])
		return 0;
	if (!all_of(value, OPTION_BYTES_MAX, "_-:"))
		return error_set(e, ERR_REJECT, "the %s has characters that S3 does not know", what);
	*ret = strdup(value);
	return *ret ? 0 : error_nomem(e);
}

static int copy_texts(struct s3_client *c, const struct s3_config *config, struct error *e)
{
	const char *region = config->region && config->region[0] ? config->region : REGION_DEFAULT;
	if (!all_of(region, REGION_BYTES_MAX, "-_"))
		return error_set(e, ERR_REJECT, "the region is not a name of one");
	c->region = strdup(region);
	c->bucket = strdup(config->bucket);
	if (!c->region || !c->bucket)
		return error_nomem(e);
	if (config->ca_file && config->ca_file[0] && !(c->ca_file = strdup(config->ca_file)))
		return error_nomem(e);
	if (config->resolve && !(c->resolve = curl_slist_append(NULL, config->resolve)))
		return error_nomem(e);
	int r = copy_option("storage class", config->storage_class, &c->storage_class, e);
	return r < 0 ? r : copy_option("encryption", config->encryption, &c->encryption, e);
}

static int set_host(struct s3_client *c, const struct s3_config *config, struct error *e)
{
	char endpoint[S3_ENDPOINT_HOST];
	c->https = true;
	if (!config->endpoint || !config->endpoint[0]) {
		(void)snprintf(endpoint, sizeof endpoint, "s3.%s.amazonaws.com", c->region);
	} else {
		int r = parse_endpoint(config->endpoint, &c->https, endpoint, e);
		if (r < 0)
			return r;
	}
	(void)snprintf(c->host, sizeof c->host, "%s%s%s", c->path_style ? "" : c->bucket, c->path_style ? "" : ".",
		       endpoint);
	return check_bucket(config, c->https, e);
}

int s3_client_new(const struct s3_config *config, const struct s3_credentials *credentials, struct s3_client **ret,
		  struct error *e)
{
	_cleanup_(s3_client_freep) struct s3_client *c = calloc(1, sizeof *c);
	if (!c)
		return error_nomem(e);
	if (!config->bucket)
		return error_set(e, ERR_REJECT, "the target names no bucket");
	(void)pthread_once(&curl_once, start_curl);
	c->path_style = config->path_style;
	c->allow_private = config->allow_private;
	c->checksums = config->checksums;
	c->credentials = *credentials;
	c->part_bytes = config->part_bytes ? config->part_bytes : S3_PART_BYTES_DEFAULT;
	c->idle_seconds = config->idle_seconds ? config->idle_seconds : IDLE_SECONDS_DEFAULT;
	c->stop = config->stop;
	c->stop_arg = config->stop_arg;
	if (c->part_bytes < S3_PART_BYTES_MIN || c->part_bytes > S3_OBJECT_BYTES_MAX / S3_PARTS_MAX)
		return error_set(e, ERR_REJECT, "a part has %llu MiB at least and fits 10,000 times into 5 TiB",
				 (unsigned long long)(S3_PART_BYTES_MIN / MIB));
	int r = copy_texts(c, config, e);
	if (r == 0)
		r = set_host(c, config, e);
	if (r < 0)
		return r;
	c->curl = curl_easy_init();
	if (!c->curl)
		return error_nomem(e);
	*ret = TAKE_PTR(c);
	return 0;
}

void s3_client_free(struct s3_client *c)
{
	if (!c)
		return;
	if (c->curl)
		curl_easy_cleanup(c->curl);
	curl_slist_free_all(c->resolve);
	free(c->region);
	free(c->bucket);
	free(c->ca_file);
	free(c->storage_class);
	free(c->encryption);
	free(c);
}

int s3_head(struct s3_client *c, const char *key, const char *version, struct s3_stored *ret, struct error *e)
{
	struct s3_request r = {.method = "HEAD", .key = key};
	_cleanup_(s3_answer_done) struct s3_answer a = {0};
	int x = s3_check_key(key, e);
	if (x < 0)
		return x;
	if (version)
		s3_request_query(&r, "versionId", version);
	if (c->checksums)
		s3_request_header(&r, "x-amz-checksum-mode", "ENABLED");
	x = s3_request_tries(c, &r, &a, e);
	if (x < 0)
		return x;
	if (!a.has_size)
		return error_set(e, ERR_CORRUPT, "the server tells no size of the object");
	*ret = a.stored;
	return 0;
}

/* Counts what passes on its way to the caller's sink. */
struct counted_sink {
	const struct s3_sink *to;
	uint64_t size;
};

static int count_and_write(void *arg, const void *data, size_t n, struct error *e)
{
	struct counted_sink *s = arg;
	s->size += n;
	return s->to->write(s->to->arg, data, n, e);
}

int s3_get(struct s3_client *c, const char *key, uint64_t offset, uint64_t length, const struct s3_sink *sink,
	   uint64_t *ret_size, struct error *e)
{
	struct s3_request r = {.method = "GET", .key = key};
	_cleanup_(s3_answer_done) struct s3_answer a = {0};
	struct counted_sink counted = {.to = sink};
	struct s3_sink counting = {count_and_write, &counted};
	char range[64];
	int x = s3_check_key(key, e);
	if (x < 0)
		return x;
	bool part = offset > 0 || length > 0;
	if (length > 0)
		(void)snprintf(range, sizeof range, "bytes=%llu-%llu", (unsigned long long)offset,
			       (unsigned long long)(offset + length - 1));
	else
		(void)snprintf(range, sizeof range, "bytes=%llu-", (unsigned long long)offset);
	if (part)
		s3_request_header(&r, "Range", range);
	r.sink = &counting;
	x = s3_request(c, &r, &a, e);
	*ret_size = counted.size;
	if (x == 0 && part && a.status != 206)
		return error_set(e, ERR_CORRUPT, "the server answered the whole object where a part was asked for");
	return x;
}

int s3_delete(struct s3_client *c, const char *key, const char *version, struct error *e)
{
	struct s3_request r = {.method = "DELETE", .key = key};
	_cleanup_(s3_answer_done) struct s3_answer a = {0};
	int x = s3_check_key(key, e);
	if (x < 0)
		return x;
	if (version)
		s3_request_query(&r, "versionId", version);
	x = s3_request_tries(c, &r, &a, e);
	return x == ERR_NOTFOUND && strcmp(a.error.code, "NotImplemented") != 0 ? 0 : x;
}

/* Entries of exactly one key: a prefix matches longer keys too. */
struct exact_key {
	const char *key;
	s3_entry_function *fn;
	void *arg;
};

static int only_exact(void *arg, const struct s3_entry *entry, struct error *e)
{
	struct exact_key *k = arg;
	return strcmp(entry->key, k->key) == 0 ? k->fn(k->arg, entry, e) : 0;
}

typedef int page_reader(const char *text, size_t n, s3_entry_function *fn, void *arg, struct s3_page *ret,
			struct error *e);

/* Reads one page of "?versions" or "?uploads" behind the markers in `page`, which it replaces. */
static int list_page(struct s3_client *c, const char *what, const char *key, page_reader *reader, struct exact_key *k,
		     struct s3_page *page, struct error *e)
{
	struct s3_request r = {.method = "GET"};
	_cleanup_(s3_answer_done) struct s3_answer a = {0};
	struct s3_page from = *page;
	bool versions = strcmp(what, "versions") == 0;
	s3_request_query(&r, what, "");
	s3_request_query(&r, "prefix", key);
	s3_request_query(&r, versions ? "max-keys" : "max-uploads", PAGE_ENTRIES);
	if (from.truncated) {
		s3_request_query(&r, "key-marker", from.next_key);
		if (versions && from.next_version[0])
			s3_request_query(&r, "version-id-marker", from.next_version);
		if (!versions && from.next_upload[0])
			s3_request_query(&r, "upload-id-marker", from.next_upload);
	}
	int x = s3_request_tries(c, &r, &a, e);
	if (x < 0)
		return x;
	return reader(a.body.data ? a.body.data : "", a.body.size, only_exact, k, page, e);
}

static int list(struct s3_client *c, const char *what, const char *key, page_reader *reader, s3_entry_function *fn,
		void *arg, struct error *e)
{
	struct exact_key k = {key, fn, arg};
	struct s3_page page = {0};
	int r = s3_check_key(key, e);
	for (unsigned n = 0; r == 0; n++) {
		r = list_page(c, what, key, reader, &k, &page, e);
		/* keys are in order: once a page ends behind ours, the rest is of others */
		if (r < 0 || !page.truncated || strcmp(page.next_key, key) > 0)
			break;
		if (n == PAGES_MAX || page.next_key[0] == '\0')
			return error_set(e, ERR_CORRUPT, "the server's list of %s has no end", what);
	}
	return r;
}

int s3_versions(struct s3_client *c, const char *key, s3_entry_function *fn, void *arg, struct error *e)
{
	return list(c, "versions", key, s3_xml_versions, fn, arg, e);
}

int s3_uploads(struct s3_client *c, const char *key, s3_entry_function *fn, void *arg, struct error *e)
{
	return list(c, "uploads", key, s3_xml_uploads, fn, arg, e);
}

/* Keys of one listing: how far it is. */
struct listing {
	s3_entry_function *fn;
	void *arg;
	char last[S3_KEY_BYTES];
	unsigned given, max;
};

static int give_object(void *arg, const struct s3_entry *entry, struct error *e)
{
	struct listing *l = arg;
	/* a server that lists out of order, or the same again, would never end */
	if (strcmp(entry->key, l->last) <= 0)
		return error_set(e, ERR_CORRUPT, "the server's list of objects is not in order");
	(void)snprintf(l->last, sizeof l->last, "%s", entry->key);
	if (l->max && l->given == l->max)
		return 0;
	l->given++;
	return l->fn(l->arg, entry, e);
}

static int objects_page(struct s3_client *c, const char *prefix, struct listing *l, struct s3_page *page,
			struct error *e)
{
	struct s3_request r = {.method = "GET"};
	_cleanup_(s3_answer_done) struct s3_answer a = {0};
	char max[16], after[S3_KEY_BYTES];
	(void)snprintf(after, sizeof after, "%s", l->last);
	unsigned left = l->max ? MIN(l->max - l->given, OBJECTS_PAGE) : OBJECTS_PAGE;
	(void)snprintf(max, sizeof max, "%u", left);
	s3_request_query(&r, "list-type", "2");
	s3_request_query(&r, "max-keys", max);
	s3_request_query(&r, "prefix", prefix);
	if (after[0])
		s3_request_query(&r, "start-after", after);
	int x = s3_request_tries(c, &r, &a, e);
	return x < 0 ? x : s3_xml_objects(a.body.data ? a.body.data : "", a.body.size, give_object, l, page, e);
}

int s3_list(struct s3_client *c, const char *prefix, const char *after, unsigned max, s3_entry_function *fn, void *arg,
	    struct error *e)
{
	struct listing l = {.fn = fn, .arg = arg, .max = max};
	struct s3_page page = {0};
	if (snprintf(l.last, sizeof l.last, "%s", after ? after : "") >= (int)sizeof l.last)
		return error_set(e, ERR_REJECT, "the key to list from is too long");
	do {
		unsigned before = l.given;
		int r = objects_page(c, prefix, &l, &page, e);
		if (r < 0)
			return r;
		if (page.truncated && l.given == before)
			return error_set(e, ERR_CORRUPT, "the server's list of objects has no end");
	} while (page.truncated && (!max || l.given < max));
	return 0;
}

int s3_presigned_get(struct s3_client *c, const char *key, unsigned seconds, char **ret, struct error *e)
{
	_cleanup_(buffer_done) struct buffer path, url;
	buffer_init(&path, 8 * KIB);
	buffer_init(&url, 16 * KIB);
	int r = s3_check_key(key, e);
	if (r < 0)
		return r;
	r = s3_path(c, key, &path);
	if (r == 0)
		r = buffer_printf(&url, "%s://%s%s?", c->https ? "https" : "http", c->host, path.data);
	if (r < 0)
		return error_set(e, r, "the object's key is too long");
	struct s3_sign_request s = {
	    .method = "GET", .host = c->host, .path = path.data, .region = c->region, .wall_us = clock_wall_us()};
	r = s3_presign(&s, &c->credentials, seconds, &url, e);
	if (r < 0)
		return r;
	*ret = buffer_take(&url);
	return *ret ? 0 : error_nomem(e);
}
