#include "crypto/digest.h"

#include "base/hex.h"

#include <assert.h>
#include <isa-l/crc.h>
#include <openssl/evp.h>
#include <zlib.h>

struct sha256 {
	EVP_MD *md;
	EVP_MD_CTX *ctx;
	EVP_MD_CTX *peek; /* a copy of ctx, so that peeking does not end it */
};

/* OpenSSL fails here only without memory for a context that already exists, or by misuse. */
static void must(int ok)
{
	if (ok != 1)
		abort();
}

int sha256_new(struct sha256 **ret, struct error *e)
{
	_cleanup_(sha256_freep) struct sha256 *s = calloc(1, sizeof(*s));
	if (!s)
		return error_nomem(e);
	s->md = EVP_MD_fetch(NULL, "SHA256", NULL);
	if (!s->md)
		return error_set(e, ERR_FATAL, "the OpenSSL library offers no SHA-256");
	s->ctx = EVP_MD_CTX_new();
	s->peek = EVP_MD_CTX_new();
	if (!s->ctx || !s->peek || EVP_DigestInit_ex2(s->ctx, s->md, NULL) != 1)
		return error_nomem(e);
	*ret = TAKE_PTR(s);
	return 0;
}

void sha256_free(struct sha256 *s)
{
	if (!s)
		return;
	EVP_MD_CTX_free(s->ctx);
	EVP_MD_CTX_free(s->peek);
	EVP_MD_free(s->md);
	free(s);
}

void sha256_update(struct sha256 *s, const void *data, size_t n)
{
	if (n > 0)
		must(EVP_DigestUpdate(s->ctx, data, n));
}

void sha256_peek(const struct sha256 *s, uint8_t ret[SHA256_BYTES])
{
	unsigned n = 0;
	must(EVP_MD_CTX_copy_ex(s->peek, s->ctx));
	must(EVP_DigestFinal_ex(s->peek, ret, &n));
	assert(n == SHA256_BYTES);
}

void sha256_finish(struct sha256 *s, uint8_t ret[SHA256_BYTES])
{
	unsigned n = 0;
	must(EVP_DigestFinal_ex(s->ctx, ret, &n));
	assert(n == SHA256_BYTES);
	must(EVP_DigestInit_ex2(s->ctx, s->md, NULL));
}

int sha256_of(const void *data, size_t n, uint8_t ret[SHA256_BYTES], struct error *e)
{
	_cleanup_(sha256_freep) struct sha256 *s = NULL;
	int r = sha256_new(&s, e);
	if (r < 0)
		return r;
	sha256_update(s, data, n);
	sha256_finish(s, ret);
	return 0;
}

void sha256_format(const uint8_t digest[SHA256_BYTES], char ret[SHA256_TEXT_BYTES])
{
	hex_encode(digest, SHA256_BYTES, ret);
}

uint32_t crc32_update(uint32_t crc, const void *data, size_t n)
{
	return n > 0 ? crc32_gzip_refl(crc, data, n) : crc;
}

uint32_t crc32_join(uint32_t crc_a, uint32_t crc_b, uint64_t n_b)
{
	assert(n_b <= INT64_MAX);
	return (uint32_t)crc32_combine64(crc_a, crc_b, (z_off64_t)n_b);
}
