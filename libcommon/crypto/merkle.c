#include "crypto/merkle.h"

#include <openssl/evp.h>
#include <string.h>

#define LEAF_PREFIX 0x00
#define NODE_PREFIX 0x01

/* SHA-256(prefix || a || b). OpenSSL fails here only without memory, or where it has no SHA-256: there is no way on. */
static void hash(uint8_t prefix, const void *a, size_t a_n, const void *b, size_t b_n, merkle_hash ret)
{
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	if (!ctx || EVP_DigestInit_ex(ctx, EVP_sha256(), NULL) != 1 || EVP_DigestUpdate(ctx, &prefix, 1) != 1 ||
	    EVP_DigestUpdate(ctx, a, a_n) != 1 || EVP_DigestUpdate(ctx, b, b_n) != 1 ||
	    EVP_DigestFinal_ex(ctx, ret, NULL) != 1)
		abort();
	EVP_MD_CTX_free(ctx);
}

static void hash_node(const merkle_hash left, const merkle_hash right, merkle_hash ret)
{
	hash(NODE_PREFIX, left, MERKLE_HASH_BYTES, right, MERKLE_HASH_BYTES, ret);
}

void merkle_leaf(const void *data, size_t n, merkle_hash ret)
{
	hash(LEAF_PREFIX, data, n, NULL, 0, ret);
}

static unsigned full_subtrees(uint64_t leaves)
{
	return (unsigned)__builtin_popcountll(leaves);
}

void merkle_add(struct merkle *m, const merkle_hash leaf)
{
	merkle_hash h;
	unsigned n = full_subtrees(m->leaves);
	memcpy(h, leaf, sizeof(h));
	/* each low bit that is set is a subtree as large as the one that grows: they join */
	for (uint64_t bits = m->leaves; bits & 1; bits >>= 1)
		hash_node(m->full[--n], h, h);
	memcpy(m->full[n], h, sizeof(h));
	m->leaves++;
}

void merkle_root(const struct merkle *m, merkle_hash ret)
{
	unsigned n = full_subtrees(m->leaves);
	if (n == 0) {
		if (EVP_Digest("", 0, ret, NULL, EVP_sha256(), NULL) != 1)
			abort();
		return;
	}
	memcpy(ret, m->full[--n], MERKLE_HASH_BYTES);
	while (n > 0)
		hash_node(m->full[--n], ret, ret);
}

/* The largest power of two below n, for n > 1. */
static uint64_t split(uint64_t n)
{
	return UINT64_C(1) << (63 - __builtin_clzll(n - 1));
}

static void root_of(const merkle_hash *leaves, uint64_t n, merkle_hash ret)
{
	struct merkle m = {0};
	for (uint64_t i = 0; i < n; i++)
		merkle_add(&m, leaves[i]);
	merkle_root(&m, ret);
}

unsigned merkle_path(const merkle_hash *leaves, uint64_t n, uint64_t index, merkle_hash *ret)
{
	unsigned height = 0;
	/* from the top: the half beside the leaf's; then turned round, since the lowest comes first */
	while (n > 1) {
		uint64_t k = split(n);
		if (index < k) {
			root_of(leaves + k, n - k, ret[height++]);
			n = k;
		} else {
			root_of(leaves, k, ret[height++]);
			leaves += k;
			index -= k;
			n -= k;
		}
	}
	for (unsigned i = 0; i < height / 2; i++) {
		merkle_hash swap;
		memcpy(swap, ret[i], sizeof(swap));
		memcpy(ret[i], ret[height - 1 - i], sizeof(swap));
		memcpy(ret[height - 1 - i], swap, sizeof(swap));
	}
	return height;
}

bool merkle_path_holds(const merkle_hash leaf, uint64_t index, uint64_t n, const merkle_hash *path, unsigned path_n,
		       const merkle_hash root)
{
	merkle_hash r;
	if (index >= n)
		return false;
	memcpy(r, leaf, sizeof(r));
	uint64_t at = index, last = n - 1;
	for (unsigned i = 0; i < path_n; i++) {
		if (last == 0)
			return false;
		if ((at & 1) || at == last) {
			hash_node(path[i], r, r);
			/* a right edge without a partner goes up until it has one */
			while (!(at & 1) && at != 0) {
				at >>= 1;
				last >>= 1;
			}
		} else {
			hash_node(r, path[i], r);
		}
		at >>= 1;
		last >>= 1;
	}
	return last == 0 && memcmp(r, root, sizeof(r)) == 0;
}
