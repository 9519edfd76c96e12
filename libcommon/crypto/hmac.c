#include "crypto/hmac.h"

#include <assert.h>
#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/kdf.h>
#include <openssl/params.h>

int hmac_sha256(const void *key, size_t key_n, const void *data, size_t n, uint8_t ret[HMAC_BYTES], struct error *e)
{
	size_t size = 0;
	if (!EVP_Q_mac(NULL, "HMAC", NULL, "SHA256", NULL, key, key_n, data, n, ret, HMAC_BYTES, &size))
		return error_set(e, ERR_FATAL, "the OpenSSL library refused HMAC-SHA-256");
	assert(size == HMAC_BYTES);
	return 0;
}

static void kdf_ctx_freep(EVP_KDF_CTX **c)
{
	EVP_KDF_CTX_free(*c);
}

int hkdf_sha256(const void *key, size_t key_n, const void *salt, size_t salt_n, const void *info, size_t info_n,
		void *ret, size_t ret_n, struct error *e)
{
	EVP_KDF *kdf = EVP_KDF_fetch(NULL, "HKDF", NULL);
	_cleanup_(kdf_ctx_freep) EVP_KDF_CTX *ctx = kdf ? EVP_KDF_CTX_new(kdf) : NULL;
	EVP_KDF_free(kdf);
	/* OSSL_PARAM has no const; the library only reads these */
	OSSL_PARAM params[] = {
	    OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_DIGEST, (char *)"SHA256", 0),
	    OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_KEY, (void *)(uintptr_t)key, key_n),
	    OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_SALT, (void *)(uintptr_t)salt, salt_n),
	    OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_INFO, (void *)(uintptr_t)info, info_n),
	    OSSL_PARAM_construct_end(),
	};
	if (!ctx || EVP_KDF_derive(ctx, ret, ret_n, params) != 1)
		return error_set(e, ERR_FATAL, "the OpenSSL library refused HKDF-SHA-256");
	return 0;
}
