#include "tus_field.h"

#include "net/http_parse.h"

#include <string.h>

/* 18 digits cannot overflow 64 bits. */
#define NUMBER_DIGITS_MAX 18

bool tus_number_read(const char *text, uint64_t *ret)
{
	size_t n = strspn(text, "0123456789");
	if (n == 0 || n > NUMBER_DIGITS_MAX || text[n] != '\0')
		return false;
	*ret = strtoull(text, NULL, 10);
	return true;
}

int tus_checksum_read(const char *text, struct checksum_value *ret, struct error *e)
{
	static const struct {
		const char *name;
		enum checksum_kind kind;
	} algorithms[] = {{"sha1", CHECKSUM_SHA1}, {"sha256", CHECKSUM_SHA256}, {"crc32", CHECKSUM_CRC32}};
	size_t n = strcspn(text, " ");
	if (n == 0 || text[n] != ' ')
		return error_set(e, ERR_REJECT, "Upload-Checksum is an algorithm, a space and base64");
	for (size_t a = 0; a < ARRAY_SIZE(algorithms); a++) {
		if (strlen(algorithms[a].name) != n || memcmp(algorithms[a].name, text, n) != 0)
			continue;
		if (!checksum_decode(text + n + 1, strlen(text + n + 1), algorithms[a].kind, ret))
			return error_set(e, ERR_REJECT, "the checksum has a wrong length or is no base64");
		return 0;
	}
	return error_set(e, ERR_NOTFOUND, "checksums are taken by %s", TUS_CHECKSUM_ALGORITHMS);
}

struct pair {
	const char *key, *value; /* into the header */
	size_t key_n, value_n;
};

static bool is_key(const struct pair *p, const char *name)
{
	return strlen(name) == p->key_n && memcmp(name, p->key, p->key_n) == 0;
}

/* Reads the pair at `p`, which ends at a comma or the header's end. */
static bool read_pair(const char *p, size_t n, struct pair *ret)
{
	const char *space = memchr(p, ' ', n);
	*ret = (struct pair){.key = p, .key_n = space ? (size_t)(space - p) : n, .value = p + n};
	if (space) {
		ret->value = space + 1;
		ret->value_n = n - ret->key_n - 1;
	}
	for (size_t i = 0; i < ret->key_n; i++)
		if ((unsigned char)p[i] <= 0x20 || (unsigned char)p[i] >= 0x7f)
			return false;
	return ret->key_n > 0;
}

/* The decoded value, ended by a NUL; `*ret_text` is false for what is no text. */
static char *decode(const struct pair *p, bool *ret_text, struct error *e)
{
	char *value = calloc(1, p->value_n + 1);
	if (!value) {
		(void)!error_nomem(e);
		return NULL;
	}
	size_t size = 0;
	if (!base64_read(p->value, p->value_n, (uint8_t *)value, p->value_n, &size)) {
		free(value);
		(void)!error_set(e, ERR_REJECT, "a value of Upload-Metadata is no base64");
		return NULL;
	}
	*ret_text = size > 0 && http_utf8_valid(value, size);
	for (size_t i = 0; i < size; i++)
		if ((unsigned char)value[i] < 0x20 || value[i] == 0x7f)
			*ret_text = false;
	return value;
}

static int take(const struct pair *p, struct tus_metadata *m, struct error *e)
{
	bool is_text = false;
	_cleanup_(freep) char *value = decode(p, &is_text, e);
	if (!value)
		return e->code;
	char **place = NULL;
	if (is_key(p, "filename") || (is_key(p, "name") && !m->file_name))
		place = &m->file_name;
	else if (is_key(p, "filetype") || (is_key(p, "type") && !m->file_type))
		place = &m->file_type;
	if (!place || !is_text)
		return 0;
	free(*place);
	*place = TAKE_PTR(value);
	return 0;
}

int tus_metadata_read(const char *text, struct tus_metadata *ret, struct error *e)
{
	struct pair pairs[TUS_METADATA_KEYS_MAX];
	unsigned n_pairs = 0;
	struct error why = {0};
	*ret = (struct tus_metadata){0};
	int r = strlen(text) > TUS_METADATA_BYTES_MAX
		    ? error_set(&why, ERR_REJECT, "Upload-Metadata has over %d bytes", TUS_METADATA_BYTES_MAX)
		    : 0;
	for (const char *p = text; r == 0 && p;) {
		p += strspn(p, " \t");
		size_t n = strcspn(p, ",");
		struct pair *pair = &pairs[n_pairs];
		if (n_pairs == TUS_METADATA_KEYS_MAX || !read_pair(p, n, pair))
			r = error_set(&why, ERR_REJECT, "Upload-Metadata is a list of at most %d keys and values",
				      TUS_METADATA_KEYS_MAX);
		for (unsigned i = 0; r == 0 && i < n_pairs; i++)
			if (pairs[i].key_n == pair->key_n && memcmp(pairs[i].key, pair->key, pair->key_n) == 0)
				r = error_set(&why, ERR_REJECT, "a key of Upload-Metadata is repeated");
		if (r == 0)
			r = take(pair, ret, &why);
		n_pairs++;
		p = p[n] == ',' ? p + n + 1 : NULL;
	}
	if (r < 0) {
		tus_metadata_done(ret);
		return error_set(e, r, "%s", why.text);
	}
	return 0;
}

void tus_metadata_done(struct tus_metadata *m)
{
	free(m->file_name);
	free(m->file_type);
	*m = (struct tus_metadata){0};
}
