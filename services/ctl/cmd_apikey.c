#include "commands.h"
#include "ctl.h"

#include "domain/access_code.h"
#include "domain/account.h"
#include "domain/api_key.h"

#include <string.h>

struct create_arguments {
	const char *account;
	const char *name;
	const char *scopes;
};

struct list_arguments {
	const char *account;
};

struct revoke_arguments {
	struct uuid id;
};

#define DEFAULT_SCOPES "links:write,links:read,recordings:read"

static const struct option create_options[] = {
    {.name = "ACCOUNT",
     .type = OPTION_STRING,
     .required = true,
     .offset = offsetof(struct create_arguments, account),
     .help = "id or name"},
    {.name = "NAME",
     .type = OPTION_STRING,
     .required = true,
     .max = 100,
     .offset = offsetof(struct create_arguments, name),
     .help = "what the key is for, such as the helpdesk that gets it"},
    {.name = "--scopes",
     .value = "LIST",
     .type = OPTION_STRING,
     .offset = offsetof(struct create_arguments, scopes),
     .help = "what it may do, separated by commas; default " DEFAULT_SCOPES},
    {0},
};

static const struct option list_options[] = {
    {.name = "ACCOUNT",
     .type = OPTION_STRING,
     .offset = offsetof(struct list_arguments, account),
     .help = "only of this one"},
    {0},
};

static const struct option revoke_options[] = {
    {.name = "KEY",
     .type = OPTION_UUID,
     .required = true,
     .offset = offsetof(struct revoke_arguments, id),
     .help = "the key's id"},
    {0},
};

static const struct column columns[] = {
    {"id", "KEY", COLUMN_TEXT},
    {"account_name", "ACCOUNT", COLUMN_TEXT},
    {"name", "NAME", COLUMN_TEXT},
    {"scopes", "SCOPES", COLUMN_TEXT},
    {"created_at", "CREATED", COLUMN_TIME},
    {"last_used_at", "LAST USED", COLUMN_TIME},
    {"revoked_at", "REVOKED", COLUMN_TIME},
    {0},
};

static int make_key(struct ctl *c, const struct uuid *id, char key[API_KEY_BYTES], uint8_t hash[HMAC_BYTES],
		    struct error *e)
{
	struct uuid parsed;
	const char *secret = NULL;
	_cleanup_(keyring_freep) struct keyring *pepper = NULL;
	int r = keyring_load(c->config.link_pepper_file, KEY_LINK_PEPPER, &pepper, e);
	if (r < 0)
		return r;
	api_key_new(id, key);
	if (!api_key_parse(key, &parsed, &secret))
		return error_set(e, ERR_FATAL, "a fresh API key cannot be read");
	return api_key_hash(pepper, id, secret, hash, e);
}

static int create(struct ctl *c, const void *arguments, struct error *e)
{
	const struct create_arguments *a = arguments;
	const char *scopes = a->scopes ? a->scopes : DEFAULT_SCOPES;
	struct uuid account, id = uuid_v7();
	char key[API_KEY_BYTES], id_text[UUID_TEXT_BYTES];
	uint8_t hash[HMAC_BYTES];
	int r = ctl_require(c, c->config.link_pepper_file, "RUSHES_LINK_PEPPER_FILE", e);
	if (r == 0)
		r = account_find(c->db, a->account, &account, e);
	if (r == 0)
		r = make_key(c, &id, key, hash, e);
	if (r == 0)
		r = api_key_create(c->db, c->actor, &account, &id, a->name, hash, scopes, e);
	if (r == ERR_REJECT)
		return ctl_wrong_use(c, e, "--scopes: %s", e->text);
	if (r < 0)
		return r;
	uuid_format(&id, id_text);
	if (c->json) {
		json_t *o = json_pack("{s:s, s:s, s:s}", "id", id_text, "name", a->name, "key", key);
		output_json(o, c->out);
		json_decref(o);
	} else {
		(void)fprintf(c->out, "%s\n", key);
		(void)fprintf(stderr, "This is the only time that the key is shown. Its id, to revoke it: %s\n",
			      id_text);
	}
	explicit_bzero(key, sizeof(key));
	return 0;
}

static int list(struct ctl *c, const void *arguments, struct error *e)
{
	const struct list_arguments *a = arguments;
	struct uuid account;
	json_t *keys = NULL;
	int r = a->account ? account_find(c->db, a->account, &account, e) : 0;
	if (r == 0)
		r = api_key_list(c->db, a->account ? &account : NULL, &keys, e);
	return r < 0 ? r
		     : ctl_print_list(c, columns, keys, "There is no API key yet: rushesctl apikey create makes one.");
}

static int revoke_key(struct ctl *c, const void *arguments, struct error *e)
{
	const struct revoke_arguments *a = arguments;
	char id[UUID_TEXT_BYTES];
	uuid_format(&a->id, id);
	int r = ctl_confirm(c, e, "revokes the API key %s: whoever uses it is refused from now on", id);
	if (r == 0)
		r = api_key_revoke(c->db, c->actor, &a->id, e);
	return r < 0 ? r : ctl_done(c, "revoked", id);
}

const struct command apikey_commands[] = {
    {.verb = "create",
     .summary = "Make a key for the REST API",
     .description = "Prints the key, once; the database keeps only its hash. Scopes: links:write, links:read,\n"
		    "recordings:read, recordings:delete.",
     .examples = "  rushesctl apikey create Northwind helpdesk > helpdesk.key\n"
		 "  rushesctl apikey create Northwind reports --scopes recordings:read",
     .options = create_options,
     .arguments_size = sizeof(struct create_arguments),
     .flags = COMMAND_DATABASE,
     .run = create},
    {.verb = "list",
     .summary = "List API keys, never the secrets",
     .options = list_options,
     .arguments_size = sizeof(struct list_arguments),
     .flags = COMMAND_DATABASE,
     .run = list},
    {.verb = "revoke",
     .summary = "Revoke an API key",
     .options = revoke_options,
     .arguments_size = sizeof(struct revoke_arguments),
     .flags = COMMAND_DATABASE | COMMAND_DESTRUCTIVE,
     .run = revoke_key},
    {0},
};
