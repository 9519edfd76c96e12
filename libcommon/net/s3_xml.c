#include "net/s3_xml.h"

#include <expat.h>
#include <string.h>

#define PATH_BYTES_MAX 256

/* One answer being read. The root element is not part of the path: "Upload/Key". */
struct xml_reader {
	XML_Parser parser;
	char root[64];
	char path[PATH_BYTES_MAX];
	unsigned depth;
	char text[S3_XML_TEXT_MAX];
	size_t text_n;
	/* At the end of each element inside the root. Negative ends the reading. */
	int (*element)(struct xml_reader *x, const char *path, const char *text);
	void *arg;
	struct error *e;
	int result;
};

static void stop(struct xml_reader *x, int code)
{
	x->result = code;
	(void)XML_StopParser(x->parser, XML_FALSE);
}

static void on_start(void *arg, const char *name, const char **attributes _unused_)
{
	struct xml_reader *x = arg;
	size_t n = strlen(name), used = strlen(x->path);
	x->text_n = 0;
	if (x->depth++ == 0) {
		(void)snprintf(x->root, sizeof x->root, "%s", name);
		return;
	}
	if (x->depth > S3_XML_DEPTH_MAX || used + n + 2 > sizeof x->path) {
		stop(x, error_set(x->e, ERR_CORRUPT, "the answer is nested too deeply"));
		return;
	}
	if (used > 0)
		x->path[used++] = '/';
	memcpy(x->path + used, name, n + 1);
}

static void on_end(void *arg, const char *name _unused_)
{
	struct xml_reader *x = arg;
	/* expat may still report the end of an empty element after it was stopped */
	if (--x->depth == 0 || x->result < 0)
		return;
	x->text[x->text_n] = '\0';
	int r = x->element(x, x->path, x->text);
	x->text_n = 0;
	char *slash = strrchr(x->path, '/');
	*(slash ? slash : x->path) = '\0';
	if (r < 0)
		stop(x, r);
}

static void on_text(void *arg, const char *data, int n)
{
	struct xml_reader *x = arg;
	if (x->result < 0)
		return;
	if ((size_t)n >= sizeof x->text - x->text_n) {
		stop(x, error_set(x->e, ERR_CORRUPT, "an element of the answer is longer than %d bytes",
				  S3_XML_TEXT_MAX - 1));
		return;
	}
	memcpy(x->text + x->text_n, data, (size_t)n);
	x->text_n += (size_t)n;
}

/* A document type could define entities: S3 sends none. */
static void on_doctype(void *arg, const char *name _unused_, const char *system _unused_, const char *public _unused_,
		       int internal _unused_)
{
	struct xml_reader *x = arg;
	stop(x, error_set(x->e, ERR_CORRUPT, "the answer has a document type"));
}

static int read_xml(const char *text, size_t n, struct xml_reader *x)
{
	if (n > INT32_MAX)
		return error_set(x->e, ERR_CORRUPT, "the answer is too long");
	x->parser = XML_ParserCreate("UTF-8");
	if (!x->parser)
		return error_nomem(x->e);
	XML_SetUserData(x->parser, x);
	XML_SetElementHandler(x->parser, on_start, on_end);
	XML_SetCharacterDataHandler(x->parser, on_text);
	XML_SetStartDoctypeDeclHandler(x->parser, on_doctype);
	enum XML_Status status = XML_Parse(x->parser, text, (int)n, XML_TRUE);
	int r = x->result;
	if (status != XML_STATUS_OK && r == 0)
		r = error_set(x->e, ERR_CORRUPT, "the answer is not XML: %s at byte %ld",
			      XML_ErrorString(XML_GetErrorCode(x->parser)), (long)XML_GetCurrentByteIndex(x->parser));
	XML_ParserFree(x->parser);
	return r;
}

/* Copies what fits and is fit for a log: control characters become '?'. */
static void copy_for_people(const char *text, char *ret, size_t capacity)
{
	size_t n = 0;
	for (; text[n] && n + 1 < capacity; n++)
		ret[n] = (unsigned char)text[n] < 0x20 || text[n] == 0x7f ? '?' : text[n];
	ret[n] = '\0';
}

/* Copies an identifier exactly, or refuses: half an id names something else. */
static int copy_exactly(struct xml_reader *x, const char *what, const char *text, char *ret, size_t capacity)
{
	size_t n = strlen(text);
	if (n >= capacity)
		return error_set(x->e, ERR_CORRUPT, "the answer's %s is longer than %zu bytes", what, capacity - 1);
	memcpy(ret, text, n + 1);
	return 0;
}

static void error_field(struct s3_error *ret, const char *path, const char *text)
{
	if (strcmp(path, "Code") == 0)
		copy_for_people(text, ret->code, sizeof ret->code);
	else if (strcmp(path, "Message") == 0)
		copy_for_people(text, ret->message, sizeof ret->message);
	else if (strcmp(path, "Region") == 0)
		copy_for_people(text, ret->region, sizeof ret->region);
	else if (strcmp(path, "Endpoint") == 0)
		copy_for_people(text, ret->endpoint, sizeof ret->endpoint);
}

static int error_element(struct xml_reader *x, const char *path, const char *text)
{
	error_field(x->arg, path, text);
	return 0;
}

int s3_xml_error(const char *text, size_t n, struct s3_error *ret, struct error *e)
{
	*ret = (struct s3_error){0};
	struct xml_reader x = {.element = error_element, .arg = ret, .e = e};
	int r = read_xml(text, n, &x);
	if (r == 0 && strcmp(x.root, "Error") != 0)
		r = error_set(e, ERR_CORRUPT, "the answer is not an <Error>");
	return r;
}

static int upload_element(struct xml_reader *x, const char *path, const char *text)
{
	if (strcmp(path, "UploadId") != 0)
		return 0;
	return copy_exactly(x, "UploadId", text, x->arg, S3_UPLOAD_BYTES);
}

int s3_xml_upload(const char *text, size_t n, char ret_upload[S3_UPLOAD_BYTES], struct error *e)
{
	ret_upload[0] = '\0';
	struct xml_reader x = {.element = upload_element, .arg = ret_upload, .e = e};
	int r = read_xml(text, n, &x);
	if (r == 0 && ret_upload[0] == '\0')
		r = error_set(e, ERR_CORRUPT, "the answer names no upload");
	return r;
}

struct complete_answer {
	char *etag;
	struct s3_error error;
};

static int complete_element(struct xml_reader *x, const char *path, const char *text)
{
	struct complete_answer *a = x->arg;
	if (strcmp(x->root, "Error") == 0)
		error_field(&a->error, path, text);
	else if (strcmp(path, "ETag") == 0)
		return copy_exactly(x, "ETag", text, a->etag, S3_ETAG_BYTES);
	return 0;
}

int s3_xml_complete(const char *text, size_t n, char ret_etag[S3_ETAG_BYTES], struct s3_error *ret_error,
		    struct error *e)
{
	struct complete_answer a = {.etag = ret_etag};
	ret_etag[0] = '\0';
	struct xml_reader x = {.element = complete_element, .arg = &a, .e = e};
	int r = read_xml(text, n, &x);
	if (r == 0 && strcmp(x.root, "Error") == 0 && a.error.code[0] == '\0')
		copy_for_people("Error", a.error.code, sizeof a.error.code);
	*ret_error = a.error;
	return r;
}

/* A list being read, entry by entry. */
struct list_answer {
	s3_entry_function *fn;
	void *arg;
	struct s3_page *page;
	char key[S3_KEY_BYTES], version[S3_VERSION_BYTES], upload[S3_UPLOAD_BYTES];
};

static int end_of_entry(struct xml_reader *x, bool delete_marker)
{
	struct list_answer *l = x->arg;
	struct s3_entry entry = {.key = l->key,
				 .version = l->version,
				 .upload = l->upload,
				 .delete_marker = delete_marker};
	int r = l->fn(l->arg, &entry, x->e);
	l->key[0] = l->version[0] = l->upload[0] = '\0';
	return r;
}

static int page_element(struct xml_reader *x, const char *path, const char *text)
{
	struct s3_page *p = ((struct list_answer *)x->arg)->page;
	if (strcmp(path, "IsTruncated") == 0)
		p->truncated = strcmp(text, "true") == 0;
	else if (strcmp(path, "NextKeyMarker") == 0)
		return copy_exactly(x, path, text, p->next_key, sizeof p->next_key);
	else if (strcmp(path, "NextVersionIdMarker") == 0)
		return copy_exactly(x, path, text, p->next_version, sizeof p->next_version);
	else if (strcmp(path, "NextUploadIdMarker") == 0)
		return copy_exactly(x, path, text, p->next_upload, sizeof p->next_upload);
	return 0;
}

static int versions_element(struct xml_reader *x, const char *path, const char *text)
{
	struct list_answer *l = x->arg;
	if (strcmp(path, "Version/Key") == 0 || strcmp(path, "DeleteMarker/Key") == 0)
		return copy_exactly(x, "Key", text, l->key, sizeof l->key);
	if (strcmp(path, "Version/VersionId") == 0 || strcmp(path, "DeleteMarker/VersionId") == 0)
		return copy_exactly(x, "VersionId", text, l->version, sizeof l->version);
	if (strcmp(path, "Version") == 0)
		return end_of_entry(x, false);
	if (strcmp(path, "DeleteMarker") == 0)
		return end_of_entry(x, true);
	return page_element(x, path, text);
}

static int objects_element(struct xml_reader *x, const char *path, const char *text)
{
	struct list_answer *l = x->arg;
	if (strcmp(path, "Contents/Key") == 0)
		return copy_exactly(x, "Key", text, l->key, sizeof l->key);
	if (strcmp(path, "Contents") == 0)
		return end_of_entry(x, false);
	return page_element(x, path, text);
}

static int uploads_element(struct xml_reader *x, const char *path, const char *text)
{
	struct list_answer *l = x->arg;
	if (strcmp(path, "Upload/Key") == 0)
		return copy_exactly(x, "Key", text, l->key, sizeof l->key);
	if (strcmp(path, "Upload/UploadId") == 0)
		return copy_exactly(x, "UploadId", text, l->upload, sizeof l->upload);
	if (strcmp(path, "Upload") == 0)
		return end_of_entry(x, false);
	return page_element(x, path, text);
}

static int read_list(const char *text, size_t n, int (*element)(struct xml_reader *, const char *, const char *),
		     s3_entry_function *fn, void *arg, struct s3_page *ret, struct error *e)
{
	*ret = (struct s3_page){0};
	struct list_answer l = {.fn = fn, .arg = arg, .page = ret};
	struct xml_reader x = {.element = element, .arg = &l, .e = e};
	return read_xml(text, n, &x);
}

/* The names of the root elements differ between servers (ListVersionsResult, ListVersionResult): the entries decide. */
int s3_xml_versions(const char *text, size_t n, s3_entry_function *fn, void *arg, struct s3_page *ret, struct error *e)
{
	return read_list(text, n, versions_element, fn, arg, ret, e);
}

int s3_xml_objects(const char *text, size_t n, s3_entry_function *fn, void *arg, struct s3_page *ret, struct error *e)
{
	return read_list(text, n, objects_element, fn, arg, ret, e);
}

int s3_xml_uploads(const char *text, size_t n, s3_entry_function *fn, void *arg, struct s3_page *ret, struct error *e)
{
	return read_list(text, n, uploads_element, fn, arg, ret, e);
}
