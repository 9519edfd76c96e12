#include "digest_field.h"

#include <string.h>

static const struct {
	const char *name;
	enum checksum_kind kind;
} checked[DIGEST_FIELD_MAX] = {{"sha-256", CHECKSUM_SHA256}, {"sha-512", CHECKSUM_SHA512}};

#define LOWER  "abcdefghijklmnopqrstuvwxyz"
#define DIGITS "0123456789"
#define BASE64 "ABCDEFGHIJKLMNOPQRSTUVWXYZ" LOWER DIGITS "+/="
/* What tokens, numbers, booleans and dates are made of. */
#define BARE "ABCDEFGHIJKLMNOPQRSTUVWXYZ" LOWER DIGITS "!#$%&'*+-./:?@^_`|~"

static size_t key_length(const char *p)
{
	return strspn(p, LOWER "*") > 0 ? strspn(p, LOWER DIGITS "_-.*") : 0;
}

/* Behind a quoted string whose first quote `p` is at; NULL when it does not end. */
static const char *string_end(const char *p)
{
	for (p++; *p && *p != '"'; p++)
		if (*p == '\\' && *++p != '"' && *p != '\\')
			return NULL;
	return *p ? p + 1 : NULL;
}

/* Behind `;key` and `;key=value`: parameters change nothing here. NULL: malformed. */
static const char *parameters_end(const char *p)
{
	while (*p == ';') {
		p++;
		p += strspn(p, " ");
		size_t key = key_length(p);
		if (key == 0)
			return NULL;
		p += key;
		if (*p != '=')
			continue;
		p++;
		size_t bare = strspn(p, BARE "=");
		if (*p != '"' && bare == 0)
			return NULL;
		p = *p == '"' ? string_end(p) : p + bare;
		if (!p)
			return NULL;
	}
	return p;
}

static int put(const char *key, size_t key_n, const char *value, size_t n, struct checksum_value *ret, unsigned *ret_n,
	       struct error *e)
{
	for (size_t a = 0; a < ARRAY_SIZE(checked); a++) {
		struct checksum_value v;
		if (strlen(checked[a].name) != key_n || memcmp(checked[a].name, key, key_n) != 0)
			continue;
		if (!checksum_decode(value, n, checked[a].kind, &v))
			return error_set(e, ERR_REJECT, "the digest %s has a wrong length or is no base64",
					 checked[a].name);
		unsigned at = 0;
		while (at < *ret_n && ret[at].kind != v.kind)
			at++;
		*ret_n += at == *ret_n;
		ret[at] = v;
	}
	return 0;
}

int digest_field_read(const char *text, struct checksum_value ret[DIGEST_FIELD_MAX], unsigned *ret_n, struct error *e)
{
	const char *p = text + strspn(text, " ");
	*ret_n = 0;
	while (p && *p) {
		const char *key = p;
		size_t key_n = key_length(p);
		if (key_n == 0 || p[key_n] != '=' || p[key_n + 1] != ':')
			break;
		const char *value = p + key_n + 2;
		size_t n = strspn(value, BASE64);
		if (value[n] != ':')
			break;
		int r = put(key, key_n, value, n, ret, ret_n, e);
		if (r < 0)
			return r;
		p = parameters_end(value + n + 1);
		if (!p)
			break;
		p += strspn(p, " \t");
		if (*p == '\0')
			return 0;
		if (*p != ',')
			break;
		p++;
		p += strspn(p, " \t");
	}
	return error_set(e, ERR_REJECT, "a digest header is no dictionary of byte sequences");
}
