#include "command.h"

#include "base/quantity.h"

#include <assert.h>
#include <string.h>

#define SUGGEST_WORD_BYTES 32
#define OPTIONS_MAX	   64

struct parser {
	const struct noun *nouns;
	struct invocation *to;
	char **argv;
	int argc, at;
	size_t positionals; /* read so far */
	bool only_positionals;
	bool seen[OPTIONS_MAX]; /* by index into the command's options */
};

static const char *next_noun(const void *list, size_t i)
{
	return ((const struct noun *)list)[i].name;
}

static const char *next_verb(const void *list, size_t i)
{
	return ((const struct command *)list)[i].verb;
}

static const char *next_option(const void *list, size_t i)
{
	return ((const struct option *)list)[i].name;
}

/* Levenshtein's distance of two short words; longer ones count as far. */
static size_t distance(const char *a, const char *b)
{
	size_t n = strlen(a), m = strlen(b);
	size_t row[SUGGEST_WORD_BYTES + 1];
	if (n > SUGGEST_WORD_BYTES || m > SUGGEST_WORD_BYTES)
		return SIZE_MAX;
	for (size_t j = 0; j <= m; j++)
		row[j] = j;
	for (size_t i = 1; i <= n; i++) {
		size_t diagonal = row[0];
		row[0] = i;
		for (size_t j = 1; j <= m; j++) {
			size_t above = row[j];
			size_t change = diagonal + (a[i - 1] != b[j - 1]);
			row[j] = MIN(change, MIN(above, row[j - 1]) + 1);
			diagonal = above;
		}
	}
	return row[m];
}

const char *suggest(const char *wrong, const char *(*next)(const void *list, size_t i), const void *list)
{
	const char *best = NULL;
	size_t best_distance = MAX(strlen(wrong) / 3, (size_t)1) + 1;
	for (size_t i = 0; list && next(list, i); i++) {
		size_t d = distance(wrong, next(list, i));
		if (d < best_distance) {
			best_distance = d;
			best = next(list, i);
		}
	}
	return best;
}

static bool is_positional(const struct option *o)
{
	return o->name[0] != '-';
}

static int check_range(const struct option *o, uint64_t value, const char *text, struct error *e)
{
	if (value >= o->min && (o->max == 0 || value <= o->max))
		return 0;
	if (o->max == 0)
		return error_set(e, ERR_REJECT, "%s %s: must be at least %llu", o->name, text,
				 (unsigned long long)o->min);
	return error_set(e, ERR_REJECT, "%s %s: must be within %llu and %llu", o->name, text,
			 (unsigned long long)o->min, (unsigned long long)o->max);
}

static int set_string(const struct option *o, const char *text, void *at, struct error *e)
{
	size_t n = strlen(text), max = o->max ? o->max : OPTION_STRING_BYTES_MAX;
	if (n < MAX(o->min, 1))
		return error_set(e, ERR_REJECT, "%s: must not be empty", o->name);
	if (n > max)
		return error_set(e, ERR_REJECT, "%s: longer than %zu bytes", o->name, max);
	for (const char *p = text; *p; p++)
		if ((unsigned char)*p < 0x20 || *p == 0x7f)
			return error_set(e, ERR_REJECT, "%s: holds a control character", o->name);
	*(const char **)at = text;
	return 0;
}

static int set_choice(const struct option *o, const char *text, void *at, struct error *e)
{
	char list[256] = "";
	for (const char *const *c = o->choices; *c; c++) {
		if (strcmp(*c, text) == 0) {
			*(const char **)at = *c;
			return 0;
		}
		size_t n = strlen(list);
		(void)snprintf(list + n, sizeof(list) - n, "%s%s", n ? ", " : "", *c);
	}
	return error_set(e, ERR_REJECT, "%s %.64s: want one of %s", o->name, text, list);
}

static int set_bool(const struct option *o, const char *text, void *at, struct error *e)
{
	static const char *const words[] = {"off", "on", "no", "yes", "false", "true"};
	for (size_t i = 0; i < ARRAY_SIZE(words); i++)
		if (strcmp(words[i], text) == 0) {
			*(bool *)at = i % 2 == 1;
			return 0;
		}
	return error_set(e, ERR_REJECT, "%s %.64s: want on or off", o->name, text);
}

static int set_quantity(const struct option *o, const char *text, void *at, struct error *e)
{
	enum quantity_type type = o->type == OPTION_BYTES      ? QUANTITY_BYTES
				  : o->type == OPTION_DURATION ? QUANTITY_DURATION
							       : QUANTITY_NUMBER;
	uint64_t value = 0;
	int r = quantity_parse(type, text, &value, e);
	if (r < 0)
		return error_wrap(e, "%s %.64s", o->name, text);
	if (o->type == OPTION_DURATION && value > INT64_MAX)
		return error_set(e, ERR_REJECT, "%s %.64s: too long", o->name, text);
	r = check_range(o, value, text, e);
	if (r == 0 && o->type == OPTION_DURATION)
		*(int64_t *)at = (int64_t)value;
	else if (r == 0)
		*(uint64_t *)at = value;
	return r;
}

static int set_value(struct parser *p, const struct option *o, const char *text, struct error *e)
{
	void *at = (char *)p->to->arguments + o->offset;
	size_t index = (size_t)(o - p->to->command->options);
	assert(index < OPTIONS_MAX);
	if (p->seen[index])
		return error_set(e, ERR_REJECT, "%s is given twice", o->name);
	p->seen[index] = true;
	if (o->seen_offset)
		*(bool *)((char *)p->to->arguments + o->seen_offset) = true;
	switch (o->type) {
	case OPTION_FLAG:
		*(bool *)at = true;
		return 0;
	case OPTION_STRING:
		return set_string(o, text, at, e);
	case OPTION_BOOL:
		return set_bool(o, text, at, e);
	case OPTION_CHOICE:
		return set_choice(o, text, at, e);
	case OPTION_UUID:
		if (!uuid_parse(text, at))
			return error_set(e, ERR_REJECT,
					 "%s %.64s: want an id such as 0193b2c4-6f1e-7a3b-9c52-3f0d8f6f1a77", o->name,
					 text);
		return 0;
	default:
		return set_quantity(o, text, at, e);
	}
}

/* The value of --name=VALUE or the next argument. NULL when there is none. */
static const char *take_value(struct parser *p, const char *equals)
{
	if (equals)
		return equals + 1;
	return p->at + 1 < p->argc ? p->argv[++p->at] : NULL;
}

/* The options that every command has. Returns 1 when it was one of them, 0 when not. */
static int read_common(struct parser *p, const char *name, size_t n, const char *equals, struct error *e)
{
	struct invocation *to = p->to;
	const struct {
		const char *name;
		bool *flag;
		const char **text;
	} common[] = {
	    {"--help", &to->help, NULL},	  {"-h", &to->help, NULL},
	    {"--version", &to->version, NULL},	  {"--print-markdown", &to->markdown, NULL},
	    {"--json", &to->json, NULL},	  {"--yes", &to->yes, NULL},
	    {"--config", NULL, &to->config_file}, {"--database", NULL, &to->database},
	};
	for (size_t i = 0; i < ARRAY_SIZE(common); i++) {
		if (strlen(common[i].name) != n || strncmp(common[i].name, name, n) != 0)
			continue;
		if (common[i].flag && equals)
			return error_set(e, ERR_REJECT, "%s takes no value", common[i].name);
		if (common[i].flag)
			*common[i].flag = true;
		else if (common[i].text && !(*common[i].text = take_value(p, equals)))
			return error_set(e, ERR_REJECT, "%s wants a value", common[i].name);
		return 1;
	}
	return 0;
}

static int read_option(struct parser *p, const char *argument, struct error *e)
{
	const char *equals = strchr(argument, '=');
	size_t n = equals ? (size_t)(equals - argument) : strlen(argument);
	int r = read_common(p, argument, n, equals, e);
	if (r != 0)
		return MIN(r, 0);
	const struct option *options = p->to->command ? p->to->command->options : NULL;
	for (const struct option *o = options; o && o->name; o++) {
		if (is_positional(o) || strlen(o->name) != n || strncmp(o->name, argument, n) != 0)
			continue;
		if (o->type == OPTION_FLAG)
			return equals ? error_set(e, ERR_REJECT, "%s takes no value", o->name)
				      : set_value(p, o, NULL, e);
		const char *value = take_value(p, equals);
		return value ? set_value(p, o, value, e)
			     : error_set(e, ERR_REJECT, "%s wants a value: %s", o->name, o->value);
	}
	char name[SUGGEST_WORD_BYTES + 1];
	(void)snprintf(name, sizeof(name), "%.*s", (int)MIN(n, sizeof(name) - 1), argument);
	const char *near = suggest(name, next_option, options);
	return error_set(e, ERR_REJECT, "no such option %s%s%s%s", name, near ? "; did you mean " : "",
			 near ? near : "", near ? "?" : "");
}

static int read_positional(struct parser *p, const char *argument, struct error *e)
{
	size_t index = 0;
	for (const struct option *o = p->to->command->options; o && o->name; o++)
		if (is_positional(o) && index++ == p->positionals) {
			p->positionals++;
			return set_value(p, o, argument, e);
		}
	return error_set(e, ERR_REJECT, "unexpected argument %.64s", argument);
}

static int set_command(struct parser *p, const struct command *c, struct error *e)
{
	p->to->command = c;
	p->to->arguments = calloc(1, c->arguments_size ? c->arguments_size : 1);
	return p->to->arguments ? 0 : error_nomem(e);
}

/* Whether `word`, with the next one for a verb of two, names the command; takes what it used. */
static bool take_verb(struct parser *p, const char *verb, const char *word)
{
	size_t n = strlen(word);
	if (strncmp(verb, word, n) != 0)
		return false;
	if (!verb[n])
		return true;
	if (verb[n] != ' ' || p->at + 1 >= p->argc || strcmp(verb + n + 1, p->argv[p->at + 1]) != 0)
		return false;
	p->at++;
	return true;
}

static const char *suggest_verb(const char *word, const struct command *commands)
{
	const char *near = suggest(word, next_verb, commands);
	size_t n = strlen(word);
	for (const struct command *c = commands; !near && c->verb; c++)
		if (strncmp(c->verb, word, n) == 0 && c->verb[n] == ' ')
			near = c->verb;
	return near;
}

/* Noun, then verb, then the command's own arguments. */
static int read_word(struct parser *p, const char *word, struct error *e)
{
	struct invocation *to = p->to;
	if (to->command)
		return read_positional(p, word, e);
	if (!to->noun) {
		for (const struct noun *n = p->nouns; n->name; n++)
			if (strcmp(n->name, word) == 0) {
				to->noun = n;
				return n->commands[0].verb ? 0 : set_command(p, &n->commands[0], e);
			}
		const char *near = suggest(word, next_noun, p->nouns);
		return error_set(e, ERR_REJECT, "no such command %.64s%s%s%s", word, near ? "; did you mean " : "",
				 near ? near : "", near ? "?" : "");
	}
	for (const struct command *c = to->noun->commands; c->verb; c++)
		if (take_verb(p, c->verb, word))
			return set_command(p, c, e);
	const char *near = suggest_verb(word, to->noun->commands);
	return error_set(e, ERR_REJECT, "no such command %s %.64s%s%s%s", to->noun->name, word,
			 near ? "; did you mean " : "", near ? near : "", near ? "?" : "");
}

static int check_complete(struct parser *p, struct error *e)
{
	const struct invocation *to = p->to;
	if (to->help || to->version || to->markdown)
		return 0;
	if (!to->noun)
		return error_set(e, ERR_REJECT, "say what to do");
	if (!to->command)
		return error_set(e, ERR_REJECT, "say what to do with %s", to->noun->name);
	for (const struct option *o = to->command->options; o && o->name; o++)
		if (o->required && !p->seen[o - to->command->options])
			return error_set(e, ERR_REJECT, "%s is required: %s", o->name, o->help);
	return 0;
}

int invocation_parse(const struct noun *nouns, int argc, char **argv, struct invocation *ret, struct error *e)
{
	struct parser p = {.nouns = nouns, .to = ret, .argv = argv, .argc = argc};
	for (p.at = 1; p.at < argc; p.at++) {
		const char *argument = argv[p.at];
		int r = 0;
		if (!p.only_positionals && strcmp(argument, "--") == 0)
			p.only_positionals = true;
		else if (!p.only_positionals && argument[0] == '-' && argument[1])
			r = read_option(&p, argument, e);
		else
			r = read_word(&p, argument, e);
		if (r < 0)
			return r;
	}
	return check_complete(&p, e);
}

void invocation_done(struct invocation *i)
{
	free(i->arguments);
	i->arguments = NULL;
}
