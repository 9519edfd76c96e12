/* The nouns of rushesctl: each file cmd_<noun>.c holds the table of one. */
#ifndef RUSHES_CTL_COMMANDS_H
#define RUSHES_CTL_COMMANDS_H

#include "command.h"

extern const struct command account_commands[];
extern const struct command apikey_commands[];
extern const struct command audit_commands[];
extern const struct command env_commands[];
extern const struct command job_commands[];
extern const struct command key_commands[];
extern const struct command ledger_commands[];
extern const struct command link_commands[];
extern const struct command migrate_commands[];
extern const struct command node_commands[];
extern const struct command recording_commands[];
extern const struct command restore_commands[];
extern const struct command retention_commands[];
extern const struct command target_commands[];

#endif
