#include "commands.h"
#include "ctl.h"

#include "domain/access_code.h"
#include "domain/account.h"
#include "domain/link.h"

#include <string.h>

struct create_arguments {
	const char *account, *environment;
	int64_t expires_ms;
	uint64_t uses;
	const char *agent, *subject, *ticket, *customer;
};

struct list_arguments {
	const char *account;
	uint64_t limit;
};

struct link_arguments {
	struct uuid id;
};

#define AT(FIELD) .offset = offsetof(struct create_arguments, FIELD)

static const struct option create_options[] = {
    {.name = "ACCOUNT", .type = OPTION_STRING, .required = true, AT(account), .help = "id or name"},
    {.name = "ENV",
     .type = OPTION_STRING,
     .required = true,
     AT(environment),
     .help = "environment of the recordings, id or name"},
    {.name = "--expires",
     .value = "TIME",
     .type = OPTION_DURATION,
     .min = 60000,
     .max = LINK_LIFE_MS_MAX,
     AT(expires_ms),
     .help = "how long it can be opened, from now; default 7d"},
    {.name = "--uses",
     .value = "N",
     .type = OPTION_UINT,
     .min = 1,
     .max = LINK_USES_MAX,
     AT(uses),
     .help = "how often it can be opened; default 1"},
    {.name = "--agent",
     .value = "NAME",
     .type = OPTION_STRING,
     .max = 200,
     AT(agent),
     .help = "who asks; shown to the customer"},
    {.name = "--subject",
     .value = "TEXT",
     .type = OPTION_STRING,
     .max = 300,
     AT(subject),
     .help = "what is to be recorded; shown to the customer"},
    {.name = "--ticket", .value = "ID", .type = OPTION_STRING, .max = 200, AT(ticket), .help = "the helpdesk's ticket"},
    {.name = "--customer", .value = "NAME", .type = OPTION_STRING, .max = 200, AT(customer), .help = "who is asked"},
    {0},
};

static const struct option list_options[] = {
    {.name = "ACCOUNT",
     .type = OPTION_STRING,
     .offset = offsetof(struct list_arguments, account),
     .help = "only of this one"},
    {.name = "--limit",
     .value = "N",
     .type = OPTION_UINT,
     .min = 1,
     .max = 10000,
     .offset = offsetof(struct list_arguments, limit),
     .help = "the newest ones; default 50"},
    {0},
};

static const struct option link_options[] = {
    {.name = "LINK",
     .type = OPTION_UUID,
     .required = true,
     .offset = offsetof(struct link_arguments, id),
     .help = "the link's id"},
    {0},
};

static const struct column list_columns[] = {
    {"id", "LINK", COLUMN_TEXT},
    {"account_name", "ACCOUNT", COLUMN_TEXT},
    {"environment_name", "ENV", COLUMN_TEXT},
    {"state", "STATE", COLUMN_TEXT},
    {"uses", "USES", COLUMN_NUMBER},
    {"uses_max", "OF", COLUMN_NUMBER},
    {"expires_at", "EXPIRES", COLUMN_TIME},
    {"created_by", "BY", COLUMN_TEXT},
    {0},
};

static const struct column show_columns[] = {
    {"id", "link", COLUMN_TEXT},
    {"account", "account", COLUMN_TEXT},
    {"environment", "environment", COLUMN_TEXT},
    {"state", "state", COLUMN_TEXT},
    {"uses", "uses", COLUMN_NUMBER},
    {"uses_max", "of", COLUMN_NUMBER},
    {"expires_at", "expires", COLUMN_TIME},
    {"created_at", "created", COLUMN_TIME},
    {"created_by", "by", COLUMN_TEXT},
    {"requester", "requester", COLUMN_TEXT},
    {"recordings", "recordings", COLUMN_TEXT},
    {0},
};

static json_t *requester_json(const struct create_arguments *a)
{
	const struct {
		const char *name, *value;
	} fields[] = {{"agent", a->agent}, {"subject", a->subject}, {"ticket", a->ticket}, {"customer", a->customer}};
	json_t *o = json_object();
	for (size_t i = 0; i < ARRAY_SIZE(fields); i++)
		if (fields[i].value)
			(void)json_object_set_new(o, fields[i].name, json_string(fields[i].value));
	return o;
}

static int make_code(struct ctl *c, char code[LINK_CODE_BYTES], uint8_t hash[HMAC_BYTES], struct error *e)
{
	_cleanup_(keyring_freep) struct keyring *pepper = NULL;
	int r = keyring_load(c->config.link_pepper_file, KEY_LINK_PEPPER, &pepper, e);
	if (r < 0)
		return r;
	link_code_new(code);
	return link_code_hash(pepper, code, hash, e);
}

static void show_made(struct ctl *c, const struct link_made *made, const char *code)
{
	char id[UUID_TEXT_BYTES];
	size_t n = strlen(c->config.linkgen_url);
	const char *slash = n > 0 && c->config.linkgen_url[n - 1] == '/' ? "" : "/";
	uuid_format(&made->id, id);
	if (c->json) {
		json_t *o = json_pack("{s:s, s:o, s:s}", "id", id, "url",
				      json_sprintf("%s%sr/%s", c->config.linkgen_url, slash, code), "expires_at",
				      made->expires_at);
		output_json(o, c->out);
		json_decref(o);
		return;
	}
	(void)fprintf(c->out, "%s%sr/%s\n", c->config.linkgen_url, slash, code);
	(void)fprintf(stderr, "This is the only time that the address is shown. It can be opened until %s; id: %s\n",
		      made->expires_at, id);
}

static int create(struct ctl *c, const void *arguments, struct error *e)
{
	const struct create_arguments *a = arguments;
	struct uuid account, environment;
	char code[LINK_CODE_BYTES];
	uint8_t hash[HMAC_BYTES];
	struct link_made made;
	int r = ctl_require(c, c->config.link_pepper_file, "RUSHES_LINK_PEPPER_FILE", e);
	if (r == 0)
		r = ctl_require(c, c->config.linkgen_url, "RUSHES_LINKGEN_URL", e);
	if (r == 0)
		r = account_find(c->db, a->account, &account, e);
	if (r == 0)
		r = environment_find(c->db, &account, a->environment, &environment, e);
	if (r == 0)
		r = make_code(c, code, hash, e);
	if (r < 0)
		return r;
	json_t *requester = requester_json(a);
	const struct link_new n = {.id = uuid_v7(),
				   .account = &account,
				   .environment = &environment,
				   .code_hash = hash,
				   .life_ms = a->expires_ms ? a->expires_ms : LINK_LIFE_MS_DEFAULT,
				   .uses_max = a->uses ? (unsigned)a->uses : 1,
				   .requester = requester};
	r = link_create(c->db, c->actor, &n, &made, e);
	json_decref(requester);
	if (r == 0)
		show_made(c, &made, code);
	return r;
}

static int list(struct ctl *c, const void *arguments, struct error *e)
{
	const struct list_arguments *a = arguments;
	struct uuid account;
	json_t *links = NULL;
	int r = a->account ? account_find(c->db, a->account, &account, e) : 0;
	if (r == 0)
		r = link_list(c->db, a->account ? &account : NULL, a->limit ? (unsigned)a->limit : 50, &links, e);
	return r < 0 ? r
		     : ctl_print_list(c, list_columns, links, "There is no link yet: rushesctl link create makes one.");
}

static int find_link(struct ctl *c, const struct uuid *id, json_t **ret, struct error *e)
{
	char text[UUID_TEXT_BYTES];
	uuid_format(id, text);
	int r = link_get(c->db, NULL, id, ret, e);
	return r == ERR_NOTFOUND ? error_set(e, r, "there is no link %s", text) : r;
}

static int show(struct ctl *c, const void *arguments, struct error *e)
{
	const struct link_arguments *a = arguments;
	json_t *link = NULL;
	int r = find_link(c, &a->id, &link, e);
	return r < 0 ? r : ctl_print_record(c, show_columns, link);
}

static int revoke_link(struct ctl *c, const void *arguments, struct error *e)
{
	const struct link_arguments *a = arguments;
	char id[UUID_TEXT_BYTES];
	struct uuid account;
	json_t *link = NULL;
	uuid_format(&a->id, id);
	int r = find_link(c, &a->id, &link, e);
	if (r < 0)
		return r;
	const char *owner = json_string_value(json_object_get(link, "account"));
	bool known = owner && uuid_parse(owner, &account);
	json_decref(link);
	if (!known)
		return error_set(e, ERR_CORRUPT, "link %s: no account", id);
	r = ctl_confirm(c, e, "revokes the link %s: it opens no more, and its open streams are closed", id);
	if (r == 0)
		r = link_revoke(c->db, c->actor, &account, &a->id, e);
	return r < 0 ? r : ctl_done(c, "revoked", id);
}

const struct command link_commands[] = {
    {.verb = "create",
     .summary = "Make a link that asks a customer for a recording",
     .description = "Prints the short address, once; the database keeps only a hash of its code. Whoever opens\n"
		    "it sees who asks and for what, agrees, records and sends.",
     .examples = "  rushesctl link create Northwind support --agent Ann --subject \"Where it fails\"\n"
		 "  rushesctl link create Northwind support --expires 2d --uses 5 --ticket 4711",
     .options = create_options,
     .arguments_size = sizeof(struct create_arguments),
     .flags = COMMAND_DATABASE,
     .run = create},
    {.verb = "list",
     .summary = "List links, never their codes",
     .options = list_options,
     .arguments_size = sizeof(struct list_arguments),
     .flags = COMMAND_DATABASE,
     .run = list},
    {.verb = "show",
     .summary = "Show one link and its recordings",
     .options = link_options,
     .arguments_size = sizeof(struct link_arguments),
     .flags = COMMAND_DATABASE,
     .run = show},
    {.verb = "revoke",
     .summary = "Revoke a link",
     .description = "Recordings that arrived stay; what is arriving right now is saved as recovered.",
     .options = link_options,
     .arguments_size = sizeof(struct link_arguments),
     .flags = COMMAND_DATABASE | COMMAND_DESTRUCTIVE,
     .run = revoke_link},
    {0},
};
