#include "net/s3_secret.h"

#include "base/json.h"

#include <sodium.h>
#include <string.h>

#define FIELD_BYTES 2048

struct s3_secret {
	char access_key[FIELD_BYTES], secret_key[FIELD_BYTES], session_token[FIELD_BYTES];
};

/* Releases a JSON object whose strings are secret. */
static void wipe_decref(json_t **object)
{
	const char *name = NULL;
	json_t *value = NULL;
	json_object_foreach (*object, name, value) {
		const char *text = json_string_value(value);
		if (text)
			sodium_memzero((void *)(uintptr_t)text, strlen(text));
	}
	json_decref(*object);
}

static int copy_field(json_t *object, const char *name, bool needed, char ret[FIELD_BYTES], struct error *e)
{
	const char *text = json_string_value(json_object_get(object, name));
	if (!text && !needed)
		return 0;
	if (!text || !text[0] || strlen(text) >= FIELD_BYTES)
		return error_set(e, ERR_CORRUPT, "has no usable %s", name);
	memcpy(ret, text, strlen(text) + 1);
	return 0;
}

int s3_secret_parse(const char *text, size_t n, struct s3_secret **ret, struct error *e)
{
	_cleanup_(wipe_decref) json_t *object = NULL;
	_cleanup_(s3_secret_freep) struct s3_secret *s = NULL;
	struct error unquoted = {0};
	/* the parser's words would quote the text */
	if (json_parse(text, n, &object, &unquoted) < 0)
		return error_set(e, ERR_CORRUPT, "is not {\"access_key\", \"secret_key\"}");
	s = sodium_init() < 0 ? NULL : sodium_malloc(sizeof(*s));
	if (!s)
		return error_nomem(e);
	sodium_memzero(s, sizeof(*s));
	int r = copy_field(object, "access_key", true, s->access_key, e);
	if (r == 0)
		r = copy_field(object, "secret_key", true, s->secret_key, e);
	if (r == 0)
		r = copy_field(object, "session_token", false, s->session_token, e);
	if (r == 0)
		*ret = TAKE_PTR(s);
	return r;
}

void s3_secret_free(struct s3_secret *s)
{
	sodium_free(s);
}

struct s3_credentials s3_secret_credentials(const struct s3_secret *s)
{
	return (struct s3_credentials){s->access_key, s->secret_key, s->session_token[0] ? s->session_token : NULL};
}
