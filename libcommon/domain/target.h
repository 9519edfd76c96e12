/* Targets: storage destinations, ours or a client's. The endpoint says where, in the open; the credential is sealed to
 * the vault and bound to it. Everything that asks the database blocks: off the loop. */
#ifndef RUSHES_DOMAIN_TARGET_H
#define RUSHES_DOMAIN_TARGET_H

#include "base/uuid.h"
#include "crypto/vault.h"
#include "store/db.h"

#include <jansson.h>

enum target_kind { TARGET_FILE, TARGET_S3, TARGET_KIND_MAX };

const char *target_kind_to_string(enum target_kind k);
enum target_kind target_kind_from_string(const char *text); /* TARGET_KIND_MAX when unknown */

/* The column `endpoint` of a `file` target: a folder of the storage-pusher's machine.
 *   {"path": "/srv/recordings"}
 * and of an `s3` target:
 *   {"endpoint": "https://s3.example.net:8443",   scheme and host; absent: Amazon's of the region
 *    "region": "eu-central-1", "bucket": "footage", "path": "prefix/of/keys",
 *    "path_style": true, "allow_private": false, "ca_file": "/etc/...", "resolve": "host:port:address",
 *    "encryption": "AES256", "checksums": true, "part_bytes": 16777216,
 *    "read_back": false,                             read every object back, whatever the server's digests say
 *    "main_class": "...", "raw_class": "...", "picture_class": "..."}
 * Absent texts are NULL, absent flags false, an absent size 0. An Amazon endpoint gets main INTELLIGENT_TIERING, raw
 * STANDARD_IA, pictures STANDARD and AES256 when it is made, unless others were asked for. */
struct target_endpoint {
	char *path;
	char *endpoint;
	char *region;
	char *bucket;
	char *ca_file;
	char *resolve;
	char *encryption;
	char *main_class, *raw_class, *picture_class;
	bool path_style, allow_private, checksums, read_back;
	uint64_t part_bytes;
};

/* Reads and checks the column; unknown members are refused. Release with target_endpoint_done(), also a zeroed one. */
int target_endpoint_read(enum target_kind kind, json_t *endpoint, struct target_endpoint *ret,
			 struct error *e) _must_check_;
void target_endpoint_done(struct target_endpoint *t);

/* What a credential of this target is sealed for. `account` is "" for ours. The texts point into the arguments. */
struct vault_binding target_binding(enum target_kind kind, const struct target_endpoint *endpoint, const char *account,
				    const char *target);

/* An s3 credential is the text of a JSON object, as it is sealed:
 *   {"access_key": "...", "secret_key": "...", "session_token": "..."}     session_token may be absent
 * ERR_REJECT without quoting any of it. */
int target_credential_check(enum target_kind kind, const char *text, size_t n, struct error *e) _must_check_;

/* A target that is to be made. */
struct target_new {
	struct uuid id;		    /* uuid_v7(): the credential is bound to it */
	const struct uuid *account; /* NULL: ours */
	const char *region;
	const char *name;
	enum target_kind kind;
	json_t *endpoint;	   /* borrowed */
	const uint8_t *credential; /* sealed; NULL: none */
	size_t credential_n;
	bool delete_at_target; /* deletions reach the client's files too */
};

int target_create(struct db *d, const char *actor, const struct target_new *t, struct error *e) _must_check_;
/* A new credential, sealed for `endpoint`, which becomes the target's. */
int target_credential_set(struct db *d, const char *actor, const struct uuid *id, json_t *endpoint,
			  const uint8_t *credential, size_t n, struct error *e) _must_check_;

/* No new deliveries go there. */
int target_disable(struct db *d, const char *actor, const struct uuid *id, struct error *e) _must_check_;

/* For people and programs. `account` NULL: all. Values are the caller's. */
int target_list(struct db *d, const struct uuid *account, json_t **ret, struct error *e) _must_check_;
int target_get(struct db *d, const struct uuid *id, json_t **ret, struct error *e) _must_check_;

/* By id or by name; `account` NULL: any. ERR_NOTFOUND, ERR_CONFLICT when several have the name. */
int target_find(struct db *d, const struct uuid *account, const char *text, struct uuid *ret,
		struct error *e) _must_check_;

#endif
