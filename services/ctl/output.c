#include "output.h"

#include "base/buffer.h"

#include <string.h>

#define CELL_BYTES_MAX ((size_t)4096)

static const json_t *find(const json_t *row, const char *key)
{
	const char *dot = strchr(key, '.');
	if (!dot)
		return json_object_get(row, key);
	char head[64];
	(void)snprintf(head, sizeof(head), "%.*s", (int)(dot - key), key);
	return find(json_object_get(row, head), dot + 1);
}

/* A terminal must not obey what came from outside: C0, DEL and, as UTF-8, C1. */
static void tame(char *text)
{
	for (char *p = text; *p; p++) {
		if ((uint8_t)p[0] == 0xc2 && ((uint8_t)p[1] & 0xe0) == 0x80)
			p[0] = p[1] = '?';
		else if ((uint8_t)*p < 0x20 || *p == 0x7f)
			*p = '?';
	}
}

static void append_size(struct buffer *b, json_int_t bytes)
{
	static const char *const units[] = {"KiB", "MiB", "GiB", "TiB"};
	if (bytes < 1024) {
		(void)!buffer_printf(b, "%lld B", (long long)bytes);
		return;
	}
	double value = (double)bytes / 1024;
	size_t unit = 0;
	for (; value >= 1024 && unit + 1 < ARRAY_SIZE(units); unit++)
		value /= 1024;
	(void)!buffer_printf(b, "%.1f %s", value, units[unit]);
}

/* "2026-11-22T01:44:01.123456+00:00" → "2026-11-22 01:44:01" */
static void append_time(struct buffer *b, const char *text)
{
	if (strlen(text) >= 19 && text[10] == 'T')
		(void)!buffer_printf(b, "%.10s %.8s", text, text + 11);
	else
		(void)!buffer_append_string(b, text);
}

/* Media to the hundredth of a second, windows in the units that people set them in. */
static void append_duration(struct buffer *b, double seconds)
{
	if (seconds < 120) {
		(void)!buffer_printf(b, "%.2f s", seconds);
		return;
	}
	const long long s = (long long)(seconds + 0.5);
	const long long parts[] = {s / 86400, s / 3600 % 24, s / 60 % 60, s % 60};
	static const char *const units[] = {"d", "h", "m", "s"};
	bool first = true;
	for (size_t i = 0; i < ARRAY_SIZE(parts); i++)
		if (parts[i] > 0) {
			(void)!buffer_printf(b, "%s%lld%s", first ? "" : " ", parts[i], units[i]);
			first = false;
		}
}

static void append_list(struct buffer *b, const json_t *list)
{
	size_t i = 0;
	const json_t *item = NULL;
	json_array_foreach (list, i, item) {
		_cleanup_(freep) char *text = json_is_string(item) ? strdup(json_string_value(item))
								   : json_dumps(item, JSON_COMPACT | JSON_ENCODE_ANY);
		(void)!buffer_printf(b, "%s%s", i ? ", " : "", text ? text : "");
	}
	if (i == 0)
		(void)!buffer_append_string(b, "-");
}

char *output_cell(const struct column *c, const json_t *row)
{
	const json_t *v = find(row, c->key);
	struct buffer b;
	buffer_init(&b, CELL_BYTES_MAX);
	if (!v || json_is_null(v)) {
		(void)!buffer_append_string(&b, "-");
	} else if (json_is_string(v) && c->type == COLUMN_TIME) {
		append_time(&b, json_string_value(v));
	} else if (json_is_string(v)) {
		(void)!buffer_append_string(&b, json_string_value(v));
	} else if (json_is_boolean(v)) {
		(void)!buffer_append_string(&b, json_is_true(v) ? "yes" : "no");
	} else if (json_is_integer(v) && c->type == COLUMN_SIZE) {
		append_size(&b, json_integer_value(v));
	} else if (json_is_number(v) && c->type == COLUMN_DURATION) {
		append_duration(&b, json_number_value(v));
	} else if (json_is_array(v)) {
		append_list(&b, v);
	} else {
		_cleanup_(freep) char *text = json_dumps(v, JSON_COMPACT | JSON_ENCODE_ANY | JSON_REAL_PRECISION(6));
		(void)!buffer_append_string(&b, text ? text : "");
	}
	char *text = b.data ? buffer_take(&b) : strdup("");
	if (text)
		tame(text);
	buffer_done(&b);
	return text;
}

/* Characters, not bytes: continuation bytes of UTF-8 take no place. */
static int width_of(const char *text)
{
	int n = 0;
	for (; text && *text; text++)
		n += (*text & '\xc0') != '\x80';
	return n;
}

static bool is_right(enum column_type t)
{
	return t == COLUMN_SIZE || t == COLUMN_NUMBER || t == COLUMN_DURATION;
}

static void print_cell(const struct column *c, const char *text, int width, bool last, FILE *out)
{
	int pad = width - width_of(text);
	bool right = is_right(c->type);
	(void)fprintf(out, "%*s%s%*s", right ? pad : 0, "", text ? text : "", right || last ? 0 : pad, "");
	(void)fputs(last ? "\n" : "  ", out);
}

#define COLUMNS_MAX 16

void output_table(const struct column *columns, const json_t *rows, const char *none, FILE *out)
{
	int widths[COLUMNS_MAX] = {0};
	size_t n = 0;
	size_t n_rows = json_array_size(rows);
	if (n_rows == 0) {
		(void)fprintf(out, "%s\n", none);
		return;
	}
	while (n < COLUMNS_MAX && columns[n].title)
		n++;
	char **cells = calloc(n_rows * n, sizeof(*cells));
	if (!cells)
		return;
	for (size_t c = 0; c < n; c++) {
		widths[c] = width_of(columns[c].title);
		for (size_t row = 0; row < n_rows; row++) {
			char *text = cells[row * n + c] = output_cell(&columns[c], json_array_get(rows, row));
			widths[c] = MAX(widths[c], width_of(text));
		}
	}
	for (size_t c = 0; c < n; c++)
		print_cell(&columns[c], columns[c].title, widths[c], c + 1 == n, out);
	for (size_t i = 0; i < n_rows * n; i++) {
		print_cell(&columns[i % n], cells[i], widths[i % n], i % n + 1 == n, out);
		free(cells[i]);
	}
	free(cells);
}

void output_record(const struct column *columns, const json_t *object, FILE *out)
{
	int width = 0;
	for (const struct column *c = columns; c->title; c++)
		width = MAX(width, width_of(c->title));
	for (const struct column *c = columns; c->title; c++) {
		_cleanup_(freep) char *text = output_cell(c, object);
		(void)fprintf(out, "%s%*s  %s\n", c->title, width - width_of(c->title), "", text ? text : "");
	}
}

void output_json(const json_t *value, FILE *out)
{
	(void)json_dumpf(value, out, JSON_INDENT(2) | JSON_ENCODE_ANY | JSON_REAL_PRECISION(15));
	(void)fputc('\n', out);
}
