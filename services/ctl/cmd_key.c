#include "commands.h"
#include "ctl.h"

#include "base/hex.h"
#include "crypto/keyring.h"
#include "crypto/paseto.h"
#include "crypto/random.h"

#include <errno.h>
#include <limits.h>
#include <sodium.h>
#include <string.h>
#include <time.h>

#define KEY_ID_BYTES 32

struct generate_arguments {
	const char *purpose;
	const char *out;
	const char *id;
};

#define AT(FIELD) .offset = offsetof(struct generate_arguments, FIELD)

static const char *const purposes[] = {"spool-root",  "vault",	     "token-sign", "webhook-wrap",
				       "link-pepper", "ledger-sign", NULL};

static const struct option generate_options[] = {
    {.name = "PURPOSE",
     .type = OPTION_CHOICE,
     .required = true,
     .choices = purposes,
     AT(purpose),
     .help = "what the key is for; no key serves two purposes"},
    {.name = "--out",
     .value = "FILE",
     .type = OPTION_STRING,
     .required = true,
     .max = PATH_MAX - 8,
     AT(out),
     .help = "file to make; it must not exist"},
    {.name = "--id",
     .value = "ID",
     .type = OPTION_STRING,
     .max = KEY_ID_BYTES - 1,
     AT(id),
     .help = "the key's name in rows and tokens; default: today's date and random digits"},
    {0},
};

static const struct column columns[] = {{"purpose", "purpose", COLUMN_TEXT},
					{"key", "key id", COLUMN_TEXT},
					{"file", "secret key (0600)", COLUMN_TEXT},
					{"public_file", "public half", COLUMN_TEXT},
					{0}};

static void default_id(char ret[KEY_ID_BYTES])
{
	uint8_t random[4];
	char digits[2 * sizeof(random) + 1];
	time_t now = time(NULL);
	struct tm day;
	(void)gmtime_r(&now, &day);
	random_bytes(random, sizeof(random));
	hex_encode(random, sizeof(random), digits);
	size_t n = strftime(ret, KEY_ID_BYTES, "%Y%m%d-", &day);
	(void)snprintf(ret + n, KEY_ID_BYTES - n, "%s", digits);
}

/* The secret half, and for the two signing purposes and the vault the public one. */
static bool make_key(enum key_purpose purpose, uint8_t secret[KEY_BYTES], uint8_t public[KEY_BYTES])
{
	random_bytes(secret, KEY_BYTES);
	if (purpose == KEY_VAULT)
		return crypto_scalarmult_base(public, secret) == 0;
	if (purpose == KEY_TOKEN_SIGN || purpose == KEY_LEDGER_SIGN) {
		paseto_public_key(secret, public);
		return true;
	}
	return false;
}

static int generate(struct ctl *c, const void *arguments, struct error *e)
{
	const struct generate_arguments *a = arguments;
	char id[KEY_ID_BYTES], public_file[PATH_MAX];
	uint8_t secret[KEY_BYTES], public[KEY_BYTES];
	default_id(id);
	if (a->id)
		(void)snprintf(id, sizeof(id), "%s", a->id);
	if (!key_id_valid(id))
		return ctl_wrong_use(c, e, "--id %s: want letters a-z, digits, '-', '_' and '.'", id);
	if (sodium_init() < 0)
		return error_set(e, ERR_FATAL, "libsodium refuses to start");
	(void)snprintf(public_file, sizeof(public_file), "%s.pub", a->out);
	bool has_public = make_key(key_purpose_from_string(a->purpose), secret, public);
	int r = keyring_write(a->out, id, secret, false, e);
	sodium_memzero(secret, sizeof(secret));
	if (r == 0 && has_public) {
		r = keyring_write(public_file, id, public, true, e);
		/* half a pair is of no use, and would be in the way of the next try */
		if (r < 0)
			(void)unlink(a->out);
	}
	if (r < 0)
		return r;
	return ctl_print_record(c, columns,
				json_pack("{s:s, s:s, s:s, s:s?}", "purpose", a->purpose, "key", id, "file", a->out,
					  "public_file", has_public ? public_file : NULL));
}

const struct command key_commands[] = {
    {
	.verb = "generate",
	.summary = "Make a key file",
	.description = "Makes FILE with a new random key, readable by its owner alone, and for vault, token-sign\n"
		       "and ledger-sign also FILE.pub with the public half. The key itself is never shown.\n"
		       "\n"
		       "  spool-root    ingest, transcoder, storage-pusher: wraps the accounts' keys\n"
		       "  vault         storage-pusher; FILE.pub: linkgen, rushesctl: targets' credentials\n"
		       "  token-sign    linkgen; FILE.pub: ingest: session tokens\n"
		       "  webhook-wrap  linkgen: signing secrets of webhooks\n"
		       "  link-pepper   linkgen, rushesctl: hashes of link codes and API keys\n"
		       "  ledger-sign   janitor; FILE.pub: whoever checks a certificate",
	.examples = "  rushesctl key generate spool-root --out /etc/rushes/keys/spool-root\n"
		    "  rushesctl key generate vault --out /etc/rushes/keys/vault",
	.options = generate_options,
	.arguments_size = sizeof(struct generate_arguments),
	.run = generate,
    },
    {0},
};
