#include "crypto/merkle.h"

#include "base/hex.h"
#include "crypto/ed25519.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

/* The vectors that implementations of RFC 6962 share: eight leaves, and the root over the first n. */
static const char *const vector_leaves[] = {
    "", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f",
};
static const char *const vector_roots[] = {
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
};

static void vector_leaf(size_t i, merkle_hash ret)
{
	uint8_t data[16];
	size_t n = strlen(vector_leaves[i]) / 2;
	assert_true(hex_decode(vector_leaves[i], data, n));
	merkle_leaf(data, n, ret);
}

static void roots_are_those_of_the_published_vectors(void **state _unused_)
{
	struct merkle m = {0};
	for (size_t n = 0; n < ARRAY_SIZE(vector_roots); n++) {
		merkle_hash root, want;
		merkle_root(&m, root);
		assert_true(hex_decode(vector_roots[n], want, sizeof(want)));
		assert_memory_equal(root, want, sizeof(want));
		if (n < ARRAY_SIZE(vector_leaves)) {
			merkle_hash leaf;
			vector_leaf(n, leaf);
			merkle_add(&m, leaf);
		}
	}
}

static void paths_are_those_of_the_published_vectors(void **state _unused_)
{
	merkle_hash leaves[8], path[MERKLE_PATH_MAX], want;
	for (size_t i = 0; i < ARRAY_SIZE(leaves); i++)
		vector_leaf(i, leaves[i]);
	static const char *const first_of_8[] = {
	    "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
	    "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
	    "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
	};
	assert_int_equal(merkle_path(leaves, 8, 0, path), 3);
	for (size_t i = 0; i < 3; i++) {
		assert_true(hex_decode(first_of_8[i], want, sizeof(want)));
		assert_memory_equal(path[i], want, sizeof(want));
	}
	/* the third of three stands alone on its side */
	assert_int_equal(merkle_path(leaves, 3, 2, path), 1);
	assert_true(hex_decode(vector_roots[2], want, sizeof(want)));
	assert_memory_equal(path[0], want, sizeof(want));
	assert_int_equal(merkle_path(leaves, 1, 0, path), 0);
}

/* The definition of RFC 6962 section 2.1 word by word, with the one-shot digest. */
static void defined_root(const merkle_hash *leaves, size_t n, merkle_hash ret)
{
	if (n == 1) {
		memcpy(ret, leaves[0], MERKLE_HASH_BYTES);
		return;
	}
	size_t k = 1;
	uint8_t node[1 + 2 * MERKLE_HASH_BYTES] = {1};
	while (2 * k < n)
		k *= 2;
	defined_root(leaves, k, node + 1);
	defined_root(leaves + k, n - k, node + 1 + MERKLE_HASH_BYTES);
	assert_int_equal(sha256_of(node, sizeof(node), ret, NULL), 0);
}

#define LEAVES 70

static void make_leaves(merkle_hash leaves[LEAVES])
{
	for (size_t i = 0; i < LEAVES; i++) {
		uint8_t text[2] = {0, (uint8_t)i};
		merkle_hash leaf;
		merkle_leaf(text + 1, 1, leaves[i]);
		assert_int_equal(sha256_of(text, sizeof(text), leaf, NULL), 0);
		assert_memory_equal(leaf, leaves[i], sizeof(leaf));
	}
}

static void trees_of_any_size_are_as_defined_and_every_path_holds(void **state _unused_)
{
	merkle_hash leaves[LEAVES], root, want, path[MERKLE_PATH_MAX];
	struct merkle m = {0};
	make_leaves(leaves);
	for (size_t n = 1; n <= LEAVES; n++) {
		merkle_add(&m, leaves[n - 1]);
		merkle_root(&m, root);
		defined_root(leaves, n, want);
		assert_memory_equal(root, want, sizeof(root));
		for (size_t i = 0; i < n; i++) {
			unsigned path_n = merkle_path(leaves, n, i, path);
			assert_true(merkle_path_holds(leaves[i], i, n, path, path_n, root));
		}
	}
}

static void a_path_holds_for_nothing_else(void **state _unused_)
{
	merkle_hash leaves[LEAVES], root, path[MERKLE_PATH_MAX];
	make_leaves(leaves);
	for (size_t n = 2; n <= 20; n++) {
		defined_root(leaves, n, root);
		for (size_t i = 0; i < n; i++) {
			unsigned path_n = merkle_path(leaves, n, i, path);
			for (size_t other = 0; other < n + 2; other++)
				if (other != i)
					assert_false(merkle_path_holds(leaves[i], other, n, path, path_n, root));
			assert_false(merkle_path_holds(leaves[(i + 1) % n], i, n, path, path_n, root));
			assert_false(merkle_path_holds(leaves[i], i, n, path, path_n - 1, root));
			memcpy(path[path_n], root, sizeof(root));
			assert_false(merkle_path_holds(leaves[i], i, n, path, path_n + 1, root));
			path[0][31] ^= 1;
			assert_false(merkle_path_holds(leaves[i], i, n, path, path_n, root));
		}
	}
}

/* RFC 8032 section 7.1, test 2. */
static void signatures_are_those_of_the_rfc(void **state _unused_)
{
	uint8_t seed[ED25519_KEY_BYTES], public_key[ED25519_KEY_BYTES], want[ED25519_SIGNATURE_BYTES];
	uint8_t signature[ED25519_SIGNATURE_BYTES], message = 0x72;
	assert_true(hex_decode("4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb", seed, sizeof(seed)));
	assert_true(hex_decode("3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c", public_key,
			       sizeof(public_key)));
	assert_true(hex_decode("92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da"
			       "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00",
			       want, sizeof(want)));
	ed25519_sign(seed, &message, 1, signature);
	assert_memory_equal(signature, want, sizeof(want));
	assert_true(ed25519_verify(public_key, &message, 1, signature));
	message ^= 1;
	assert_false(ed25519_verify(public_key, &message, 1, signature));
	assert_false(ed25519_verify(public_key, "r", 0, signature));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(roots_are_those_of_the_published_vectors),
	    cmocka_unit_test(paths_are_those_of_the_published_vectors),
	    cmocka_unit_test(trees_of_any_size_are_as_defined_and_every_path_holds),
	    cmocka_unit_test(a_path_holds_for_nothing_else),
	    cmocka_unit_test(signatures_are_those_of_the_rfc),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
