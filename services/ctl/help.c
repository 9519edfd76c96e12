#include "command.h"

#include <string.h>

#define HELP_NAME_WIDTH 26

static bool is_positional(const struct option *o)
{
	return o->name[0] != '-';
}

/* "--reason TEXT" */
static void option_label(const struct option *o, char *ret, size_t size)
{
	(void)snprintf(ret, size, "%s%s%s", o->name, o->value ? " " : "", o->value ? o->value : "");
}

static void print_usage(const struct noun *n, const struct command *c, FILE *out)
{
	(void)fprintf(out, "rushesctl %s%s%s", n->name, c->verb ? " " : "", c->verb ? c->verb : "");
	bool more = false;
	for (const struct option *o = c->options; o && o->name; o++) {
		char label[96];
		option_label(o, label, sizeof(label));
		if (o->required)
			(void)fprintf(out, " %s", label);
		else if (is_positional(o))
			(void)fprintf(out, " [%s]", label);
		else
			more = true;
	}
	(void)fprintf(out, "%s\n", more ? " [options]" : "");
}

static void print_option(const struct option *o, FILE *out)
{
	char label[96];
	option_label(o, label, sizeof(label));
	int width = (int)strlen(label);
	(void)fprintf(out, "  %s", label);
	if (width > HELP_NAME_WIDTH)
		(void)fprintf(out, "\n  %*s", HELP_NAME_WIDTH, "");
	else
		(void)fprintf(out, "%*s", HELP_NAME_WIDTH - width, "");
	(void)fprintf(out, "  %s", o->help);
	for (const char *const *c = o->choices; c && *c; c++)
		(void)fprintf(out, "%s%s%s", c == o->choices ? " (" : ", ", *c, c[1] ? "" : ")");
	(void)fprintf(out, "\n");
}

/* `asks`: the command, or one of them, asks first. */
static void print_common(bool asks, FILE *out)
{
	(void)fprintf(out, "\nEvery command takes:\n"
			   "  --json                      print JSON for programs instead of a table for people\n");
	if (asks)
		(void)fprintf(out, "  --yes                       do not ask before something is deleted or revoked\n");
	(void)fprintf(out, "  --config FILE               read RUSHES_* settings from FILE; the environment wins\n"
			   "  --database CONNINFO         use this database instead of the configured one\n"
			   "  --help                      explain this command\n"
			   "\nExit status: 0 done, 1 it could not be done, 2 wrong use or configuration.\n");
}

void help_print_command(const struct noun *n, const struct command *c, FILE *out)
{
	(void)fprintf(out, "%s.\n\nusage: ", c->summary);
	print_usage(n, c, out);
	if (c->description)
		(void)fprintf(out, "\n%s\n", c->description);
	for (int pass = 0; pass < 2; pass++) {
		bool titled = false;
		for (const struct option *o = c->options; o && o->name; o++) {
			if (is_positional(o) != (pass == 0))
				continue;
			if (!titled)
				(void)fprintf(out, "\n%s:\n", pass == 0 ? "Arguments" : "Options");
			titled = true;
			print_option(o, out);
		}
	}
	print_common(c->flags & COMMAND_DESTRUCTIVE, out);
	if (c->examples)
		(void)fprintf(out, "\nExamples:\n%s\n", c->examples);
}

void help_print_noun(const struct noun *n, FILE *out)
{
	if (!n->commands[0].verb) {
		help_print_command(n, &n->commands[0], out);
		return;
	}
	(void)fprintf(out, "%s.\n\nusage: rushesctl %s COMMAND [options]\n\nCommands:\n", n->summary, n->name);
	for (const struct command *c = n->commands; c->verb; c++)
		(void)fprintf(out, "  %-16s  %s\n", c->verb, c->summary);
	(void)fprintf(out, "\n`rushesctl %s COMMAND --help` explains one of them.\n", n->name);
}

void help_print_all(const struct noun *nouns, FILE *out)
{
	(void)fprintf(out,
		      "rushesctl runs an installation of Rushes: accounts, links, recordings, storage, deletion.\n\n"
		      "usage: rushesctl NOUN COMMAND [options]\n");
	for (const struct noun *n = nouns; n->name; n++) {
		(void)fprintf(out, "\n%s\n", n->summary);
		for (const struct command *c = n->commands; c->run; c++) {
			char words[64];
			(void)snprintf(words, sizeof(words), "%s%s%s", n->name, c->verb ? " " : "",
				       c->verb ? c->verb : "");
			(void)fprintf(out, "  %-20s  %s\n", words, c->summary);
		}
	}
	print_common(true, out);
	(void)fprintf(out, "\n`rushesctl NOUN COMMAND --help` explains one command with its options and examples.\n"
			   "Settings come from RUSHES_* variables; services/ctl/README.md and docs/configuration.md "
			   "list them.\n");
}

void help_print_markdown(const struct noun *nouns, FILE *out)
{
	(void)fprintf(out, "\n| command | what it does |\n| --- | --- |\n");
	for (const struct noun *n = nouns; n->name; n++)
		for (const struct command *c = n->commands; c->run; c++)
			(void)fprintf(out, "| `%s%s%s` | %s |\n", n->name, c->verb ? " " : "", c->verb ? c->verb : "",
				      c->summary);
}
