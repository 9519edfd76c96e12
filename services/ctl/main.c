/* rushesctl: one command line, one act, one answer. */
#include "commands.h"
#include "ctl.h"

#include "base/log.h"
#include "base/service.h"

#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>

static const struct noun nouns[] = {
    {"migrate", "The database's schema", migrate_commands},
    {"key", "Key files of the installation", key_commands},
    {"account", "Customers of the installation", account_commands},
    {"env", "Environments: how an account's recordings are treated", env_commands},
    {"apikey", "Keys for the REST API", apikey_commands},
    {"target", "Storage destinations", target_commands},
    {"link", "Recording requests", link_commands},
    {"recording", "Recordings, their files and copies", recording_commands},
    {"job", "Work to be done", job_commands},
    {"node", "Spools and their beats", node_commands},
    {"retention", "The rules by which copies go", retention_commands},
    {"ledger", "What was decided and what is gone", ledger_commands},
    {"restore", "The gate of a restored database", restore_commands},
    {"audit", "Who did what", audit_commands},
    {0},
};

/* Keys and credentials pass through this process: no core dumps, no debugger, nothing readable for others. */
static void harden(void)
{
	struct rlimit none = {0, 0};
	(void)umask(077);
	(void)signal(SIGPIPE, SIG_IGN);
	(void)setrlimit(RLIMIT_CORE, &none);
	(void)prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
}

static void print_markdown(void)
{
	config_print_markdown(&ctl_config_schema, stdout);
	help_print_markdown(nouns, stdout);
}

static void print_help(const struct invocation *i)
{
	if (i->command)
		help_print_command(i->noun, i->command, stdout);
	else if (i->noun)
		help_print_noun(i->noun, stdout);
	else
		help_print_all(nouns, stdout);
}

static int wrong_use(const struct invocation *i, const struct error *e)
{
	(void)fprintf(stderr, "rushesctl: %s\n", e->text);
	const char *noun = i->noun ? i->noun->name : NULL;
	const char *verb = i->command ? i->command->verb : NULL;
	(void)fprintf(stderr, "`rushesctl%s%s%s%s --help` tells more.\n", noun ? " " : "", noun ? noun : "",
		      verb ? " " : "", verb ? verb : "");
	return 2;
}

static int run(const struct invocation *i)
{
	struct error e = {0};
	struct ctl c = {0};
	int r = ctl_open(&c, i, &e);
	if (r == 0)
		r = i->command->run(&c, i->arguments, &e);
	int status = r == 0 ? 0 : c.wrong_use ? wrong_use(i, &e) : 1;
	if (status == 1)
		(void)fprintf(stderr, "rushesctl: %s\n", e.text);
	ctl_close(&c);
	if (fflush(stdout) != 0 && status == 0) {
		(void)fprintf(stderr, "rushesctl: cannot write the answer\n");
		status = 1;
	}
	return status;
}

int main(int argc, char **argv)
{
	struct error e = {0};
	struct invocation i = {0};
	int status = 0;
	harden();
	log_init("ctl", LOG_LEVEL_WARNING);
	if (invocation_parse(nouns, argc, argv, &i, &e) < 0)
		status = wrong_use(&i, &e);
	else if (i.help)
		print_help(&i);
	else if (i.version)
		(void)printf("rushesctl %s\n", RUSHES_VERSION);
	else if (i.markdown)
		print_markdown();
	else
		status = run(&i);
	invocation_done(&i);
	return status;
}
