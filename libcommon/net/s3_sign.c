#include "net/s3_sign.h"

#include <ctype.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#define ALGORITHM "AWS4-HMAC-SHA256"
/* A canonical request holds a path (3 bytes for each of a key's 1024), the query and the headers. */
#define CANONICAL_BYTES_MAX (64 * KIB)
#define SCOPE_BYTES	    128
#define DAY_CHARS	    8
#define HMAC_BYTES_SHA256   32
/* host, x-amz-content-sha256, x-amz-date, x-amz-security-token */
#define OWN_HEADERS 4
/* X-Amz-Algorithm, -Credential, -Date, -Expires, -SignedHeaders, -Security-Token */
#define PRESIGN_PARAMETERS 6

void s3_sha256_hex(const void *data, size_t n, char ret[S3_SHA256_HEX_BYTES])
{
	static const char digits[] = "0123456789abcdef";
	uint8_t digest[EVP_MAX_MD_SIZE];
	unsigned length = 0;
	if (EVP_Digest(data, n, digest, &length, EVP_sha256(), NULL) != 1 || length != S3_SHA256_BYTES)
		abort(); /* the provider was there when the process began */
	for (size_t i = 0; i < S3_SHA256_BYTES; i++) {
		ret[2 * i] = digits[digest[i] >> 4];
		ret[2 * i + 1] = digits[digest[i] & 15];
	}
	ret[2 * S3_SHA256_BYTES] = '\0';
}

int s3_escape(struct buffer *b, const char *text, bool keep_slash)
{
	static const char digits[] = "0123456789ABCDEF";
	for (const char *c = text; *c; c++) {
		uint8_t v = (uint8_t)*c;
		bool plain = (v >= 'A' && v <= 'Z') || (v >= 'a' && v <= 'z') || (v >= '0' && v <= '9') || v == '-' ||
			     v == '.' || v == '_' || v == '~' || (v == '/' && keep_slash);
		char escaped[3] = {'%', digits[v >> 4], digits[v & 15]};
		int r = plain ? buffer_append(b, c, 1) : buffer_append(b, escaped, sizeof escaped);
		if (r < 0)
			return r;
	}
	return 0;
}

/* An escaped "name=value" and where its value begins. */
struct parameter {
	char *text;
	size_t name_n;
};

static void parameters_done(struct parameter *p, size_t n)
{
	for (size_t i = 0; i < n; i++)
		free(p[i].text);
}

/* By name, then by value: "a=2" comes before "a-b=1" although '=' is behind '-'. */
static int compare_parameters(const void *a, const void *b)
{
	const struct parameter *x = a, *y = b;
	int r = memcmp(x->text, y->text, MIN(x->name_n, y->name_n));
	if (r == 0)
		r = (x->name_n > y->name_n) - (x->name_n < y->name_n);
	return r != 0 ? r : strcmp(x->text + x->name_n, y->text + y->name_n);
}

static int escape_parameter(const struct s3_pair *pair, struct parameter *ret)
{
	_cleanup_(buffer_done) struct buffer one;
	buffer_init(&one, CANONICAL_BYTES_MAX);
	int r = s3_escape(&one, pair->name, false);
	ret->name_n = one.size;
	if (r == 0)
		r = buffer_append(&one, "=", 1);
	if (r == 0)
		r = s3_escape(&one, pair->value, false);
	if (r < 0)
		return r;
	ret->text = buffer_take(&one);
	return ret->text ? 0 : ERR_NOMEM;
}

int s3_query_format(struct buffer *b, const struct s3_pair *query, size_t n)
{
	struct parameter sorted[S3_QUERY_MAX + PRESIGN_PARAMETERS];
	if (n > ARRAY_SIZE(sorted))
		return ERR_REJECT;
	int r = 0;
	size_t made = 0;
	for (; r == 0 && made < n; made++) {
		sorted[made].text = NULL;
		r = escape_parameter(&query[made], &sorted[made]);
	}
	if (r == 0 && n > 0)
		qsort(sorted, n, sizeof sorted[0], compare_parameters);
	for (size_t i = 0; r == 0 && i < n; i++) {
		if (i > 0)
			r = buffer_append(b, "&", 1);
		if (r == 0)
			r = buffer_append_string(b, sorted[i].text);
	}
	parameters_done(sorted, made);
	return r;
}

static int compare_headers(const void *a, const void *b)
{
	return strcasecmp(((const struct s3_pair *)a)->name, ((const struct s3_pair *)b)->name);
}

static bool has_line_break(const char *text)
{
	return strpbrk(text, "\r\n") != NULL;
}

/* A header's value without blanks at its ends and with single blanks inside. */
static int append_trimmed(struct buffer *b, const char *value)
{
	bool blank = false, any = false;
	for (const char *c = value; *c; c++) {
		if (*c == ' ' || *c == '\t') {
			blank = any;
			continue;
		}
		int r = blank ? buffer_append(b, " ", 1) : 0;
		if (r == 0)
			r = buffer_append(b, c, 1);
		if (r < 0)
			return r;
		blank = false;
		any = true;
	}
	return 0;
}

static int append_lower(struct buffer *b, const char *name)
{
	for (const char *c = name; *c; c++) {
		char lower = (char)tolower((unsigned char)*c);
		int r = buffer_append(b, &lower, 1);
		if (r < 0)
			return r;
	}
	return 0;
}

/* Appends "name:value\n" of each header to `canonical` and "name;name" to `names`; sorts `headers`. */
static int append_headers(struct s3_pair *headers, size_t n, struct buffer *canonical, struct buffer *names)
{
	qsort(headers, n, sizeof headers[0], compare_headers);
	for (size_t i = 0; i < n; i++) {
		if (has_line_break(headers[i].name) || has_line_break(headers[i].value) ||
		    (i > 0 && strcasecmp(headers[i].name, headers[i - 1].name) == 0))
			return ERR_REJECT;
		int r = append_lower(canonical, headers[i].name);
		if (r == 0)
			r = buffer_append(canonical, ":", 1);
		if (r == 0)
			r = append_trimmed(canonical, headers[i].value);
		if (r == 0)
			r = buffer_append(canonical, "\n", 1);
		if (r == 0 && i > 0)
			r = buffer_append(names, ";", 1);
		if (r == 0)
			r = append_lower(names, headers[i].name);
		if (r < 0)
			return r;
	}
	return 0;
}

static void hmac(const void *key, size_t key_n, const char *text, uint8_t ret[HMAC_BYTES_SHA256])
{
	unsigned n = HMAC_BYTES_SHA256;
	if (!HMAC(EVP_sha256(), key, (int)key_n, (const uint8_t *)text, strlen(text), ret, &n))
		abort(); /* the provider was there when the process began */
}

static void format_date(int64_t wall_us, char ret[S3_DATE_BYTES])
{
	time_t seconds = (time_t)(wall_us / 1000000);
	struct tm t;
	if (!gmtime_r(&seconds, &t) || strftime(ret, S3_DATE_BYTES, "%Y%m%dT%H%M%SZ", &t) != S3_DATE_BYTES - 1)
		abort(); /* a clock outside the years 0 to 9999 */
}

static int format_scope(const char *date, const char *region, char ret[SCOPE_BYTES])
{
	int n = snprintf(ret, SCOPE_BYTES, "%.*s/%s/s3/aws4_request", DAY_CHARS, date, region);
	return n > 0 && n < SCOPE_BYTES ? 0 : ERR_REJECT;
}

/* The signature of a canonical request: hex of HMAC(signing key, string to sign). */
static int compute_signature(const struct s3_credentials *c, const char *region, const char *date, const char *scope,
			     const struct buffer *canonical, char ret[S3_SHA256_HEX_BYTES])
{
	char day[DAY_CHARS + 1], request_hash[S3_SHA256_HEX_BYTES], to_sign[SCOPE_BYTES + 160];
	uint8_t key[HMAC_BYTES_SHA256];
	_cleanup_(buffer_done) struct buffer secret;
	buffer_init(&secret, 4 * KIB);
	memcpy(day, date, DAY_CHARS);
	day[DAY_CHARS] = '\0';
	/* reserved at once: growing would leave copies of the secret in freed memory */
	int r = buffer_reserve(&secret, strlen(c->secret_key) + 4);
	if (r == 0)
		r = buffer_printf(&secret, "AWS4%s", c->secret_key);
	if (r < 0)
		return r;
	hmac(secret.data, secret.size, day, key);
	OPENSSL_cleanse(secret.data, secret.size);
	hmac(key, sizeof key, region, key);
	hmac(key, sizeof key, "s3", key);
	hmac(key, sizeof key, "aws4_request", key);
	s3_sha256_hex(canonical->data, canonical->size, request_hash);
	(void)snprintf(to_sign, sizeof to_sign, ALGORITHM "\n%s\n%s\n%s", date, scope, request_hash);
	hmac(key, sizeof key, to_sign, key);
	for (size_t i = 0; i < sizeof key; i++)
		(void)snprintf(ret + 2 * i, 3, "%02x", key[i]);
	OPENSSL_cleanse(key, sizeof key);
	return 0;
}

/* method, path, query, headers, names, payload: one line each (headers: one line each, and an empty one). */
static int format_canonical(const struct s3_sign_request *r, const struct s3_pair *query, size_t n_query,
			    struct s3_pair *headers, size_t n_headers, const char *payload, struct buffer *ret,
			    struct buffer *ret_names)
{
	int x = buffer_printf(ret, "%s\n%s\n", r->method, r->path);
	if (x == 0)
		x = s3_query_format(ret, query, n_query);
	if (x == 0)
		x = buffer_append(ret, "\n", 1);
	if (x == 0)
		x = append_headers(headers, n_headers, ret, ret_names);
	if (x == 0)
		x = buffer_printf(ret, "\n%s\n%s", ret_names->data, payload);
	return x;
}

static int sign_error(struct error *e, int code)
{
	return error_set(e, code, "the request cannot be signed: a header or parameter is too long, doubled or broken");
}

int s3_sign(const struct s3_sign_request *r, const struct s3_credentials *c, struct buffer *ret_authorization,
	    char ret_date[S3_DATE_BYTES], struct error *e)
{
	struct s3_pair headers[S3_HEADERS_MAX + OWN_HEADERS];
	char scope[SCOPE_BYTES], signature[S3_SHA256_HEX_BYTES];
	if (r->n_headers > S3_HEADERS_MAX || r->n_query > S3_QUERY_MAX)
		return sign_error(e, ERR_REJECT);
	format_date(r->wall_us, ret_date);
	size_t n = 0;
	for (; n < r->n_headers; n++)
		headers[n] = r->headers[n];
	headers[n++] = (struct s3_pair){"host", r->host};
	headers[n++] = (struct s3_pair){"x-amz-content-sha256", r->payload_sha256};
	headers[n++] = (struct s3_pair){"x-amz-date", ret_date};
	if (c->session_token)
		headers[n++] = (struct s3_pair){"x-amz-security-token", c->session_token};
	_cleanup_(buffer_done) struct buffer canonical, names;
	buffer_init(&canonical, CANONICAL_BYTES_MAX);
	buffer_init(&names, CANONICAL_BYTES_MAX);
	int x = format_scope(ret_date, r->region, scope);
	if (x == 0)
		x = format_canonical(r, r->query, r->n_query, headers, n, r->payload_sha256, &canonical, &names);
	if (x == 0)
		x = compute_signature(c, r->region, ret_date, scope, &canonical, signature);
	if (x == 0) {
		buffer_clear(ret_authorization);
		x = buffer_printf(ret_authorization, ALGORITHM " Credential=%s/%s,SignedHeaders=%s,Signature=%s",
				  c->access_key, scope, names.data, signature);
	}
	return x < 0 ? sign_error(e, x) : 0;
}

int s3_presign(const struct s3_sign_request *r, const struct s3_credentials *c, unsigned seconds,
	       struct buffer *ret_query, struct error *e)
{
	struct s3_pair query[S3_QUERY_MAX + PRESIGN_PARAMETERS];
	struct s3_pair headers[1] = {{"host", r->host}};
	char date[S3_DATE_BYTES], scope[SCOPE_BYTES], credential[2 * SCOPE_BYTES + 256], expires[16];
	char signature[S3_SHA256_HEX_BYTES];
	if (r->n_query > S3_QUERY_MAX || seconds == 0 || seconds > S3_PRESIGN_SECONDS_MAX)
		return sign_error(e, ERR_REJECT);
	format_date(r->wall_us, date);
	if (format_scope(date, r->region, scope) < 0 ||
	    snprintf(credential, sizeof credential, "%s/%s", c->access_key, scope) >= (int)sizeof credential)
		return sign_error(e, ERR_REJECT);
	(void)snprintf(expires, sizeof expires, "%u", seconds);
	size_t n = 0;
	for (; n < r->n_query; n++)
		query[n] = r->query[n];
	query[n++] = (struct s3_pair){"X-Amz-Algorithm", ALGORITHM};
	query[n++] = (struct s3_pair){"X-Amz-Credential", credential};
	query[n++] = (struct s3_pair){"X-Amz-Date", date};
	query[n++] = (struct s3_pair){"X-Amz-Expires", expires};
	query[n++] = (struct s3_pair){"X-Amz-SignedHeaders", "host"};
	if (c->session_token)
		query[n++] = (struct s3_pair){"X-Amz-Security-Token", c->session_token};
	_cleanup_(buffer_done) struct buffer canonical, names;
	buffer_init(&canonical, CANONICAL_BYTES_MAX);
	buffer_init(&names, CANONICAL_BYTES_MAX);
	int x = format_canonical(r, query, n, headers, 1, S3_UNSIGNED_PAYLOAD, &canonical, &names);
	if (x == 0)
		x = compute_signature(c, r->region, date, scope, &canonical, signature);
	if (x == 0)
		x = s3_query_format(ret_query, query, n);
	if (x == 0)
		x = buffer_printf(ret_query, "&X-Amz-Signature=%s", signature);
	return x < 0 ? sign_error(e, x) : 0;
}
