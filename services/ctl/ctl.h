/* What a command of rushesctl works with: settings, the database, who acts, and where the answer goes. */
#ifndef RUSHES_CTL_CTL_H
#define RUSHES_CTL_CTL_H

#include "command.h"
#include "output.h"

#include "base/config.h"
#include "domain/ledger_target.h"
#include "store/db.h"

/* Longest name of who acts: "rushesctl:" and an account of the operating system. */
#define CTL_ACTOR_BYTES 96

struct ctl_config {
	char *database;
	char *migrate_database;
	char *schema_path;
	char *region;
	char *link_pepper_file;
	char *vault_public_key_file;
	char *linkgen_url;
	char *ledger_target, *ledger_credential_file, *ledger_region, *ledger_ca_file;
	bool ledger_private;
	char *ledger_public_key_file;
	uint64_t backup_reach_ms;
};

extern const struct config_schema ctl_config_schema;

struct ctl {
	struct ctl_config config;
	const char *database_override; /* --database; NULL: none */
	bool json, yes;
	bool wrong_use; /* the error is the caller's fault: exit status 2 */
	char actor[CTL_ACTOR_BYTES];
	struct db_pool *pool;
	struct db *db; /* leased for commands with COMMAND_DATABASE */
	FILE *out;
};

/* Reads the settings, names the actor and, when the command needs it, connects. ctl_close() releases also a half-made
 * one. */
int ctl_open(struct ctl *c, const struct invocation *i, struct error *e) _must_check_;
void ctl_close(struct ctl *c);

/* For what is wrong with the command line or the settings; returns ERR_REJECT. */
int ctl_wrong_use(struct ctl *c, struct error *e, const char *fmt, ...) _printf_(3, 4);

/* The value of a setting that this command cannot do without: 0, or wrong use that names it. */
int ctl_require(struct ctl *c, const char *value, const char *name, struct error *e) _must_check_;

/* Goes on only with --yes or a typed "yes" on a terminal. `fmt` says what will happen. */
int ctl_confirm(struct ctl *c, struct error *e, const char *fmt, ...) _printf_(3, 4) _must_check_;

/* Print and release `value`: as JSON, or for people. Always 0. */
int ctl_print_list(struct ctl *c, const struct column *columns, json_t *value, const char *none);
int ctl_print_record(struct ctl *c, const struct column *columns, json_t *value);

/* Opens the ledger target, `folder` or where it is NULL the settings' own: NULL in `*ret` when there is none. */
int ctl_ledger_target(struct ctl *c, const char *folder, struct ledger_target **ret, struct error *e) _must_check_;

/* What was done, to what: "revoked 0193...", or {"done": "revoked", "id": "0193..."}. Always 0. */
int ctl_done(struct ctl *c, const char *what, const char *id);

/* A line for people; nothing with --json. */
void ctl_say(struct ctl *c, const char *fmt, ...) _printf_(2, 3);

#endif
