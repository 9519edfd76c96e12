#include "page.h"

#include "call.h"
#include "sessions.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#define FILE_BYTES_MAX ((size_t)256 * 1024)
#define VERSION_CHARS  8
#define HOLE	       "{{version}}"

static const struct {
	const char *name, *type;
} assets[] = {
    {"recorder.css", "text/css; charset=utf-8"},
    {"recorder.js", "text/javascript; charset=utf-8"},
    {"capture.js", "text/javascript; charset=utf-8"},
    {"store.js", "text/javascript; charset=utf-8"},
    {"stream.js", "text/javascript; charset=utf-8"},
    {"crc32.js", "text/javascript; charset=utf-8"},
    {"icon.svg", "image/svg+xml"},
};

struct page {
	struct buffer index; /* the version filled in */
	struct buffer files[ARRAY_SIZE(assets)];
	char version[VERSION_CHARS + 1];
	char *policy; /* Content-Security-Policy */
};

/* Indentation is for who reads the source: it is not sent. Nothing in these files means anything by it. */
static void drop_indentation(struct buffer *b)
{
	size_t kept = 0;
	bool at_line = true;
	for (size_t i = 0; i < b->size; i++) {
		at_line = at_line && b->data[i] == '\t';
		if (!at_line)
			b->data[kept++] = b->data[i];
		at_line = at_line || b->data[i] == '\n';
	}
	b->size = kept;
}

static int read_file(const char *folder, const char *name, struct buffer *into, struct error *e)
{
	_cleanup_(freep) char *path = NULL;
	_cleanup_(closep) int fd = -1;
	if (asprintf(&path, "%s/%s", folder, name) < 0)
		return error_nomem(e);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return error_set_errno(e, ERR_FATAL, errno, "cannot open %s of the recorder page", path);
	buffer_init(into, FILE_BYTES_MAX);
	for (;;) {
		int r = buffer_reserve(into, 4096);
		if (r < 0)
			return error_set(e, ERR_FATAL, "%s is larger than %zu bytes", path, FILE_BYTES_MAX);
		ssize_t n = read(fd, into->data + into->size, 4096);
		if (n < 0)
			return error_set_errno(e, ERR_FATAL, errno, "cannot read %s", path);
		if (n == 0) {
			drop_indentation(into);
			return 0;
		}
		into->size += (size_t)n;
	}
}

static int fill_index(struct page *p, const struct buffer *template, struct error *e)
{
	const char *at = template->data;
	const char *end = at + template->size;
	buffer_init(&p->index, FILE_BYTES_MAX);
	while (at < end) {
		const char *hole = memmem(at, (size_t)(end - at), HOLE, strlen(HOLE));
		if (buffer_append(&p->index, at, (size_t)((hole ? hole : end) - at)) < 0 ||
		    (hole && buffer_append_string(&p->index, p->version) < 0))
			return error_nomem(e);
		at = hole ? hole + strlen(HOLE) : end;
	}
	return 0;
}

static int load(struct page *p, const char *folder, struct error *e)
{
	struct buffer template = {0};
	_cleanup_(sha256_freep) struct sha256 *hash = NULL;
	uint8_t digest[SHA256_BYTES];
	char text[SHA256_TEXT_BYTES];
	int r = sha256_new(&hash, e);
	if (r == 0)
		r = read_file(folder, "index.html", &template, e);
	for (size_t i = 0; i < ARRAY_SIZE(assets) && r == 0; i++) {
		r = read_file(folder, assets[i].name, &p->files[i], e);
		if (r == 0)
			sha256_update(hash, p->files[i].data, p->files[i].size);
	}
	if (r == 0) {
		sha256_finish(hash, digest);
		sha256_format(digest, text);
		memcpy(p->version, text, VERSION_CHARS);
		r = fill_index(p, &template, e);
	}
	buffer_done(&template);
	return r;
}

/* Nothing inline, nothing from elsewhere; takes are played from the page's own blobs. */
static int make_policy(struct page *p, const char *ingest_url, struct error *e)
{
	if (strpbrk(ingest_url, " ;,'\"\r\n") || strncmp(ingest_url, "wss://", 6) != 0)
		return error_set(e, ERR_FATAL, "RUSHES_INGEST_URL: want an address that begins with wss://");
	if (asprintf(&p->policy,
		     "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; media-src blob:; "
		     "connect-src 'self' %s https%s; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
		     "require-trusted-types-for 'script'; trusted-types 'none'",
		     ingest_url, ingest_url + strlen("wss")) < 0) {
		p->policy = NULL;
		return error_nomem(e);
	}
	return 0;
}

int page_new(const char *folder, const char *ingest_url, struct page **ret, struct error *e)
{
	struct page *p = calloc(1, sizeof(*p));
	if (!p)
		return error_nomem(e);
	int r = load(p, folder, e);
	if (r == 0)
		r = make_policy(p, ingest_url, e);
	if (r < 0)
		page_free(p);
	else
		*ret = p;
	return r;
}

void page_free(struct page *p)
{
	if (!p)
		return;
	buffer_done(&p->index);
	for (size_t i = 0; i < ARRAY_SIZE(assets); i++)
		buffer_done(&p->files[i]);
	free(p->policy);
	free(p);
}

const char *page_version(const struct page *p)
{
	return p->version;
}

static int page_read(struct call *c, struct error *e)
{
	int r = session_read_code(c, c->input, e);
	if (r != ERR_NOTFOUND)
		return r;
	*e = (struct error){0};
	c->status = 404;
	return 0;
}

/* The verdict is the status alone: the page is shown for every one, and asks for the words itself. A page that was
 * loaded before may still have a take to send. */
static int page_work(struct call *c, struct db *d, struct error *e)
{
	struct link_view v = {0};
	if (c->status == 404)
		return 0;
	int r = link_resolve(d, c->input, &v, e);
	if (r < 0 && r != ERR_NOTFOUND)
		return r;
	if (r == ERR_NOTFOUND)
		(void)session_refuse_unknown(c);
	else
		r = session_refuse(c, v.verdict);
	link_view_done(&v);
	c->refusal = NULL;
	c->error = (struct error){0};
	return r == ERR_NOTFOUND ? 0 : r;
}

static void page_answer(struct call *c)
{
	static const char *const headers[][2] = {
	    {"Permissions-Policy", "display-capture=(self), camera=(self), microphone=(self), screen-wake-lock=(self), "
				   "geolocation=(), payment=(), usb=()"},
	    {"Cross-Origin-Opener-Policy", "same-origin"},
	    {"Cross-Origin-Resource-Policy", "same-origin"},
	    {"X-Robots-Tag", "noindex, nofollow"},
	};
	const struct page *p = c->app->page;
	(void)http_response_security_headers(c->request, p->policy);
	for (size_t i = 0; i < ARRAY_SIZE(headers); i++)
		(void)http_response_header(c->request, headers[i][0], headers[i][1]);
	(void)http_respond(c->request, c->status, "text/html; charset=utf-8", p->index.data, p->index.size);
}

void page_get(struct http_request *r, void *arg)
{
	static const struct call_kind kind = {
	    .operation = "page",
	    .limit = LIMIT_PAGE,
	    .input_bytes = HMAC_BYTES,
	    .read = page_read,
	    .work = page_work,
	    .answer = page_answer,
	};
	call_begin(r, arg, &kind);
}

void page_asset_get(struct http_request *r, void *arg)
{
	const struct linkgen *l = arg;
	const struct page *p = l->page;
	const char *name = http_request_parameter(r, "name");
	const char *version = http_request_parameter(r, "version");
	bool current = version && strcmp(version, p->version) == 0;
	for (size_t i = 0; name && i < ARRAY_SIZE(assets); i++) {
		if (strcmp(name, assets[i].name) != 0)
			continue;
		(void)http_response_header(r, "Content-Security-Policy", "default-src 'none'");
		(void)http_response_header(r, "X-Content-Type-Options", "nosniff");
		(void)http_response_header(r, "Cross-Origin-Resource-Policy", "same-origin");
		/* a page of another version is being replaced: what it gets now is not what its address says */
		(void)http_response_header(r, "Cache-Control",
					   current ? "public, max-age=31536000, immutable" : "no-store");
		(void)http_respond(r, 200, assets[i].type, p->files[i].data, p->files[i].size);
		return;
	}
	(void)http_response_security_headers(r, NULL);
	(void)http_respond_problem(r, 404, "not-found", "there is no such file");
}
