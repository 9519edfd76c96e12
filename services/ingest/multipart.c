#include "multipart.h"

#include <assert.h>
#include <ctype.h>
#include <string.h>
#include <strings.h>

enum state {
	STATE_CONTENT, /* bytes of the preamble or of a part, up to the next delimiter */
	STATE_AFTER,   /* behind a delimiter: CRLF begins a part, "--" ends the body */
	STATE_HEAD,    /* a part's head, up to the empty line */
	STATE_END,     /* the epilogue: dropped */
	STATE_MAX
};

struct multipart {
	enum state state;
	const struct multipart_callbacks *callbacks;
	void *arg;
	char delimiter[4 + MULTIPART_BOUNDARY_CHARS + 1]; /* CRLF, "--", boundary */
	size_t delimiter_size;
	size_t matched; /* characters of the delimiter that the last bytes were */
	unsigned parts;
	bool in_file, had_file;
	struct multipart_file file;
	bool in_field, is_long;
	char name[MULTIPART_NAME_CHARS];
	char field[MULTIPART_FIELD_BYTES + 1];
	size_t field_size;
	char held[MULTIPART_HEAD_BYTES + 1]; /* a head, or the two characters behind a delimiter */
	size_t held_size;
};

bool multipart_is(const char *content_type)
{
	static const char type[] = "multipart/form-data";
	return content_type && strncasecmp(content_type, type, sizeof(type) - 1) == 0 &&
	       (content_type[sizeof(type) - 1] == ';' || content_type[sizeof(type) - 1] == ' ');
}

/* Reads a value at `p`, quoted or not, into `ret` (NULL: passes over it). Behind it, or NULL when it is too long. */
static const char *read_value(const char *p, char *ret, size_t room)
{
	bool is_quoted = *p == '"';
	size_t size = 0;
	p += is_quoted;
	while (*p && (is_quoted ? *p != '"' : *p != ';' && *p != ' ' && *p != '\t')) {
		if (is_quoted && *p == '\\' && p[1])
			p++;
		if (ret && size + 1 >= room)
			return NULL;
		if (ret)
			ret[size++] = *p;
		p++;
	}
	if (ret)
		ret[size] = '\0';
	return is_quoted && *p ? p + 1 : p;
}

bool multipart_parameter(const char *header, const char *name, char *ret, size_t room)
{
	size_t n = strlen(name);
	for (const char *p = header + strcspn(header, ";"); *p; p += strcspn(p, ";")) {
		p += 1 + strspn(p + 1, " \t");
		bool is_it = strncasecmp(p, name, n) == 0 && p[n] == '=';
		p += strcspn(p, "=;");
		if (is_it)
			return read_value(p + 1, ret, room) != NULL;
		if (*p == '=')
			p = read_value(p + 1, NULL, 0);
	}
	return false;
}

int multipart_new(const char *content_type, const struct multipart_callbacks *c, void *arg, struct multipart **ret,
		  struct error *e)
{
	static const char allowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789'()+_,-./:=? ";
	char boundary[MULTIPART_BOUNDARY_CHARS + 1];
	if (!multipart_is(content_type) || !multipart_parameter(content_type, "boundary", boundary, sizeof(boundary)) ||
	    !boundary[0] || strspn(boundary, allowed) != strlen(boundary))
		return error_set(e, ERR_REJECT, "multipart/form-data without a usable boundary");
	struct multipart *m = calloc(1, sizeof(*m));
	if (!m)
		return error_nomem(e);
	m->callbacks = c;
	m->arg = arg;
	m->delimiter_size = (size_t)snprintf(m->delimiter, sizeof(m->delimiter), "\r\n--%s", boundary);
	/* the first delimiter may stand at the very beginning, without a line end before it */
	m->matched = 2;
	*ret = m;
	return 0;
}

void multipart_free(struct multipart *m)
{
	free(m);
}

static int give(struct multipart *m, const void *data, size_t n, struct error *e)
{
	if (m->in_file)
		return n > 0 ? m->callbacks->on_bytes(m->arg, data, n, e) : 0;
	if (!m->in_field)
		return 0;
	m->is_long |= n > MULTIPART_FIELD_BYTES - m->field_size;
	if (!m->is_long) {
		memcpy(m->field + m->field_size, data, n);
		m->field_size += n;
	}
	return 0;
}

/* A delimiter came: the part before it is whole. */
static int part_end(struct multipart *m, struct error *e)
{
	bool is_whole = m->in_field && !m->is_long && !memchr(m->field, '\0', m->field_size);
	m->in_file = m->in_field = false;
	m->field[m->field_size] = '\0';
	return is_whole ? m->callbacks->on_field(m->arg, m->name, m->field, e) : 0;
}

/* One header line of a part's head. */
static void head_line(struct multipart *m, char *line, bool *is_file)
{
	static const char disposition[] = "content-disposition:";
	static const char type[] = "content-type:";
	if (strncasecmp(line, disposition, sizeof(disposition) - 1) == 0) {
		const char *value = line + sizeof(disposition) - 1;
		if (!multipart_parameter(value, "name", m->name, sizeof(m->name)))
			m->name[0] = '\0';
		*is_file = multipart_parameter(value, "filename", m->file.name, sizeof(m->file.name)) ||
			   strcasestr(value, "filename") || strcmp(m->name, "file") == 0;
	} else if (strncasecmp(line, type, sizeof(type) - 1) == 0) {
		const char *value = line + sizeof(type) - 1;
		value += strspn(value, " \t");
		(void)snprintf(m->file.type, sizeof(m->file.type), "%s", value);
	}
}

static int head_end(struct multipart *m, struct error *e)
{
	struct multipart_file before = m->file;
	bool is_file = false;
	char *save = NULL;
	m->name[0] = '\0';
	m->held[m->held_size] = '\0';
	for (char *line = strtok_r(m->held, "\r\n", &save); line; line = strtok_r(NULL, "\r\n", &save))
		head_line(m, line, &is_file);
	m->in_file = is_file && !m->had_file;
	m->had_file |= is_file;
	if (!m->in_file)
		m->file = before;
	m->in_field = !is_file && m->name[0];
	m->is_long = false;
	m->field_size = 0;
	m->held_size = 0;
	m->matched = 0;
	m->state = STATE_CONTENT;
	return m->in_file ? m->callbacks->on_file(m->arg, &m->file, e) : 0;
}

/* A delimiter has CR only as its first character, so after a mismatch what was held back cannot begin another one, but
 * the byte at hand can. Returns how many bytes were used. */
static int content(struct multipart *m, const uint8_t *p, size_t n, size_t *ret_used, struct error *e)
{
	size_t i = 0;
	while (i < n) {
		if (m->matched == 0) {
			const uint8_t *cr = memchr(p + i, '\r', n - i);
			size_t plain = cr ? (size_t)(cr - (p + i)) : n - i;
			int r = give(m, p + i, plain, e);
			if (r < 0)
				return r;
			i += plain;
			if (!cr)
				break;
			m->matched = 1;
			i++;
		} else if (p[i] == (uint8_t)m->delimiter[m->matched]) {
			i++;
			if (++m->matched < m->delimiter_size)
				continue;
			m->matched = 0;
			m->held_size = 0;
			m->state = STATE_AFTER;
			*ret_used = i;
			return part_end(m, e);
		} else {
			int r = give(m, m->delimiter, m->matched, e);
			if (r < 0)
				return r;
			m->matched = 0;
		}
	}
	*ret_used = i;
	return 0;
}

/* White space may stand between a delimiter and its line end. */
static int after(struct multipart *m, uint8_t c, struct error *e)
{
	if (m->held_size == 0 && (c == ' ' || c == '\t'))
		return 0;
	m->held[m->held_size++] = (char)c;
	if (m->held_size < 2)
		return 0;
	m->held_size = 0;
	if (m->held[0] == '-' && m->held[1] == '-') {
		m->state = STATE_END;
		return 0;
	}
	if (m->held[0] != '\r' || m->held[1] != '\n')
		return error_set(e, ERR_REJECT, "a multipart delimiter has no line end");
	if (++m->parts > MULTIPART_PARTS_MAX)
		return error_set(e, ERR_REJECT, "more than %d multipart parts", MULTIPART_PARTS_MAX);
	m->state = STATE_HEAD;
	return 0;
}

static int head(struct multipart *m, uint8_t c, struct error *e)
{
	if (m->held_size == MULTIPART_HEAD_BYTES || c == '\0')
		return error_set(e, ERR_REJECT, "the head of a multipart part is malformed or over %d bytes",
				 MULTIPART_HEAD_BYTES);
	m->held[m->held_size++] = (char)c;
	bool is_empty = m->held_size == 2 && memcmp(m->held, "\r\n", 2) == 0;
	if (is_empty || (m->held_size >= 4 && memcmp(m->held + m->held_size - 4, "\r\n\r\n", 4) == 0))
		return head_end(m, e);
	return 0;
}

int multipart_feed(struct multipart *m, const void *data, size_t n, struct error *e)
{
	const uint8_t *p = data;
	for (size_t i = 0; i < n && m->state != STATE_END;) {
		size_t used = 1;
		int r;
		if (m->state == STATE_CONTENT)
			r = content(m, p + i, n - i, &used, e);
		else if (m->state == STATE_AFTER)
			r = after(m, p[i], e);
		else
			r = head(m, p[i], e);
		if (r < 0)
			return r;
		i += used;
	}
	return 0;
}

int multipart_finish(struct multipart *m, struct error *e)
{
	if (m->state != STATE_END)
		return error_set(e, ERR_REJECT, "the multipart body ends without its closing delimiter");
	if (!m->had_file)
		return error_set(e, ERR_REJECT, "the multipart body holds no file");
	return 0;
}
