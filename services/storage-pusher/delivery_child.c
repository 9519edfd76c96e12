#include "delivery_child.h"

#include "base/clock.h"
#include "base/hex.h"
#include "channel.h"
#include "crypto/keyring.h"
#include "delivery_target.h"
#include "domain/key.h"
#include "sandbox.h"
#include "sealed_source.h"

#include <signal.h>
#include <sodium.h>
#include <string.h>

#define PROGRESS_US	     ((int64_t)1000000)
#define CREDENTIAL_BYTES_MAX ((size_t)VAULT_CHARACTERS_MAX * 4 + 1024)

struct child {
	int fd;
	json_t *settings;
	struct keyring *root;
	struct target_endpoint endpoint;
	enum target_kind kind;
	struct vault_credential *credential;
	struct delivery_target *target;
	/* of the running job */
	struct sealed_source *source;
	uint64_t bytes;
	int64_t told_us;
};

static const char *text_of(const json_t *object, const char *name)
{
	return json_string_value(json_object_get(object, name));
}

static const char *setting(const struct child *c, const char *name)
{
	const char *text = text_of(c->settings, name);
	return text ? text : "";
}

/* Asked often during transfers: says how far it is, and sees a stop or the end of the service. */
static bool is_stopped(void *arg)
{
	struct child *c = arg;
	int64_t now = clock_monotonic_us();
	if (now - c->told_us >= PROGRESS_US) {
		struct error e = {0};
		c->told_us = now;
		if (channel_send(c->fd, json_pack("{s:s,s:I}", "op", "progress", "bytes", (json_int_t)c->bytes), &e) <
		    0)
			return true;
	}
	return channel_is_pending(c->fd);
}

/* Tells the service the upload's id and waits until it is recorded. */
static int on_upload(void *arg, const char *upload, struct error *e)
{
	struct child *c = arg;
	json_t *answer = NULL;
	int r = channel_send(c->fd, json_pack("{s:s,s:s}", "op", "upload", "id", upload), e);
	if (r == 0)
		r = channel_receive(c->fd, -1, &answer, e);
	if (r < 0)
		return r;
	const char *op = text_of(answer, "op");
	bool go = op && strcmp(op, "go") == 0;
	json_decref(answer);
	return go ? 0 : error_set(e, ERR_CANCELLED, "the transfer is no longer wanted");
}

static int open_credential(struct child *c, const json_t *target, struct error *e)
{
	const char *hex = text_of(target, "credential"), *account = text_of(target, "account");
	if (!hex)
		return 0;
	size_t n = strlen(hex) / 2;
	if (n == 0 || n > CREDENTIAL_BYTES_MAX)
		return error_set(e, ERR_RETRY, "the target's credential has %zu bytes", n);
	_cleanup_(freep) uint8_t *sealed = malloc(n);
	_cleanup_(keyring_freep) struct keyring *vault = NULL;
	if (!sealed)
		return error_nomem(e);
	if (!hex_decode(hex, sealed, n))
		return error_set(e, ERR_RETRY, "the target's credential is not what the vault sealed");
	int r = keyring_load(setting(c, "vault_secret_key_file"), KEY_VAULT, &vault, e);
	if (r < 0)
		return r;
	struct vault_binding binding =
	    target_binding(c->kind, &c->endpoint, account ? account : "", text_of(target, "id"));
	r = vault_open(vault, &binding, sealed, n, &c->credential, e);
	/* a person can give it again while the job still tries */
	if ((r == ERR_REJECT || r == ERR_NOTFOUND) && e)
		e->code = r = ERR_RETRY;
	return r;
}

static int open_target(struct child *c, const json_t *target, struct error *e)
{
	const char *owner = text_of(target, "owner"), *kind = text_of(target, "kind");
	if (!owner || !kind || !text_of(target, "id"))
		return error_set(e, ERR_RETRY, "the target's row is incomplete");
	c->kind = target_kind_from_string(kind);
	int r = target_endpoint_read(c->kind, json_object_get(target, "endpoint"), &c->endpoint, e);
	if (r == ERR_REJECT && e)
		e->code = r = ERR_RETRY;
	if (r == 0)
		r = open_credential(c, target, e);
	if (r < 0)
		return r;
	struct delivery_target_options o = {.endpoint = &c->endpoint,
					    .credential = c->credential ? vault_credential_text(c->credential) : NULL,
					    .file_root = setting(c, "file_root"),
					    .allow_private =
						strcmp(owner, "ours") == 0 ||
						json_is_true(json_object_get(c->settings, "private_addresses")),
					    .hooks = {.upload_begun = on_upload, .stop = is_stopped, .arg = c}};
	return c->kind == TARGET_FILE ? delivery_file_new(&o, &c->target, e) : delivery_s3_new(&o, &c->target, e);
}

static int handle_open(struct child *c, json_t *message, struct error *e)
{
	if (c->target)
		return error_set(e, ERR_FATAL, "the delivery child serves one target");
	c->settings = json_incref(json_object_get(message, "settings"));
	int r = keyring_load(setting(c, "spool_root_key_file"), KEY_SPOOL_ROOT, &c->root, e);
	if (r == 0)
		r = open_target(c, json_object_get(message, "target"), e);
	return r < 0 ? r : channel_send(c->fd, json_pack("{s:s}", "op", "opened"), e);
}

/* The facts of a push, as the job's context gives them. */
struct push_facts {
	struct uuid account, recording;
	const char *job, *file_kind, *copy, *peer_url;
	json_int_t attempt, bytes;
	uint8_t sha256[DELIVERY_SHA256_BYTES];
};

static int read_facts(json_t *context, struct push_facts *ret, struct error *e)
{
	const char *account = NULL, *recording = NULL, *sha256 = NULL;
	json_error_t reason;
	if (json_unpack_ex(context, &reason, 0, "{s:s,s:s,s:s,s:I,s:s,s:{s:I,s:s},s:{s:s,s:s}}", "account", &account,
			   "recording", &recording, "job", &ret->job, "attempt", &ret->attempt, "file_kind",
			   &ret->file_kind, "file", "bytes", &ret->bytes, "sha256", &sha256, "source", "copy",
			   &ret->copy, "peer_url", &ret->peer_url) < 0)
		return error_set(e, ERR_RETRY, "the job's facts are incomplete: %s", reason.text);
	if (!uuid_parse(account, &ret->account) || !uuid_parse(recording, &ret->recording) || ret->bytes < 0 ||
	    !hex_decode(sha256, ret->sha256, sizeof(ret->sha256)))
		return error_set(e, ERR_RETRY, "the job's facts are malformed");
	return 0;
}

static int open_source(struct child *c, json_t *message, const struct push_facts *f, struct error *e)
{
	json_t *context = json_object_get(message, "context");
	uint8_t key[KEY_BYTES];
	struct sealed_header expected = {.kind = sealed_kind_from_string(f->file_kind),
					 .account = f->account,
					 .recording = f->recording};
	struct sealed_source_options o = {.peer_url = f->peer_url,
					  .copy = f->copy,
					  .job = f->job,
					  .attempt = (unsigned)f->attempt,
					  .traceparent = text_of(message, "traceparent"),
					  .certificate = setting(c, "tls_certificate"),
					  .key = setting(c, "tls_key"),
					  .ca = setting(c, "tls_ca"),
					  .data_key = key,
					  .expected = &expected,
					  .size = (uint64_t)f->bytes,
					  .stop = is_stopped,
					  .stop_arg = c};
	if (expected.kind == SEALED_KIND_MAX)
		return error_set(e, ERR_RETRY, "there is no kind of file %.16s", f->file_kind);
	int r =
	    recording_key_from_context(c->root, &f->account, &f->recording, json_object_get(context, "key"), key, e);
	if (r == 0)
		r = sealed_source_new(&o, &c->source, e);
	sodium_memzero(key, sizeof(key));
	return r;
}

static int read_counted(void *arg, void *buf, size_t n, size_t *ret, struct error *e)
{
	struct child *c = arg;
	int r = sealed_source_read(c->source, buf, n, ret, e);
	c->bytes += *ret;
	return r;
}

static int handle_push(struct child *c, json_t *message, bool *ret_clean, struct error *e)
{
	json_t *names = json_object_get(message, "names");
	struct push_facts f = {0};
	struct delivery_proof proof = {0};
	int r = read_facts(json_object_get(message, "context"), &f, e);
	if (r == 0)
		r = open_source(c, message, &f, e);
	if (r < 0)
		return r;
	struct delivery_source source = {.read = read_counted, .arg = c, .size = (uint64_t)f.bytes};
	memcpy(source.sha256, f.sha256, sizeof(source.sha256));
	struct delivery_item item = {.file_kind = f.file_kind,
				     .location = text_of(names, "location"),
				     .temporary = text_of(names, "temporary"),
				     .upload_id = text_of(names, "upload_id"),
				     .content_type = text_of(message, "content_type"),
				     .is_again = json_is_true(json_object_get(names, "again"))};
	if (!item.location)
		return error_set(e, ERR_RETRY, "the delivery has no name");
	c->bytes = 0;
	r = c->target->ops->put(c->target, &item, &source, &proof, ret_clean, e);
	sealed_source_free(TAKE_PTR(c->source));
	if (r < 0)
		return r;
	return channel_send(c->fd,
			    json_pack("{s:s,s:o,s:i,s:I}", "op", "delivered", "evidence", proof.evidence, "encryption",
				      (int)proof.encryption, "bytes", (json_int_t)c->bytes),
			    e);
}

static int handle_delete(struct child *c, json_t *message, struct error *e)
{
	json_t *copy = json_object_get(json_object_get(message, "context"), "copy"), *evidence = NULL;
	struct delivery_item item = {.location = text_of(copy, "location"),
				     .temporary = text_of(copy, "temporary"),
				     .upload_id = text_of(copy, "upload_id"),
				     .is_again = true,
				     .evidence = json_object_get(copy, "evidence")};
	if (!item.location)
		return error_set(e, ERR_RETRY, "the copy that is to be removed has no name");
	bool found = false;
	int r = c->target->ops->remove(c->target, &item, &evidence, &found, e);
	if (r < 0)
		return r;
	return channel_send(c->fd,
			    json_pack("{s:s,s:o,s:b}", "op", "removed", "evidence", evidence, "found", (int)found), e);
}

static int handle(struct child *c, json_t *message, bool *ret_clean, struct error *e)
{
	const char *op = text_of(message, "op");
	if (op && strcmp(op, "stop") == 0)
		return 0; /* it came too late: nothing runs */
	if (op && strcmp(op, "open") == 0)
		return handle_open(c, message, e);
	if (op && c->target && strcmp(op, "push") == 0)
		return handle_push(c, message, ret_clean, e);
	if (op && c->target && strcmp(op, "delete") == 0)
		return handle_delete(c, message, e);
	return error_set(e, ERR_FATAL, "the delivery child got a message out of turn");
}

/* Everything that is secret is wiped by its owner. */
static void child_done(struct child *c)
{
	sealed_source_free(c->source);
	delivery_target_free(c->target);
	vault_credential_free(c->credential);
	target_endpoint_done(&c->endpoint);
	keyring_free(c->root);
	json_decref(c->settings);
}

static int send_failure(struct child *c, const struct error *e, bool clean)
{
	struct error ignored = {0};
	json_t *message = channel_failure(e);
	if (message && json_object_set_new(message, "clean", json_boolean(clean)) < 0) {
		json_decref(message);
		message = NULL;
	}
	return channel_send(c->fd, message, &ignored);
}

void delivery_child_main(void)
{
	struct child c = {.fd = DELIVERY_CHILD_FD};
	struct error e = {0};
	(void)close_range(DELIVERY_CHILD_FD + 1, ~0U, 0);
	(void)signal(SIGPIPE, SIG_IGN);
	int r = sandbox_enter(&e);
	if (r < 0) {
		(void)send_failure(&c, &e, true);
		_exit(1);
	}
	for (;;) {
		json_t *message = NULL;
		bool clean = false;
		e = (struct error){0};
		r = channel_receive(c.fd, -1, &message, &e);
		if (r == ERR_RETRY)
			continue;
		if (r < 0)
			break;
		r = handle(&c, message, &clean, &e);
		json_decref(message);
		sealed_source_free(TAKE_PTR(c.source));
		if (r < 0 && send_failure(&c, &e, clean) < 0)
			break;
	}
	child_done(&c);
	/* nothing of a library's own may run after this, such as a leak check that the sandbox forbids */
	_exit(0);
}
