/* with: services/ctl/command.c services/ctl/help.c */
#include "../../services/ctl/command.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

struct give_arguments {
	struct uuid recording;
	const char *to;
	const char *reason;
	const char *kind;
	uint64_t size;
	int64_t within;
	uint64_t times;
	bool force, raw, raw_seen;
};

static const char *const kinds[] = {"main", "raw", NULL};

#define AT(FIELD) .offset = offsetof(struct give_arguments, FIELD)

static const struct option give_options[] = {
    {.name = "RECORDING", .type = OPTION_UUID, .required = true, AT(recording), .help = "the recording"},
    {.name = "TO", .type = OPTION_STRING, AT(to), .help = "who gets it"},
    {.name = "--reason", .value = "TEXT", .type = OPTION_STRING, .required = true, .max = 8, AT(reason), .help = "why"},
    {.name = "--kind", .value = "KIND", .type = OPTION_CHOICE, .choices = kinds, AT(kind), .help = "which file"},
    {.name = "--size", .value = "BYTES", .type = OPTION_BYTES, AT(size), .help = "how large"},
    {.name = "--within", .value = "TIME", .type = OPTION_DURATION, .min = 1000, AT(within), .help = "how soon"},
    {.name = "--times", .value = "N", .type = OPTION_UINT, .min = 1, .max = 9, AT(times), .help = "how often"},
    {.name = "--force", .type = OPTION_FLAG, AT(force), .help = "even so"},
    {.name = "--raw",
     .value = "ON",
     .type = OPTION_BOOL,
     AT(raw),
     .seen_offset = offsetof(struct give_arguments, raw_seen),
     .help = "raw too"},
    {0},
};

static int run_nothing(struct ctl *c _unused_, const void *arguments _unused_, struct error *e _unused_)
{
	return 0;
}

static const struct command thing_commands[] = {
    {.verb = "give",
     .summary = "Give it",
     .options = give_options,
     .arguments_size = sizeof(struct give_arguments),
     .run = run_nothing},
    {.verb = "list", .summary = "List them", .run = run_nothing},
    {.verb = "part add", .summary = "Add a part", .run = run_nothing},
    {.verb = "part list", .summary = "List the parts", .run = run_nothing},
    {0},
};
static const struct command check_commands[] = {{.summary = "Check all", .run = run_nothing}, {0}};
static const struct noun nouns[] = {
    {"thing", "Things", thing_commands},
    {"check", "Checks", check_commands},
    {0},
};

#define ID "0193b2c4-6f1e-7a3b-9c52-3f0d8f6f1a77"

/* Parses the words up to NULL. */
static int parse(struct invocation *i, struct error *e, ...)
{
	char *argv[32] = {(char *)"rushesctl"};
	int argc = 1;
	va_list args;
	va_start(args, e);
	while ((argv[argc] = va_arg(args, char *)))
		argc++;
	va_end(args);
	*i = (struct invocation){0};
	*e = (struct error){0};
	return invocation_parse(nouns, argc, argv, i, e);
}

#define refused_with(wanted, ...)                                                 \
	do {                                                                      \
		struct invocation i_;                                             \
		struct error e_;                                                  \
		assert_int_equal(parse(&i_, &e_, __VA_ARGS__, NULL), ERR_REJECT); \
		if (!strstr(e_.text, (wanted)))                                   \
			fail_msg("wanted \"%s\" in \"%s\"", (wanted), e_.text);   \
		invocation_done(&i_);                                             \
	} while (0)

static void every_type_is_read(void **state _unused_)
{
	struct invocation i;
	struct error e;
	assert_int_equal(parse(&i, &e, "thing", "give", ID, "--reason=moved", "ann", "--kind", "raw", "--size", "2KiB",
			       "--within", "5m", "--times=3", "--force", "--raw", "off", NULL),
			 0);
	assert_string_equal(i.command->verb, "give");
	const struct give_arguments *a = i.arguments;
	struct uuid id;
	assert_true(uuid_parse(ID, &id) && uuid_equal(&id, &a->recording));
	assert_string_equal(a->to, "ann");
	assert_string_equal(a->reason, "moved");
	assert_ptr_equal(a->kind, kinds[1]);
	assert_int_equal(a->size, 2048);
	assert_int_equal(a->within, 300000);
	assert_int_equal(a->times, 3);
	assert_true(a->force);
	assert_true(a->raw_seen && !a->raw);
	invocation_done(&i);
}

static void what_was_not_given_is_not_seen(void **state _unused_)
{
	struct invocation i;
	struct error e;
	assert_int_equal(parse(&i, &e, "thing", "give", ID, "--reason", "x", NULL), 0);
	const struct give_arguments *a = i.arguments;
	assert_null(a->to);
	assert_null(a->kind);
	assert_false(a->raw_seen || a->force || i.json || i.yes);
	invocation_done(&i);
}

static void common_options_stand_anywhere(void **state _unused_)
{
	struct invocation i;
	struct error e;
	assert_int_equal(parse(&i, &e, "--json", "thing", "--config", "/etc/x", "list", "--yes", "--database=host=/tmp",
			       NULL),
			 0);
	assert_true(i.json && i.yes);
	assert_string_equal(i.config_file, "/etc/x");
	assert_string_equal(i.database, "host=/tmp");
	invocation_done(&i);
}

static void a_noun_may_be_the_command(void **state _unused_)
{
	struct invocation i;
	struct error e;
	assert_int_equal(parse(&i, &e, "check", NULL), 0);
	assert_ptr_equal(i.command, &check_commands[0]);
	invocation_done(&i);
}

static void help_demands_nothing(void **state _unused_)
{
	struct invocation i;
	struct error e;
	assert_int_equal(parse(&i, &e, "thing", "give", "--help", NULL), 0);
	assert_true(i.help);
	invocation_done(&i);
	assert_int_equal(parse(&i, &e, "-h", NULL), 0);
	assert_null(i.noun);
	invocation_done(&i);
}

static void two_dashes_end_the_options(void **state _unused_)
{
	struct invocation i;
	struct error e;
	assert_int_equal(parse(&i, &e, "thing", "give", "--reason", "x", "--", ID, "--json", NULL), 0);
	assert_false(i.json);
	assert_string_equal(((const struct give_arguments *)i.arguments)->to, "--json");
	invocation_done(&i);
}

static void wrong_use_says_what_to_do(void **state _unused_)
{
	struct invocation i;
	struct error e;
	assert_int_equal(parse(&i, &e, NULL), ERR_REJECT);
	assert_string_equal(e.text, "say what to do");
	refused_with("say what to do with thing", "thing");
	refused_with("no such command thin; did you mean thing?", "thin");
	refused_with("no such command thing lst; did you mean list?", "thing", "lst");
	refused_with("no such option --reson; did you mean --reason?", "thing", "give", ID, "--reson", "x");
	refused_with("no such option --nothing-like-it", "thing", "give", "--nothing-like-it");
	refused_with("--reason is required: why", "thing", "give", ID);
	refused_with("RECORDING is required", "thing", "give", "--reason", "x");
	refused_with("--reason wants a value: TEXT", "thing", "give", ID, "--reason");
	refused_with("--reason is given twice", "thing", "give", ID, "--reason", "x", "--reason", "y");
	refused_with("--reason: must not be empty", "thing", "give", ID, "--reason", "");
	refused_with("--reason: longer than 8 bytes", "thing", "give", ID, "--reason", "123456789");
	refused_with("--reason: holds a control character", "thing", "give", ID, "--reason", "a\nb");
	refused_with("RECORDING 77: want an id", "thing", "give", "77");
	refused_with("want one of main, raw", "thing", "give", ID, "--kind", "x");
	refused_with("--within 5: want a number with ms", "thing", "give", ID, "--within", "5");
	refused_with("--within 1ms: must be at least 1000", "thing", "give", ID, "--within", "1ms");
	refused_with("--times 10: must be within 1 and 9", "thing", "give", ID, "--times", "10");
	refused_with("--raw maybe: want on or off", "thing", "give", ID, "--raw", "maybe");
	refused_with("--force takes no value", "thing", "give", ID, "--force=1");
	refused_with("--json takes no value", "thing", "list", "--json=1");
	refused_with("--config wants a value", "thing", "list", "--config");
	refused_with("unexpected argument more", "thing", "list", "more");
}

static void help_names_every_option(void **state _unused_)
{
	char *text = NULL;
	size_t n = 0;
	FILE *f = open_memstream(&text, &n);
	assert_non_null(f);
	help_print_command(&nouns[0], &thing_commands[0], f);
	help_print_all(nouns, f);
	help_print_noun(&nouns[1], f);
	assert_int_equal(fclose(f), 0);
	for (const struct option *o = give_options; o->name; o++)
		assert_non_null(strstr(text, o->name));
	assert_non_null(strstr(text, "rushesctl thing give RECORDING [TO] --reason TEXT [options]"));
	assert_non_null(strstr(text, "(main, raw)"));
	free(text);
}

static void a_verb_may_have_two_words(void **state _unused_)
{
	struct invocation i;
	struct error e;
	assert_int_equal(parse(&i, &e, "thing", "part", "list", "--json", NULL), 0);
	assert_string_equal(i.command->verb, "part list");
	assert_true(i.json);
	invocation_done(&i);
	assert_int_equal(parse(&i, &e, "thing", "part", "add", NULL), 0);
	assert_string_equal(i.command->verb, "part add");
	invocation_done(&i);
	/* one word, or a wrong second, is no command */
	assert_int_equal(parse(&i, &e, "thing", "part", NULL), ERR_REJECT);
	assert_string_equal(e.text, "no such command thing part; did you mean part add?");
	assert_int_equal(parse(&i, &e, "thing", "part", "lost", NULL), ERR_REJECT);
	assert_int_equal(parse(&i, &e, "thing", "part", "--json", "list", NULL), ERR_REJECT);
	assert_int_equal(parse(&i, &e, "thing", "par", "list", NULL), ERR_REJECT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(a_verb_may_have_two_words),      cmocka_unit_test(every_type_is_read),
	    cmocka_unit_test(what_was_not_given_is_not_seen), cmocka_unit_test(common_options_stand_anywhere),
	    cmocka_unit_test(a_noun_may_be_the_command),      cmocka_unit_test(help_demands_nothing),
	    cmocka_unit_test(two_dashes_end_the_options),     cmocka_unit_test(wrong_use_says_what_to_do),
	    cmocka_unit_test(help_names_every_option),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
