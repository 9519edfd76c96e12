#include "base/config.h"

#include "base/quantity.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <string.h>

#define CONFIG_LINE_BYTES 8192

extern char **environ;

static const char *const type_names[CONFIG_TYPE_MAX] = {"string",   "path",    "number", "bytes",
							"duration", "boolean", "choice", "address:port"};

static void *field(const struct config_option *o, void *config)
{
	return (char *)config + o->offset;
}

static int wrong(const struct config_option *o, const char *text, struct error *e, const char *reason)
{
	return error_set(e, ERR_REJECT, "%s=%s: %s", o->name, text, reason);
}

static int parse_quantity(const struct config_option *o, const char *text, uint64_t *ret, struct error *e)
{
	enum quantity_type type = o->type == CONFIG_DURATION ? QUANTITY_DURATION
				  : o->type == CONFIG_BYTES  ? QUANTITY_BYTES
							     : QUANTITY_NUMBER;
	uint64_t value = 0;
	int r = quantity_parse(type, text, &value, e);
	if (r < 0)
		return error_wrap(e, "%s=%s", o->name, text);
	if (value < o->min || (o->max && value > o->max))
		return error_set(e, ERR_REJECT, "%s=%s: must be within %llu and %llu", o->name, text,
				 (unsigned long long)o->min, (unsigned long long)o->max);
	*ret = value;
	return 0;
}

static bool is_choice(const char *choices, const char *text)
{
	size_t n = strlen(text);
	for (const char *p = choices; p && n > 0; p = strchr(p, '|') ? strchr(p, '|') + 1 : NULL)
		if (strncmp(p, text, n) == 0 && (p[n] == '|' || p[n] == '\0'))
			return true;
	return false;
}

static bool is_address(const char *text)
{
	char host[64];
	const char *colon = strrchr(text, ':');
	if (!colon || (size_t)(colon - text) >= sizeof(host))
		return false;
	char *end = NULL;
	long port = strtol(colon + 1, &end, 10);
	if (!isdigit((unsigned char)colon[1]) || *end || port > 65535)
		return false;
	size_t n = (size_t)(colon - text);
	bool v6 = n > 2 && text[0] == '[' && text[n - 1] == ']';
	(void)snprintf(host, sizeof(host), "%.*s", (int)(v6 ? n - 2 : n), v6 ? text + 1 : text);
	struct in6_addr addr;
	return inet_pton(v6 ? AF_INET6 : AF_INET, host, &addr) == 1;
}

static int set_string(const struct config_option *o, void *config, const char *text, struct error *e)
{
	char **at = field(o, config);
	char *copy = strdup(text);
	if (!copy)
		return error_nomem(e);
	free(*at);
	*at = copy;
	return 0;
}

static int set_value(const struct config_option *o, void *config, const char *text, struct error *e)
{
	uint64_t value = 0;
	int r = 0;
	switch (o->type) {
	case CONFIG_CHOICE:
		if (!is_choice(o->choices, text))
			return error_set(e, ERR_REJECT, "%s=%s: want one of %s", o->name, text, o->choices);
		return set_string(o, config, text, e);
	case CONFIG_ADDRESS:
		if (text[0] && !is_address(text))
			return wrong(o, text, e, "want address:port, as 127.0.0.1:8443 or [::1]:8443");
		return set_string(o, config, text, e);
	case CONFIG_STRING:
	case CONFIG_PATH:
		return set_string(o, config, text, e);
	case CONFIG_BOOL:
		if (strcmp(text, "true") == 0 || strcmp(text, "yes") == 0 || strcmp(text, "1") == 0)
			*(bool *)field(o, config) = true;
		else if (strcmp(text, "false") == 0 || strcmp(text, "no") == 0 || strcmp(text, "0") == 0)
			*(bool *)field(o, config) = false;
		else
			return wrong(o, text, e, "want true or false");
		return 0;
	case CONFIG_DURATION:
		r = parse_quantity(o, text, &value, e);
		if (r == 0)
			*(int64_t *)field(o, config) = (int64_t)MIN(value, (uint64_t)INT64_MAX);
		return r;
	default:
		r = parse_quantity(o, text, &value, e);
		if (r == 0)
			*(uint64_t *)field(o, config) = value;
		return r;
	}
}

static const struct config_option *find_option(const struct config_schema *schema, const char *name, size_t n)
{
	for (size_t t = 0; t < CONFIG_TABLES_MAX && schema->tables[t]; t++)
		for (const struct config_option *o = schema->tables[t]; o->name; o++)
			if (strlen(o->name) == n && strncmp(o->name, name, n) == 0)
				return o;
	return NULL;
}

static int load_file(const struct config_schema *schema, const char *file, void *config, struct error *e)
{
	_cleanup_(fclosep) FILE *f = fopen(file, "re");
	if (!f)
		return error_set_errno(e, ERR_FATAL, errno, "cannot open configuration file %s", file);
	char line[CONFIG_LINE_BYTES];
	for (int number = 1; fgets(line, sizeof(line), f); number++) {
		size_t n = strlen(line);
		if (n == sizeof(line) - 1 && line[n - 1] != '\n')
			return error_set(e, ERR_REJECT, "%s:%d: line is longer than %zu bytes", file, number,
					 sizeof(line));
		while (n > 0 && isspace((unsigned char)line[n - 1]))
			line[--n] = '\0';
		char *name = line + strspn(line, " \t");
		if (*name == '\0' || *name == '#')
			continue;
		char *equals = strchr(name, '=');
		if (!equals)
			return error_set(e, ERR_REJECT, "%s:%d: want NAME=VALUE", file, number);
		const struct config_option *o = find_option(schema, name, (size_t)(equals - name));
		if (!o)
			return error_set(e, ERR_REJECT, "%s:%d: %.*s is no option of this service; --help lists them",
					 file, number, (int)(equals - name), name);
		if (set_value(o, config, equals + 1, e) < 0)
			return error_wrap(e, "%s:%d", file, number);
	}
	return ferror(f) ? error_set_errno(e, ERR_FATAL, errno, "cannot read configuration file %s", file) : 0;
}

static int load_environment(const struct config_schema *schema, void *config, struct error *e)
{
	for (char **v = environ; v && *v; v++) {
		const char *equals = strchr(*v, '=');
		if (strncmp(*v, "RUSHES_", 7) != 0 || !equals)
			continue;
		const struct config_option *o = find_option(schema, *v, (size_t)(equals - *v));
		if (!o)
			return error_set(e, ERR_REJECT,
					 "%.*s (environment) is no option of this service; --help lists them",
					 (int)(equals - *v), *v);
		int r = set_value(o, config, equals + 1, e);
		if (r < 0)
			return r;
	}
	return 0;
}

static int load_defaults(const struct config_schema *schema, void *config, struct error *e)
{
	for (size_t t = 0; t < CONFIG_TABLES_MAX && schema->tables[t]; t++)
		for (const struct config_option *o = schema->tables[t]; o->name; o++) {
			int r = o->initial ? set_value(o, config, o->initial, e) : 0;
			if (r < 0)
				return r;
		}
	return 0;
}

static bool is_text(enum config_type type)
{
	return type == CONFIG_STRING || type == CONFIG_PATH || type == CONFIG_CHOICE || type == CONFIG_ADDRESS;
}

/* Required options are text: a number always has a default. */
static int check_required(const struct config_schema *schema, void *config, struct error *e)
{
	for (size_t t = 0; t < CONFIG_TABLES_MAX && schema->tables[t]; t++)
		for (const struct config_option *o = schema->tables[t]; o->name; o++)
			if (!o->initial && is_text(o->type) &&
			    (!*(char **)field(o, config) || !**(char **)field(o, config)))
				return error_set(e, ERR_REJECT, "%s is required: %s", o->name, o->help);
	return 0;
}

int config_load(const struct config_schema *schema, const char *file, void *config, struct error *e)
{
	int r = load_defaults(schema, config, e);
	if (r == 0 && file)
		r = load_file(schema, file, config, e);
	if (r == 0)
		r = load_environment(schema, config, e);
	if (r == 0)
		r = check_required(schema, config, e);
	if (r < 0)
		config_done(schema, config);
	return r;
}

void config_done(const struct config_schema *schema, void *config)
{
	for (size_t t = 0; t < CONFIG_TABLES_MAX && schema->tables[t]; t++)
		for (const struct config_option *o = schema->tables[t]; o->name; o++)
			if (is_text(o->type)) {
				char **at = field(o, config);
				free(*at);
				*at = NULL;
			}
	memset(config, 0, schema->size);
}

void config_print(const struct config_schema *schema, const void *config, FILE *out)
{
	for (size_t t = 0; t < CONFIG_TABLES_MAX && schema->tables[t]; t++)
		for (const struct config_option *o = schema->tables[t]; o->name; o++) {
			const void *at = (const char *)config + o->offset;
			if (is_text(o->type))
				(void)fprintf(out, "%s=%s\n", o->name, *(char *const *)at ? *(char *const *)at : "");
			else if (o->type == CONFIG_BOOL)
				(void)fprintf(out, "%s=%s\n", o->name, *(const bool *)at ? "true" : "false");
			else if (o->type == CONFIG_DURATION)
				(void)fprintf(out, "%s=%lldms\n", o->name, (long long)*(const int64_t *)at);
			else
				(void)fprintf(out, "%s=%llu\n", o->name, (unsigned long long)*(const uint64_t *)at);
		}
}

void config_print_help(const struct config_schema *schema, FILE *out)
{
	for (size_t t = 0; t < CONFIG_TABLES_MAX && schema->tables[t]; t++)
		for (const struct config_option *o = schema->tables[t]; o->name; o++) {
			(void)fprintf(out, "  %s (%s, ", o->name, o->choices ? o->choices : type_names[o->type]);
			if (!o->initial)
				(void)fprintf(out, "required");
			else if (*o->initial)
				(void)fprintf(out, "default %s", o->initial);
			else
				(void)fprintf(out, "not set");
			(void)fprintf(out, ")\n      %s\n", o->help);
		}
}

void config_print_markdown(const struct config_schema *schema, FILE *out)
{
	(void)fprintf(out, "| name | type | default | meaning |\n| --- | --- | --- | --- |\n");
	for (size_t t = 0; t < CONFIG_TABLES_MAX && schema->tables[t]; t++)
		for (const struct config_option *o = schema->tables[t]; o->name; o++) {
			(void)fprintf(out, "| `%s` | ", o->name);
			for (const char *p = o->choices ? o->choices : type_names[o->type]; *p; p++)
				(void)fprintf(out, *p == '|' ? "\\|" : "%c", *p);
			(void)fprintf(out, " | %s%s%s | %s |\n", o->initial && *o->initial ? "`" : "",
				      !o->initial ? "required" : o->initial, o->initial && *o->initial ? "`" : "",
				      o->help);
		}
}
