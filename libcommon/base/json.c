#include "base/json.h"

#include "base/uuid.h"

#include <string.h>

static void release(const struct json_field *f, void *into)
{
	void *at = (char *)into + f->offset;
	if (f->type == JSON_FIELD_STRING) {
		free(*(char **)at);
		*(char **)at = NULL;
	} else if (f->type == JSON_FIELD_OBJECT) {
		json_decref(*(json_t **)at);
		*(json_t **)at = NULL;
	}
}

void json_read_done(const struct json_field *table, void *into)
{
	for (const struct json_field *f = table; f->name; f++)
		release(f, into);
}

int json_parse(const char *text, size_t n, json_t **ret, struct error *e)
{
	if (n > JSON_TEXT_BYTES_MAX)
		return error_set(e, ERR_REJECT, "JSON is longer than %zu bytes", JSON_TEXT_BYTES_MAX);
	json_error_t je;
	json_t *j = json_loadb(text, n, JSON_REJECT_DUPLICATES, &je);
	if (!j)
		return error_set(e, ERR_REJECT, "not valid JSON at byte %d", je.position);
	if (!json_is_object(j)) {
		json_decref(j);
		return error_set(e, ERR_REJECT, "want a JSON object");
	}
	*ret = j;
	return 0;
}

static int read_string(const struct json_field *f, json_t *v, void *at, struct error *e)
{
	if (!json_is_string(v))
		return error_set(e, ERR_REJECT, "%s: want a string", f->name);
	size_t n = json_string_length(v);
	if (n < f->min || n > f->max)
		return error_set(e, ERR_REJECT, "%s: want %llu to %llu bytes, got %zu", f->name,
				 (unsigned long long)f->min, (unsigned long long)f->max, n);
	/* jansson refuses NUL in strings unless asked otherwise */
	*(char **)at = strdup(json_string_value(v));
	return *(char **)at ? 0 : error_nomem(e);
}

static int read_choice(const struct json_field *f, json_t *v, void *at, struct error *e)
{
	const char *text = json_string_value(v);
	for (const char *const *c = f->choices_list; text && *c; c++)
		if (strcmp(text, *c) == 0) {
			*(const char **)at = *c;
			return 0;
		}
	return error_set(e, ERR_REJECT, "%s: not one of the permitted values", f->name);
}

static int read_field(const struct json_field *f, json_t *v, void *into, struct error *e)
{
	void *at = (char *)into + f->offset;
	switch (f->type) {
	case JSON_FIELD_STRING:
		return read_string(f, v, at, e);
	case JSON_FIELD_CHOICE:
		return read_choice(f, v, at, e);
	case JSON_FIELD_UINT:
		if (!json_is_integer(v) || json_integer_value(v) < 0 || (uint64_t)json_integer_value(v) < f->min ||
		    (uint64_t)json_integer_value(v) > f->max)
			return error_set(e, ERR_REJECT, "%s: want a whole number from %llu to %llu", f->name,
					 (unsigned long long)f->min, (unsigned long long)f->max);
		*(uint64_t *)at = (uint64_t)json_integer_value(v);
		return 0;
	case JSON_FIELD_BOOL:
		if (!json_is_boolean(v))
			return error_set(e, ERR_REJECT, "%s: want true or false", f->name);
		*(bool *)at = json_is_true(v);
		return 0;
	case JSON_FIELD_UUID:
		if (!json_is_string(v) || !uuid_parse(json_string_value(v), at))
			return error_set(e, ERR_REJECT, "%s: want a UUID", f->name);
		return 0;
	case JSON_FIELD_OBJECT:
		if (!json_is_object(v))
			return error_set(e, ERR_REJECT, "%s: want an object", f->name);
		*(json_t **)at = json_incref(v);
		return 0;
	}
	return error_set(e, ERR_FATAL, "%s: no such field type", f->name);
}

static int refuse_unknown(json_t *object, const struct json_field *table, struct error *e)
{
	const char *key = NULL;
	json_t *value = NULL;
	json_object_foreach (object, key, value) {
		bool known = false;
		for (const struct json_field *f = table; f->name && !known; f++)
			known = strcmp(f->name, key) == 0;
		if (!known)
			return error_set(e, ERR_REJECT, "%.64s: no such field", key);
	}
	return 0;
}

int json_read(json_t *object, const struct json_field *table, bool allow_unknown, void *into, struct error *e)
{
	int r = allow_unknown ? 0 : refuse_unknown(object, table, e);
	for (const struct json_field *f = table; f->name && r == 0; f++) {
		json_t *v = json_object_get(object, f->name);
		if (!v || json_is_null(v)) {
			if (f->required)
				r = error_set(e, ERR_REJECT, "%s: required", f->name);
			continue;
		}
		r = read_field(f, v, into, e);
		if (r == 0 && f->seen_offset)
			*(bool *)((char *)into + f->seen_offset) = true;
	}
	if (r < 0)
		json_read_done(table, into);
	return r;
}
