#include "checksum.h"

#include "crypto/digest.h"

#include <assert.h>
#include <openssl/evp.h>
#include <sodium.h>
#include <string.h>

static const size_t sizes[CHECKSUM_KIND_MAX] = {
    [CHECKSUM_CRC32] = 4, [CHECKSUM_SHA1] = 20, [CHECKSUM_SHA256] = 32, [CHECKSUM_SHA512] = 64};

struct checksum {
	struct checksum_value expected;
	EVP_MD_CTX *context; /* NULL: a CRC-32 */
	uint32_t crc;
};

size_t checksum_bytes(enum checksum_kind k)
{
	return sizes[k];
}

bool base64_read(const char *text, size_t n, uint8_t *ret, size_t max, size_t *ret_n)
{
	static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/=";
	const char *end = NULL;
	*ret_n = 0;
	/* libsodium takes some bytes above 0x7f for letters */
	for (size_t i = 0; i < n; i++)
		if (!text[i] || !strchr(alphabet, text[i]))
			return false;
	int variant =
	    n > 0 && text[n - 1] == '=' ? sodium_base64_VARIANT_ORIGINAL : sodium_base64_VARIANT_ORIGINAL_NO_PADDING;
	return sodium_base642bin(ret, max, text, n, NULL, ret_n, &end, variant) == 0 && end == text + n;
}

bool checksum_decode(const char *text, size_t n, enum checksum_kind k, struct checksum_value *ret)
{
	size_t size = 0;
	*ret = (struct checksum_value){.kind = k};
	return base64_read(text, n, ret->bytes, sizes[k], &size) && size == sizes[k];
}

int checksum_new(const struct checksum_value *expected, struct checksum **ret, struct error *e)
{
	_cleanup_(checksum_freep) struct checksum *c = calloc(1, sizeof(*c));
	if (!c)
		return error_nomem(e);
	c->expected = *expected;
	if (expected->kind != CHECKSUM_CRC32) {
		const EVP_MD *md = expected->kind == CHECKSUM_SHA1     ? EVP_sha1()
				   : expected->kind == CHECKSUM_SHA256 ? EVP_sha256()
								       : EVP_sha512();
		c->context = EVP_MD_CTX_new();
		if (!c->context)
			return error_nomem(e);
		if (EVP_DigestInit_ex(c->context, md, NULL) != 1)
			return error_set(e, ERR_FATAL, "the library computes no such checksum");
	}
	*ret = TAKE_PTR(c);
	return 0;
}

void checksum_free(struct checksum *c)
{
	if (!c)
		return;
	EVP_MD_CTX_free(c->context);
	free(c);
}

void checksum_update(struct checksum *c, const void *data, size_t n)
{
	if (!c->context) {
		c->crc = crc32_update(c->crc, data, n);
		return;
	}
	int ok = EVP_DigestUpdate(c->context, data, n);
	assert(ok == 1);
}

bool checksum_matches(struct checksum *c)
{
	uint8_t found[EVP_MAX_MD_SIZE];
	if (c->context) {
		int ok = EVP_DigestFinal_ex(c->context, found, NULL);
		assert(ok == 1);
	} else {
		for (unsigned i = 0; i < 4; i++)
			found[i] = (uint8_t)(c->crc >> (24 - 8 * i));
	}
	return memcmp(found, c->expected.bytes, sizes[c->expected.kind]) == 0;
}
