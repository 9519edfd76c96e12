/* The signed head of a sealed batch: proto/ledger-format.md. Pure; any thread. */
#ifndef RUSHES_DOMAIN_LEDGER_HEAD_H
#define RUSHES_DOMAIN_LEDGER_HEAD_H

#include "base/clock.h"
#include "base/error.h"
#include "crypto/ed25519.h"
#include "crypto/keyring.h"
#include "crypto/merkle.h"

/* Entries of a batch at most: what one transaction marks and one file holds. */
#define LEDGER_BATCH_LEAVES_MAX 10000

struct ledger_head {
	uint64_t batch; /* from 1, without gaps */
	uint32_t leaves;
	merkle_hash root;
	merkle_hash previous;	   /* hash of the head before; zeros for batch 1 */
	char at[CLOCK_TEXT_BYTES]; /* "2026-11-22T01:44:01.123456Z" */
	char key_id[KEY_ID_CHARS_MAX + 1];
	uint8_t signature[ED25519_SIGNATURE_BYTES];
};

/* Room for a head's text and its end. */
#define LEDGER_HEAD_TEXT_BYTES 512

/* The text that is signed: canonical JSON in one line, without the signature. */
void ledger_head_text(const struct ledger_head *h, char ret[LEDGER_HEAD_TEXT_BYTES]);

/* Reads exactly such a text; `ret->signature` becomes zeros. ERR_CORRUPT for any other. */
int ledger_head_parse(const char *text, struct ledger_head *ret, struct error *e) _must_check_;

/* SHA-256 of the text: the `previous` of the next head. */
void ledger_head_hash(const struct ledger_head *h, merkle_hash ret);

/* Signs with the current key and sets key_id and signature. */
void ledger_head_sign(struct ledger_head *h, const struct keyring *secret);

/* ERR_NOTFOUND when `public_keys` has no key of that id, ERR_CORRUPT when the signature is not that key's. */
int ledger_head_verify(const struct ledger_head *h, const struct keyring *public_keys, struct error *e) _must_check_;

#endif
