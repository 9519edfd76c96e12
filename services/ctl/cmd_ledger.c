#include "commands.h"
#include "ctl.h"
#include "ledger_verify.h"

#include "domain/audit.h"
#include "domain/ledger.h"

#include <limits.h>
#include <string.h>

struct ledger_arguments {
	struct uuid recording;
};

struct verify_arguments {
	const char *target, *public_key, *head;
};

struct audit_arguments {
	const char *subject;
	uint64_t limit;
};

static const struct option ledger_options[] = {
    {.name = "RECORDING",
     .type = OPTION_UUID,
     .required = true,
     .offset = offsetof(struct ledger_arguments, recording),
     .help = "the recording's id"},
    {0},
};

static const struct option verify_options[] = {
    {.name = "--target",
     .value = "FOLDER",
     .type = OPTION_STRING,
     .max = PATH_MAX - 8,
     .offset = offsetof(struct verify_arguments, target),
     .help = "the ledger target's folder; default: RUSHES_LEDGER_TARGET"},
    {.name = "--public-key",
     .value = "FILE",
     .type = OPTION_STRING,
     .max = PATH_MAX - 1,
     .offset = offsetof(struct verify_arguments, public_key),
     .help = "public halves of the signing keys; default: RUSHES_LEDGER_PUBLIC_KEY_FILE"},
    {.name = "--head",
     .value = "HASH",
     .type = OPTION_STRING,
     .min = LEDGER_HASH_BYTES - 1,
     .max = LEDGER_HASH_BYTES - 1,
     .offset = offsetof(struct verify_arguments, head),
     .help = "a head that was kept elsewhere; it must be one of the batches'"},
    {0},
};

static const struct option audit_options[] = {
    {.name = "SUBJECT",
     .type = OPTION_STRING,
     .max = 100,
     .offset = offsetof(struct audit_arguments, subject),
     .help = "only about this id"},
    {.name = "--limit",
     .value = "N",
     .type = OPTION_UINT,
     .min = 1,
     .max = 10000,
     .offset = offsetof(struct audit_arguments, limit),
     .help = "the newest ones; default 50"},
    {0},
};

static const struct column ledger_columns[] = {
    {"id", "ENTRY", COLUMN_NUMBER},    {"at", "TIME", COLUMN_TIME},	{"kind", "WHAT", COLUMN_TEXT},
    {"rule", "RULE", COLUMN_TEXT},     {"place", "PLACE", COLUMN_TEXT}, {"evidence", "EVIDENCE", COLUMN_TEXT},
    {"intact", "INTACT", COLUMN_TEXT}, {"hash", "HASH", COLUMN_TEXT},	{0},
};

static const struct column finding_columns[] = {
    {"what", "FOUND", COLUMN_TEXT},
    {"batch", "BATCH", COLUMN_NUMBER},
    {"entry", "ENTRY", COLUMN_NUMBER},
    {"detail", "DETAIL", COLUMN_TEXT},
    {0},
};

static const struct column audit_columns[] = {
    {"at", "TIME", COLUMN_TIME},    {"actor", "WHO", COLUMN_TEXT},     {"action", "DID", COLUMN_TEXT},
    {"subject", "TO", COLUMN_TEXT}, {"detail", "DETAIL", COLUMN_TEXT}, {0},
};

static int list(struct ctl *c, const void *arguments, struct error *e)
{
	const struct ledger_arguments *a = arguments;
	json_t *entries = NULL;
	int r = ledger_list(c->db, &a->recording, &entries, e);
	return r < 0 ? r : ctl_print_list(c, ledger_columns, entries, "The ledger has no entry of this recording.");
}

static void print_verified(struct ctl *c, json_t *answer)
{
	json_t *last = json_object_get(answer, "last"), *findings = json_object_get(answer, "findings");
	if (c->json) {
		output_json(answer, c->out);
		return;
	}
	(void)fprintf(c->out,
		      "%lld batches with %lld entries, %lld of them not sealed yet; the ledger target was %s.\n",
		      (long long)json_integer_value(json_object_get(answer, "batches")),
		      (long long)json_integer_value(json_object_get(answer, "entries")),
		      (long long)json_integer_value(json_object_get(answer, "unsealed")),
		      json_is_true(json_object_get(answer, "target")) ? "compared" : "not given");
	if (json_is_object(last))
		(void)fprintf(c->out, "The last head, of batch %lld, is %s: keep it elsewhere for --head.\n",
			      (long long)json_integer_value(json_object_get(last, "batch")),
			      json_string_value(json_object_get(last, "head")));
	output_table(finding_columns, findings, "Nothing was changed, removed, reordered, back-dated or cut off.",
		     c->out);
}

static int verify(struct ctl *c, const void *arguments, struct error *e)
{
	const struct verify_arguments *a = arguments;
	_cleanup_(keyring_freep) struct keyring *keys = NULL;
	_cleanup_(ledger_target_freep) struct ledger_target *target = NULL;
	const char *key_file = a->public_key ? a->public_key : c->config.ledger_public_key_file;
	json_t *answer = NULL;
	int r = ctl_require(c, key_file, "RUSHES_LEDGER_PUBLIC_KEY_FILE", e);
	if (r == 0)
		r = keyring_load_public(key_file, KEY_LEDGER_SIGN, &keys, e);
	if (r == 0)
		r = ctl_ledger_target(c, a->target, &target, e);
	if (r == 0)
		r = ledger_verify(c->db, keys, target, a->head, &answer, e);
	if (r < 0)
		return r;
	size_t n = json_array_size(json_object_get(answer, "findings"));
	print_verified(c, answer);
	json_decref(answer);
	return n ? error_set(e, ERR_CORRUPT, "the ledger is not as it was written: %zu findings", n) : 0;
}

static int audit(struct ctl *c, const void *arguments, struct error *e)
{
	const struct audit_arguments *a = arguments;
	const struct audit_filter f = {.subject = a->subject, .limit = a->limit ? (unsigned)a->limit : 50};
	json_t *entries = NULL;
	int r = audit_list(c->db, &f, &entries, e);
	return r < 0 ? r : ctl_print_list(c, audit_columns, entries, "Nobody did such a thing.");
}

const struct command ledger_commands[] = {
    {.verb = "list",
     .summary = "List what was decided about a recording and what is gone",
     .description = "Each entry carries the SHA-256 leaf hash (RFC 6962) of its text; INTACT says whether the row\n"
		    "still has it. The entry `complete` proves that no copy is left that we hold.",
     .options = ledger_options,
     .arguments_size = sizeof(struct ledger_arguments),
     .flags = COMMAND_DATABASE,
     .run = list},
    {.verb = "verify",
     .summary = "Check the whole ledger: hashes, roots, links, signatures, times",
     .description = "Computes every leaf again from its row, every root, link and signature, and compares each\n"
		    "batch with the ledger target. Says which entries were changed, removed, reordered, back-dated\n"
		    "or cut off; exit status 1 when there is one. Without the target, an entry that was changed\n"
		    "together with its hash is told by its batch only.",
     .examples = "  rushesctl ledger verify --target /mnt/ledger --public-key /etc/rushes/keys/ledger-sign.pub",
     .options = verify_options,
     .arguments_size = sizeof(struct verify_arguments),
     .flags = COMMAND_DATABASE,
     .run = verify},
    {0},
};

const struct command audit_commands[] = {
    {.verb = "list",
     .summary = "List who did what",
     .options = audit_options,
     .arguments_size = sizeof(struct audit_arguments),
     .flags = COMMAND_DATABASE,
     .run = audit},
    {0},
};
