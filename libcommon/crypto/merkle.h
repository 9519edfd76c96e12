/* Merkle trees over SHA-256 as RFC 6962 section 2.1 defines them (the same as RFC 9162 section 2.1): a leaf's hash is
 * SHA-256(0x00 || data), a node's is SHA-256(0x01 || left || right), and a tree of n leaves splits at the largest power
 * of two below n. Pure; any thread. */
#ifndef RUSHES_CRYPTO_MERKLE_H
#define RUSHES_CRYPTO_MERKLE_H

#include "crypto/digest.h"

#include <stdbool.h>

#define MERKLE_HASH_BYTES SHA256_BYTES
/* Longest path of a leaf, and the height of a running tree: no tree has 2^63 leaves. */
#define MERKLE_PATH_MAX 63

typedef uint8_t merkle_hash[MERKLE_HASH_BYTES];

/* The hash of a leaf with these bytes. */
void merkle_leaf(const void *data, size_t n, merkle_hash ret);

/* A tree that grows leaf by leaf and keeps only the roots of its full subtrees. Zeroed: empty. */
struct merkle {
	uint64_t leaves;
	merkle_hash full[MERKLE_PATH_MAX]; /* one for each bit of `leaves`, the largest subtree first */
};

/* Adds a leaf by its hash. */
void merkle_add(struct merkle *m, const merkle_hash leaf);

/* The root over the leaves so far; more may be added. Of none it is SHA-256 of nothing. */
void merkle_root(const struct merkle *m, merkle_hash ret);

/* The audit path of leaf `index` (from 0) among `n` leaves: the hashes beside its way up, the lowest first. `ret` holds
 * MERKLE_PATH_MAX. Returns how many. `index` must be below `n`. */
unsigned merkle_path(const merkle_hash *leaves, uint64_t n, uint64_t index, merkle_hash *ret);

/* Whether the path leads from this leaf at `index` to the root of a tree of `n` leaves (RFC 9162 section 2.1.3.2).
 * False for whatever cannot be: an index outside, a path of another length. */
bool merkle_path_holds(const merkle_hash leaf, uint64_t index, uint64_t n, const merkle_hash *path, unsigned path_n,
		       const merkle_hash root) _must_check_;

#endif
