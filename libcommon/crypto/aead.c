#include "crypto/aead.h"

#include <openssl/evp.h>
#include <sodium.h>
#include <string.h>

struct aead {
	EVP_CIPHER *cipher;
	EVP_CIPHER_CTX *seal;
	EVP_CIPHER_CTX *open;
};

int aead_new(const uint8_t key[AEAD_KEY_BYTES], struct aead **ret, struct error *e)
{
	_cleanup_(aead_freep) struct aead *a = calloc(1, sizeof(*a));
	if (!a)
		return error_nomem(e);
	a->cipher = EVP_CIPHER_fetch(NULL, "AES-256-GCM", NULL);
	if (!a->cipher)
		return error_set(e, ERR_FATAL, "the OpenSSL library offers no AES-256-GCM");
	a->seal = EVP_CIPHER_CTX_new();
	a->open = EVP_CIPHER_CTX_new();
	if (!a->seal || !a->open)
		return error_nomem(e);
	if (EVP_EncryptInit_ex2(a->seal, a->cipher, key, NULL, NULL) != 1 ||
	    EVP_DecryptInit_ex2(a->open, a->cipher, key, NULL, NULL) != 1)
		return error_set(e, ERR_FATAL, "AES-256-GCM does not take its key");
	*ret = TAKE_PTR(a);
	return 0;
}

void aead_free(struct aead *a)
{
	if (!a)
		return;
	/* OpenSSL cleanses the key schedule with the context */
	EVP_CIPHER_CTX_free(a->seal);
	EVP_CIPHER_CTX_free(a->open);
	EVP_CIPHER_free(a->cipher);
	free(a);
}

int aead_seal(struct aead *a, const uint8_t nonce[AEAD_NONCE_BYTES], const void *ad, size_t ad_n,
	      const struct aead_piece *pieces, size_t n_pieces, uint8_t *ret, uint8_t ret_tag[AEAD_TAG_BYTES],
	      struct error *e)
{
	int n = 0;
	if (ad_n > INT32_MAX || EVP_EncryptInit_ex2(a->seal, NULL, NULL, nonce, NULL) != 1 ||
	    EVP_EncryptUpdate(a->seal, NULL, &n, ad, (int)ad_n) != 1)
		return error_set(e, ERR_FATAL, "AES-256-GCM refused to begin sealing");
	for (size_t i = 0; i < n_pieces; i++) {
		if (pieces[i].size == 0)
			continue;
		if (pieces[i].size > INT32_MAX ||
		    EVP_EncryptUpdate(a->seal, ret, &n, pieces[i].data, (int)pieces[i].size) != 1)
			return error_set(e, ERR_FATAL, "AES-256-GCM refused to seal %zu bytes", pieces[i].size);
		ret += pieces[i].size;
	}
	if (EVP_EncryptFinal_ex(a->seal, ret, &n) != 1 ||
	    EVP_CIPHER_CTX_ctrl(a->seal, EVP_CTRL_AEAD_GET_TAG, AEAD_TAG_BYTES, ret_tag) != 1)
		return error_set(e, ERR_FATAL, "AES-256-GCM refused to end sealing");
	return 0;
}

int aead_open(struct aead *a, const uint8_t nonce[AEAD_NONCE_BYTES], const void *ad, size_t ad_n, const uint8_t *data,
	      size_t n, const uint8_t tag[AEAD_TAG_BYTES], uint8_t *ret, struct error *e)
{
	uint8_t expected[AEAD_TAG_BYTES];
	memcpy(expected, tag, sizeof(expected)); /* the control call takes no const */
	int done = 0;
	if (n > INT32_MAX || ad_n > INT32_MAX || EVP_DecryptInit_ex2(a->open, NULL, NULL, nonce, NULL) != 1 ||
	    EVP_DecryptUpdate(a->open, NULL, &done, ad, (int)ad_n) != 1 ||
	    (n > 0 && EVP_DecryptUpdate(a->open, ret, &done, data, (int)n) != 1) ||
	    EVP_CIPHER_CTX_ctrl(a->open, EVP_CTRL_AEAD_SET_TAG, AEAD_TAG_BYTES, expected) != 1)
		return error_set(e, ERR_FATAL, "AES-256-GCM refused to open %zu bytes", n);
	if (EVP_DecryptFinal_ex(a->open, ret + n, &done) != 1) {
		sodium_memzero(ret, n);
		return error_set(e, ERR_CORRUPT, "sealed bytes fail their authentication");
	}
	return 0;
}
