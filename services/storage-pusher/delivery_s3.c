#include "delivery_target.h"

#include "crypto/digest.h"
#include "net/s3_secret.h"

#include <string.h>

struct s3_target {
	struct delivery_target target; /* first */
	const struct target_endpoint *endpoint;
	struct delivery_hooks hooks;
	struct s3_client *client;
	struct s3_secret *secret;
};

static bool is_stopped(void *arg)
{
	struct s3_target *t = arg;
	return t->hooks.stop && t->hooks.stop(t->hooks.arg);
}

static int on_upload(void *arg, const char *upload, struct error *e)
{
	struct s3_target *t = arg;
	return t->hooks.upload_begun ? t->hooks.upload_begun(t->hooks.arg, upload, e) : 0;
}

static const char *class_of(const struct target_endpoint *endpoint, const char *file_kind)
{
	if (strcmp(file_kind, "main") == 0)
		return endpoint->main_class;
	return strcmp(file_kind, "raw") == 0 ? endpoint->raw_class : endpoint->picture_class;
}

static int abort_entry(void *arg, const struct s3_entry *entry, struct error *e)
{
	struct s3_target *t = arg;
	return s3_abort(t->client, entry->key, entry->upload, e);
}

/* What an earlier attempt began and nobody will complete: the upload that it recorded, and one whose id was lost with
 * the answer. */
static int abort_earlier(struct s3_target *t, const struct delivery_item *item, struct error *e)
{
	int r = item->upload_id ? s3_abort(t->client, item->location, item->upload_id, e) : 0;
	if (r < 0 || !item->is_again)
		return r;
	struct error ignored = {0};
	/* a login that may only put need not be allowed to list */
	(void)!s3_uploads(t->client, item->location, abort_entry, t, &ignored);
	return 0;
}

struct read_back {
	struct sha256 *digest;
};

static int add_to_digest(void *arg, const void *data, size_t n, struct error *e _unused_)
{
	struct read_back *b = arg;
	sha256_update(b->digest, data, n);
	return 0;
}

static int read_back(struct s3_target *t, const struct delivery_item *item, const struct delivery_source *source,
		     struct error *e)
{
	_cleanup_(sha256_freep) struct sha256 *digest = NULL;
	uint8_t got[SHA256_BYTES];
	uint64_t size = 0;
	int r = sha256_new(&digest, e);
	if (r < 0)
		return r;
	struct read_back b = {digest};
	struct s3_sink sink = {add_to_digest, &b};
	r = s3_get(t->client, item->location, 0, 0, &sink, &size, e);
	if (r < 0)
		return error_wrap(e, "reading the object back");
	sha256_finish(digest, got);
	if (size != source->size || memcmp(got, source->sha256, sizeof(got)) != 0)
		return error_set(e, ERR_RETRY, "the object that was read back is not the file: %llu of %llu bytes",
				 (unsigned long long)size, (unsigned long long)source->size);
	return 0;
}

/* How the server's own answer proves that the object is the file: by the SHA-256 that it computed, by its ETag where
 * that is the MD5 of what was sent, or by reading everything back. */
static int verify(struct s3_target *t, const struct delivery_item *item, const struct delivery_source *source,
		  const struct s3_stored *sent, struct s3_stored *ret, const char **ret_how, struct error *e)
{
	int r = s3_head(t->client, item->location, NULL, ret, e);
	if (r < 0)
		return error_wrap(e, "looking at what was stored");
	if (ret->size != source->size)
		return error_set(e, ERR_RETRY, "the object has %llu bytes, the file %llu",
				 (unsigned long long)ret->size, (unsigned long long)source->size);
	if (!t->endpoint->read_back && ret->checksum[0] && strcmp(ret->checksum, sent->expected_checksum) == 0) {
		*ret_how = "checksum";
		return 0;
	}
	if (!t->endpoint->read_back && sent->expected_etag[0] && strcmp(ret->etag, sent->expected_etag) == 0) {
		*ret_how = "etag";
		return 0;
	}
	*ret_how = "read-back";
	return read_back(t, item, source, e);
}

static json_t *evidence_of(const struct s3_stored *there, const struct delivery_source *source, const char *how)
{
	char sha256[SHA256_TEXT_BYTES];
	sha256_format(source->sha256, sha256);
	json_t *o = json_pack("{s:s,s:I,s:s,s:s}", "verified", how, "size", (json_int_t)there->size, "sha256", sha256,
			      "etag", there->etag);
	const struct {
		const char *name, *value;
	} more[] = {{"version", there->version},
		    {"checksum_sha256", there->checksum},
		    {"storage_class", there->storage_class},
		    {"encryption", there->encryption}};
	for (size_t i = 0; o && i < ARRAY_SIZE(more); i++)
		if (more[i].value[0] && json_object_set_new(o, more[i].name, json_string(more[i].value)) < 0) {
			json_decref(o);
			return NULL;
		}
	return o;
}

static int s3_target_put(struct delivery_target *target, const struct delivery_item *item,
			 const struct delivery_source *source, struct delivery_proof *ret, bool *ret_clean,
			 struct error *e)
{
	struct s3_target *t = (struct s3_target *)target;
	struct s3_put put = {.key = item->location,
			     .content_type = item->content_type,
			     .size = source->size,
			     .sha256 = source->sha256,
			     .storage_class = class_of(t->endpoint, item->file_kind),
			     .source = {source->read, source->arg},
			     .upload_begun = on_upload,
			     .upload_arg = t};
	struct s3_stored sent, there;
	const char *how = NULL;
	*ret_clean = false;
	int r = abort_earlier(t, item, e);
	if (r == 0)
		r = s3_put(t->client, &put, &sent, ret_clean, e);
	if (r < 0)
		return r;
	*ret_clean = false;
	r = verify(t, item, source, &sent, &there, &how, e);
	if (r < 0)
		return r;
	/* some servers encrypt and do not say so: what is not announced does not count */
	ret->encryption = there.encryption[0] ? DELIVERY_ENCRYPTED : DELIVERY_NOT_ENCRYPTED;
	ret->evidence = evidence_of(&there, source, how);
	return ret->evidence ? 0 : error_nomem(e);
}

static int s3_target_remove(struct delivery_target *target, const struct delivery_item *item, json_t **ret_evidence,
			    bool *ret_found, struct error *e)
{
	struct s3_target *t = (struct s3_target *)target;
	unsigned versions = 0, uploads = 0;
	int r = s3_purge(t->client, item->location, &versions, &uploads, e);
	/* the recorded one also where the server does not list it */
	if (r == 0 && item->upload_id)
		r = s3_abort(t->client, item->location, item->upload_id, e);
	if (r < 0)
		return r;
	*ret_found = versions + uploads > 0;
	*ret_evidence = json_pack("{s:b,s:i,s:i}", "absent", 1, "versions", (int)versions, "uploads", (int)uploads);
	return *ret_evidence ? 0 : error_nomem(e);
}

static void s3_target_free(struct delivery_target *target)
{
	struct s3_target *t = (struct s3_target *)target;
	s3_client_free(t->client);
	s3_secret_free(t->secret);
	free(t);
}

static const struct delivery_target_ops s3_ops = {s3_target_put, s3_target_remove, s3_target_free};

int delivery_s3_new(const struct delivery_target_options *o, struct delivery_target **ret, struct error *e)
{
	_cleanup_(delivery_target_freep) struct delivery_target *target = NULL;
	struct s3_target *t = calloc(1, sizeof(*t));
	if (!t)
		return error_nomem(e);
	t->target.ops = &s3_ops;
	target = &t->target;
	t->endpoint = o->endpoint;
	t->hooks = o->hooks;
	/* a person may repair it while the job still tries */
	if (!o->credential)
		return error_set(e, ERR_RETRY, "the target has no credential: give it one");
	struct error why = {0};
	if (s3_secret_parse(o->credential, strlen(o->credential), &t->secret, &why) < 0)
		return error_set(e, ERR_RETRY, "the target's credential %s: give it again", why.text);
	const struct s3_credentials credentials = s3_secret_credentials(t->secret);
	struct s3_config config = {.endpoint = o->endpoint->endpoint,
				   .region = o->endpoint->region,
				   .bucket = o->endpoint->bucket,
				   .path_style = o->endpoint->path_style,
				   .allow_private = o->allow_private && o->endpoint->allow_private,
				   .ca_file = o->endpoint->ca_file,
				   .resolve = o->endpoint->resolve,
				   .encryption = o->endpoint->encryption,
				   .checksums = o->endpoint->checksums,
				   .part_bytes = o->endpoint->part_bytes,
				   .stop = is_stopped,
				   .stop_arg = t};
	int r = s3_client_new(&config, &credentials, &t->client, e);
	/* the row may be corrected while the job still tries */
	if (r == ERR_REJECT && e)
		e->code = r = ERR_RETRY;
	if (r < 0)
		return r;
	*ret = TAKE_PTR(target);
	return 0;
}
