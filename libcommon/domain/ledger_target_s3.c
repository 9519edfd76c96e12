#include "domain/ledger_target_backend.h"

#include "net/s3_secret.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sodium.h>
#include <string.h>
#include <sys/stat.h>

#define CREDENTIAL_BYTES_MAX 8192
#define PREFIX_BYTES	     900
/* What a name may be at most; numbers of batches are searched below it. */
#define BATCH_MAX ((uint64_t)999999999999)

struct s3_target {
	struct ledger_target target; /* first */
	struct s3_secret *secret;
	struct s3_client *client;
	char prefix[PREFIX_BYTES]; /* ends with '/', or is empty */
};

static struct s3_target *s3_of(struct ledger_target *t)
{
	return (struct s3_target *)t;
}

static void key_of(const struct s3_target *t, uint64_t batch, char ret[S3_KEY_BYTES])
{
	char name[LEDGER_TARGET_NAME_BYTES];
	ledger_target_name(batch, name);
	(void)snprintf(ret, S3_KEY_BYTES, "%s%s", t->prefix, name);
}

struct bytes {
	const char *data;
	size_t n;
};

static int read_bytes(void *arg, void *buf, size_t n, size_t *ret, struct error *e _unused_)
{
	struct bytes *b = arg;
	*ret = MIN(n, b->n);
	memcpy(buf, b->data, *ret);
	b->data += *ret;
	b->n -= *ret;
	return 0;
}

static int s3_target_put(struct ledger_target *target, uint64_t batch, const void *data, size_t n, bool *ret_exists,
			 struct error *e)
{
	struct s3_target *t = s3_of(target);
	char key[S3_KEY_BYTES];
	struct bytes source = {data, n};
	struct s3_stored stored;
	struct error conflict = {0};
	key_of(t, batch, key);
	const struct s3_put put = {.key = key,
				   .content_type = "application/x-ndjson",
				   .size = n,
				   .create_only = true,
				   .source = {read_bytes, &source}};
	int r = s3_put(t->client, &put, &stored, NULL, &conflict);
	/* an earlier try of ours whose answer was lost, or another janitor */
	*ret_exists = r == ERR_CONFLICT;
	return r == 0 || r == ERR_CONFLICT ? 0 : error_set(e, r, "%s", conflict.text);
}

static int s3_target_flush(struct ledger_target *t _unused_, struct error *e _unused_)
{
	return 0; /* what it shows it keeps */
}

static int add_bytes(void *arg, const void *data, size_t n, struct error *e)
{
	int r = buffer_append(arg, data, n);
	return r < 0 ? error_set(e, ERR_CORRUPT, "an object of the ledger target is too large for a batch") : 0;
}

static int s3_target_get(struct ledger_target *target, uint64_t batch, struct buffer *ret, struct error *e)
{
	struct s3_target *t = s3_of(target);
	char key[S3_KEY_BYTES];
	uint64_t size = 0;
	const struct s3_sink sink = {add_bytes, ret};
	key_of(t, batch, key);
	int r = s3_get(t->client, key, 0, 0, &sink, &size, e);
	if (r == 0 && buffer_append(ret, "", 1) < 0) /* an end for those who read text */
		return error_nomem(e);
	if (r == 0)
		ret->size--;
	return r;
}

struct found {
	const struct s3_target *target;
	uint64_t batch;
};

static int note_batch(void *arg, const struct s3_entry *entry, struct error *e _unused_)
{
	struct found *f = arg;
	f->batch = MAX(f->batch, ledger_target_batch(entry->key + strlen(f->target->prefix)));
	return 0;
}

/* The first batch behind `after`, 0: none. Other names, which somebody put there, are passed over. */
static int next_batch(struct s3_target *t, uint64_t after, uint64_t *ret, struct error *e)
{
	char key[S3_KEY_BYTES];
	struct found f = {.target = t};
	*ret = 0;
	key_of(t, after, key);
	int r = s3_list(t->client, t->prefix, key, 1, note_batch, &f, e);
	/* the first name is of something else: as many as there are */
	if (r == 0 && f.batch == 0)
		r = s3_list(t->client, t->prefix, key, 0, note_batch, &f, e);
	*ret = f.batch;
	return r;
}

/* Millions of batches need not be listed: names sort by numbers, so the last one is searched for by halves, however
 * many are missing. */
static int s3_target_last(struct ledger_target *target, uint64_t *ret, struct error *e)
{
	struct s3_target *t = s3_of(target);
	uint64_t low = 0, next = 0, step = 1;
	int r = next_batch(t, 0, &next, e);
	for (; r == 0 && next > 0 && low < BATCH_MAX; step *= 2) {
		low = next;
		r = next_batch(t, MIN(low + step, BATCH_MAX), &next, e);
	}
	/* the last one lies from `low` to `low + step`, where none followed */
	for (uint64_t high = MIN(low + step, BATCH_MAX); r == 0 && low > 0 && low < high;) {
		uint64_t middle = low + (high - low) / 2;
		r = next_batch(t, middle, &next, e);
		if (next > 0)
			low = next;
		else
			high = middle;
	}
	*ret = low;
	return r;
}

static void s3_target_free(struct ledger_target *target)
{
	struct s3_target *t = s3_of(target);
	s3_client_free(t->client);
	s3_secret_free(t->secret);
	free(t);
}

static int read_file(const char *path, char ret[CREDENTIAL_BYTES_MAX], size_t *ret_n, struct error *e)
{
	struct stat st;
	_cleanup_(closep) int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
	if (fd < 0 || fstat(fd, &st) < 0)
		return error_set_errno(e, ERR_RETRY, errno, "the ledger target's credential file %s cannot be read",
				       path);
	if (!S_ISREG(st.st_mode) || (st.st_mode & 077))
		return error_set(e, ERR_RETRY,
				 "the ledger target's credential file %s has mode %03o: take others' access away", path,
				 (unsigned)(st.st_mode & 0777));
	ssize_t n = read(fd, ret, CREDENTIAL_BYTES_MAX);
	if (n < 0)
		return error_set_errno(e, ERR_RETRY, errno, "the ledger target's credential file %s cannot be read",
				       path);
	if (n == 0 || n == CREDENTIAL_BYTES_MAX)
		return error_set(e, ERR_RETRY, "the ledger target's credential file %s is empty or too long", path);
	*ret_n = (size_t)n;
	return 0;
}

static int read_credential(struct s3_target *t, const char *path, struct error *e)
{
	size_t n = 0;
	struct error why = {0};
	if (!path || !path[0])
		return error_set(e, ERR_REJECT, "a ledger target of kind s3 needs a credential file");
	char *text = sodium_init() < 0 ? NULL : sodium_malloc(CREDENTIAL_BYTES_MAX);
	if (!text)
		return error_nomem(e);
	int r = read_file(path, text, &n, e);
	if (r == 0 && s3_secret_parse(text, n, &t->secret, &why) < 0)
		r = error_set(e, ERR_RETRY, "the ledger target's credential file %s %s", path, why.text);
	sodium_free(text);
	return r;
}

/* Cuts "https://host[:port]/bucket[/prefix]" into its three. */
static int read_url(const char *url, char *endpoint, char *bucket, size_t n, char ret_prefix[PREFIX_BYTES],
		    struct error *e)
{
	const char *host = strstr(url, "://");
	const char *name = host ? strchr(host + 3, '/') : NULL;
	const char *prefix = name ? strchr(name + 1, '/') : NULL;
	if (name && !prefix)
		prefix = strchr(name, '\0');
	if (!name || name == host + 3 || prefix == name + 1 || (size_t)(name - url) >= n ||
	    (size_t)(prefix - name) > n || strlen(prefix) + 2 >= PREFIX_BYTES)
		return error_set(e, ERR_REJECT, "s3:%s is no ledger target; want s3:https://host/bucket/prefix", url);
	(void)snprintf(endpoint, n, "%.*s", (int)(name - url), url);
	(void)snprintf(bucket, n, "%.*s", (int)(prefix - name - 1), name + 1);
	while (*prefix == '/')
		prefix++;
	size_t length = strlen(prefix);
	(void)snprintf(ret_prefix, PREFIX_BYTES, "%s%s", prefix, length && prefix[length - 1] != '/' ? "/" : "");
	return 0;
}

int ledger_target_s3_open(const struct ledger_target_config *c, const char *url, struct ledger_target **ret,
			  struct error *e)
{
	static const struct ledger_target_ops ops = {s3_target_put, s3_target_flush, s3_target_get, s3_target_last,
						     s3_target_free};
	char endpoint[512], bucket[512];
	struct s3_target *t = calloc(1, sizeof(*t));
	if (!t)
		return error_nomem(e);
	t->target.ops = &ops;
	_cleanup_(ledger_target_freep) struct ledger_target *target = &t->target;
	int r = read_url(url, endpoint, bucket, sizeof(endpoint), t->prefix, e);
	if (r == 0)
		r = read_credential(t, c->credential_file, e);
	if (r < 0)
		return r;
	const struct s3_credentials credentials = s3_secret_credentials(t->secret);
	const struct s3_config config = {.endpoint = endpoint,
					 .region = c->region,
					 .bucket = bucket,
					 .path_style = true,
					 .allow_private = c->allow_private,
					 .ca_file = c->ca_file,
					 .part_bytes = LEDGER_TARGET_BYTES_MAX};
	r = s3_client_new(&config, &credentials, &t->client, e);
	if (r == 0)
		*ret = TAKE_PTR(target);
	return r;
}
