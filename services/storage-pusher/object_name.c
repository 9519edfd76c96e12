#include "object_name.h"

#include <ctype.h>
#include <string.h>
#include <strings.h>

/* What recorders and phones send. */
static const struct {
	const char *type;
	const char *extension;
} raw_types[] = {
    {"video/webm", "webm"},	 {"audio/webm", "weba"},     {"video/mp4", "mp4"},  {"audio/mp4", "m4a"},
    {"video/x-matroska", "mkv"}, {"video/matroska", "mkv"},  {"video/ogg", "ogv"},  {"audio/ogg", "ogg"},
    {"video/quicktime", "mov"},	 {"video/x-msvideo", "avi"}, {"video/mpeg", "mpg"},
};

static bool is_one_of(const char *text, size_t n, const char *extra)
{
	for (size_t i = 0; i < n; i++)
		if (!isalnum((unsigned char)text[i]) && !strchr(extra, text[i]))
			return false;
	return n > 0;
}

/* Index in raw_types of a type with or without parameters, or -1. */
static int find_type(const char *mime)
{
	size_t n = mime ? strcspn(mime, "; \t") : 0;
	for (size_t i = 0; i < ARRAY_SIZE(raw_types); i++)
		if (strlen(raw_types[i].type) == n && strncasecmp(mime, raw_types[i].type, n) == 0)
			return (int)i;
	return -1;
}

static bool is_date(const char *text)
{
	static const char form[] = "dddd-dd-ddT";
	for (size_t i = 0; form[i]; i++)
		if (form[i] == 'd' ? !isdigit((unsigned char)text[i]) : text[i] != form[i])
			return false;
	return true;
}

/* The last part of the name; NULL for a kind that is none. */
static const char *file_name(const struct object_facts *f, char room[32])
{
	int type = find_type(f->mime);
	bool untouched = strcmp(f->file_kind, "raw") == 0 || (strcmp(f->file_kind, "main") == 0 && !f->is_converted);
	if (strcmp(f->file_kind, "snapshot") == 0 || strcmp(f->file_kind, "filmstrip") == 0)
		(void)snprintf(room, 32, "%s.jpg", f->file_kind);
	else if (untouched)
		(void)snprintf(room, 32, "%s.%s", f->file_kind, type < 0 ? "bin" : raw_types[type].extension);
	else if (strcmp(f->file_kind, "main") == 0)
		(void)snprintf(room, 32, "main.mp4");
	else
		return NULL;
	return room;
}

int object_name(const struct object_facts *f, char ret[OBJECT_NAME_BYTES], struct error *e)
{
	char room[32];
	const char *file = file_name(f, room);
	if (!file)
		return error_set(e, ERR_REJECT, "there is no kind of file %.16s", f->file_kind);
	if (!is_date(f->opened_at) || strlen(f->recording) != 36 || !is_one_of(f->recording, 36, "-") ||
	    strlen(f->account_hash) > 64 || !is_one_of(f->account_hash, strlen(f->account_hash), "-_"))
		return error_set(e, ERR_REJECT, "account hash, recording or date make no name");
	int n = snprintf(ret, OBJECT_NAME_BYTES, "%s/%.4s/%.2s/%.2s/%s/%s", f->account_hash, f->opened_at,
			 f->opened_at + 5, f->opened_at + 8, f->recording, file);
	return n < OBJECT_NAME_BYTES ? 0 : error_set(e, ERR_REJECT, "the name is too long");
}

void object_content_type(const struct object_facts *f, char ret[OBJECT_TYPE_BYTES])
{
	char room[32];
	const char *file = file_name(f, room);
	const char *type = "application/octet-stream";
	int raw = find_type(f->mime);
	if (file && strcmp(file, "main.mp4") == 0)
		type = "video/mp4";
	else if (file && strstr(file, ".jpg"))
		type = "image/jpeg";
	else if (file && raw >= 0)
		type = raw_types[raw].type;
	(void)snprintf(ret, OBJECT_TYPE_BYTES, "%s", type);
}

int object_temporary(const char *name, const char *copy, char ret[OBJECT_NAME_BYTES], struct error *e)
{
	const char *slash = strrchr(name, '/');
	int folder = slash ? (int)(slash - name) + 1 : 0;
	int n = snprintf(ret, OBJECT_NAME_BYTES, "%.*s.%s.%s.part", folder, name, name + folder, copy);
	return n < OBJECT_NAME_BYTES ? 0 : error_set(e, ERR_REJECT, "the name is too long");
}
