#include "child_protocol.h"

#include <errno.h>
#include <string.h>

static const char *const TYPES[] = {
    [CHILD_PROGRESS] = "progress", [CHILD_DONE] = "done", [CHILD_FAILED] = "failed", NULL};

struct raw_message {
	const char *type;
	json_t *facts;
	uint64_t class;
	char *text;
	uint64_t milliseconds, permille;
};

static const struct json_field FIELDS[] = {
    {.name = "type",
     .type = JSON_FIELD_CHOICE,
     .required = true,
     .choices_list = TYPES,
     .offset = offsetof(struct raw_message, type)},
    {.name = "facts", .type = JSON_FIELD_OBJECT, .offset = offsetof(struct raw_message, facts)},
    {.name = "class", .type = JSON_FIELD_UINT, .max = 16, .offset = offsetof(struct raw_message, class)},
    {.name = "text", .type = JSON_FIELD_STRING, .max = ERROR_TEXT_BYTES, .offset = offsetof(struct raw_message, text)},
    {.name = "milliseconds",
     .type = JSON_FIELD_UINT,
     .max = (uint64_t)1 << 40,
     .offset = offsetof(struct raw_message, milliseconds)},
    {.name = "permille", .type = JSON_FIELD_UINT, .max = 1000, .offset = offsetof(struct raw_message, permille)},
    {0},
};

static json_t *message_to_json(const struct child_message *m)
{
	switch (m->type) {
	case CHILD_PROGRESS:
		return json_pack("{s:s, s:I, s:I}", "type", TYPES[m->type], "milliseconds",
				 (json_int_t)(m->seconds * 1000), "permille", (json_int_t)(m->fraction * 1000));
	case CHILD_DONE:
		return json_pack("{s:s, s:o}", "type", TYPES[m->type], "facts", facts_to_json(&m->facts));
	case CHILD_FAILED:
		return json_pack("{s:s, s:i, s:s}", "type", TYPES[m->type], "class", -m->error.code, "text",
				 m->error.text);
	}
	return NULL;
}

int child_message_send(int fd, const struct child_message *m, struct error *e)
{
	json_t *o = message_to_json(m);
	_cleanup_(freep) char *text = o ? json_dumps(o, JSON_COMPACT | JSON_REAL_PRECISION(9)) : NULL;
	json_decref(o);
	if (!text)
		return error_nomem(e);
	size_t n = strlen(text);
	ssize_t put;
	do
		put = write(fd, text, n);
	while (put < 0 && errno == EINTR);
	if (put != (ssize_t)n)
		return error_set_errno(e, ERR_RETRY, errno, "cannot report to the service");
	return 0;
}

/* The classes by which a conversion may end; whatever else is said counts as a failed try. */
static int class_of(uint64_t class)
{
	int code = -(int)class;
	return code == ERR_REJECT || code == ERR_CORRUPT || code == ERR_FULL || code == ERR_NOMEM ? code : ERR_RETRY;
}

int child_message_parse(const char *text, size_t n, struct child_message *ret, struct error *e)
{
	struct raw_message raw = {0};
	json_t *o = NULL;
	*ret = (struct child_message){0};
	if (n > CHILD_MESSAGE_BYTES_MAX)
		return error_set(e, ERR_REJECT, "a message of %zu bytes", n);
	int r = json_parse(text, n, &o, e);
	if (r < 0)
		return r;
	r = json_read(o, FIELDS, false, &raw, e);
	json_decref(o);
	if (r < 0)
		return r;
	while (raw.type != TYPES[ret->type] && strcmp(raw.type, TYPES[ret->type]) != 0)
		ret->type++;
	ret->seconds = (double)raw.milliseconds / 1000;
	ret->fraction = (double)raw.permille / 1000;
	if (ret->type == CHILD_DONE)
		r = raw.facts ? facts_from_json(raw.facts, &ret->facts, e)
			      : error_set(e, ERR_REJECT, "a message without facts");
	else if (ret->type == CHILD_FAILED)
		(void)error_set(&ret->error, class_of(raw.class), "%s", raw.text ? raw.text : "no reason given");
	json_read_done(FIELDS, &raw);
	return r;
}
