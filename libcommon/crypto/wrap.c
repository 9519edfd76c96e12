#include "crypto/wrap.h"

#include "crypto/aead.h"
#include "crypto/random.h"

#include <assert.h>
#include <string.h>

#define WRAP_VERSION 1

/* Offsets in a wrapped key. */
#define WRAP_NONCE  1
#define WRAP_SEALED (WRAP_NONCE + AEAD_NONCE_BYTES)
#define WRAP_TAG    (WRAP_SEALED + KEY_BYTES)
_Static_assert(WRAP_TAG + AEAD_TAG_BYTES == WRAPPED_KEY_BYTES, "encoding of a wrapped key");

/* label, version, purpose, account, whether a recording follows, recording, key id (last, so its length needs no mark)
 */
#define WRAP_LABEL    "rushes wrap"
#define WRAP_AD_BYTES (sizeof(WRAP_LABEL) - 1 + 3 + 2 * UUID_BYTES + KEY_ID_CHARS_MAX)

static size_t associated_data(const struct wrap_context *ctx, uint8_t ret[WRAP_AD_BYTES])
{
	assert(ctx->purpose >= 0 && ctx->purpose < KEY_PURPOSE_MAX);
	assert(key_id_valid(ctx->key_id));
	static const struct uuid none;
	uint8_t *p = ret;
	memcpy(p, WRAP_LABEL, sizeof(WRAP_LABEL) - 1);
	p += sizeof(WRAP_LABEL) - 1;
	*p++ = WRAP_VERSION;
	*p++ = (uint8_t)ctx->purpose;
	memcpy(p, ctx->account->b, UUID_BYTES);
	p += UUID_BYTES;
	*p++ = ctx->recording != NULL;
	memcpy(p, ctx->recording ? ctx->recording->b : none.b, UUID_BYTES);
	p += UUID_BYTES;
	size_t id = strlen(ctx->key_id);
	memcpy(p, ctx->key_id, id);
	return (size_t)(p - ret) + id;
}

int wrap_key(const uint8_t wrapping[KEY_BYTES], const struct wrap_context *ctx, const uint8_t key[KEY_BYTES],
	     uint8_t ret[WRAPPED_KEY_BYTES], struct error *e)
{
	_cleanup_(aead_freep) struct aead *a = NULL;
	int r = aead_new(wrapping, &a, e);
	if (r < 0)
		return r;
	uint8_t ad[WRAP_AD_BYTES];
	size_t ad_n = associated_data(ctx, ad);
	struct aead_piece piece = {key, KEY_BYTES};
	ret[0] = WRAP_VERSION;
	random_bytes(ret + WRAP_NONCE, AEAD_NONCE_BYTES);
	return aead_seal(a, ret + WRAP_NONCE, ad, ad_n, &piece, 1, ret + WRAP_SEALED, ret + WRAP_TAG, e);
}

int unwrap_key(const uint8_t wrapping[KEY_BYTES], const struct wrap_context *ctx, const uint8_t *wrapped, size_t n,
	       uint8_t ret[KEY_BYTES], struct error *e)
{
	if (n != WRAPPED_KEY_BYTES)
		return error_set(e, ERR_REJECT, "a wrapped key has %zu bytes instead of %d", n, WRAPPED_KEY_BYTES);
	if (wrapped[0] != WRAP_VERSION)
		return error_set(e, ERR_REJECT, "a wrapped key has the unknown version %u", wrapped[0]);
	_cleanup_(aead_freep) struct aead *a = NULL;
	int r = aead_new(wrapping, &a, e);
	if (r < 0)
		return r;
	uint8_t ad[WRAP_AD_BYTES];
	size_t ad_n = associated_data(ctx, ad);
	r = aead_open(a, wrapped + WRAP_NONCE, ad, ad_n, wrapped + WRAP_SEALED, KEY_BYTES, wrapped + WRAP_TAG, ret, e);
	if (r < 0) {
		(void)error_wrap(e, "the key wrapped by %s (%s) does not open", ctx->key_id,
				 key_purpose_to_string(ctx->purpose));
		return r;
	}
	return 0;
}
