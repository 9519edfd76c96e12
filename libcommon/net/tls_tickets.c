#include "net/tls_tickets.h"

#include "base/clock.h"
#include "base/error.h"

#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/params.h>
#include <openssl/rand.h>
#include <pthread.h>
#include <stdbool.h>
#include <string.h>

#define NAME_BYTES 16 /* what OpenSSL puts before a ticket */
#define KEY_BYTES  32

struct ticket_key {
	bool is_set;
	unsigned char name[NAME_BYTES], cipher[KEY_BYTES], mac[KEY_BYTES];
	int64_t made_us;
};

struct tickets {
	pthread_mutex_t lock;
	struct ticket_key now, before; /* protected by lock */
};

static pthread_once_t index_once = PTHREAD_ONCE_INIT;
static int index_of_tickets = -1;

static void tickets_free(void *parent _unused_, void *ptr, CRYPTO_EX_DATA *ad _unused_, int index _unused_,
			 long argl _unused_, void *argp _unused_)
{
	struct tickets *t = ptr;
	if (!t)
		return;
	(void)pthread_mutex_destroy(&t->lock);
	OPENSSL_cleanse(t, sizeof(*t));
	free(t);
}

static void make_index(void)
{
	index_of_tickets = SSL_CTX_get_ex_new_index(0, NULL, NULL, NULL, tickets_free);
}

/* The lock is held. False when there are no random bytes: then there are no tickets. */
static bool rotate(struct tickets *t, int64_t now_us)
{
	const int64_t period_us = (int64_t)TLS_TICKET_ROTATION_MS * 1000;
	if (t->before.is_set && now_us - t->before.made_us >= 2 * period_us)
		OPENSSL_cleanse(&t->before, sizeof(t->before));
	if (t->now.is_set && now_us - t->now.made_us < period_us)
		return true;
	struct ticket_key fresh = {.is_set = true, .made_us = now_us};
	if (RAND_bytes(fresh.name, NAME_BYTES) != 1 || RAND_priv_bytes(fresh.cipher, KEY_BYTES) != 1 ||
	    RAND_priv_bytes(fresh.mac, KEY_BYTES) != 1)
		return false;
	/* a key that nobody used for a while is too old to open anything, too */
	if (t->now.is_set && now_us - t->now.made_us < 2 * period_us)
		t->before = t->now;
	t->now = fresh;
	OPENSSL_cleanse(&fresh, sizeof(fresh));
	return true;
}

static bool use(const struct ticket_key *k, const unsigned char *iv, EVP_CIPHER_CTX *cipher, EVP_MAC_CTX *mac,
		bool seal)
{
	char digest[] = "SHA256";
	OSSL_PARAM params[] = {OSSL_PARAM_construct_octet_string(OSSL_MAC_PARAM_KEY, (void *)k->mac, KEY_BYTES),
			       OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, digest, 0),
			       OSSL_PARAM_construct_end()};
	return EVP_CipherInit_ex(cipher, EVP_aes_256_cbc(), NULL, k->cipher, iv, seal) == 1 &&
	       EVP_MAC_CTX_set_params(mac, params) == 1;
}

/* SSL_CTX_set_tlsext_ticket_key_evp_cb(3): 1 go on, 2 go on and give a new ticket, 0 a full handshake, -1 an error. */
static int on_ticket(SSL *ssl, unsigned char *name, unsigned char *iv, EVP_CIPHER_CTX *cipher, EVP_MAC_CTX *mac,
		     int seal)
{
	struct tickets *t = SSL_CTX_get_ex_data(SSL_get_SSL_CTX(ssl), index_of_tickets);
	int result = 0;
	if (!t)
		return 0;
	(void)pthread_mutex_lock(&t->lock);
	bool has_key = rotate(t, clock_monotonic_us());
	if (has_key && seal) {
		memcpy(name, t->now.name, NAME_BYTES);
		result = RAND_bytes(iv, EVP_CIPHER_get_iv_length(EVP_aes_256_cbc())) == 1 &&
				 use(&t->now, iv, cipher, mac, true)
			     ? 1
			     : -1;
	} else if (has_key && CRYPTO_memcmp(name, t->now.name, NAME_BYTES) == 0) {
		/* clients of TLS 1.3 use a ticket once (RFC 8446 appendix C.4): each gets another */
		int taken = SSL_version(ssl) >= TLS1_3_VERSION ? 2 : 1;
		result = use(&t->now, iv, cipher, mac, false) ? taken : -1;
	} else if (t->before.is_set && CRYPTO_memcmp(name, t->before.name, NAME_BYTES) == 0) {
		result = use(&t->before, iv, cipher, mac, false) ? 2 : -1;
	}
	(void)pthread_mutex_unlock(&t->lock);
	return result;
}

int tls_tickets_enable(SSL_CTX *ctx)
{
	(void)pthread_once(&index_once, make_index);
	struct tickets *t = calloc(1, sizeof(*t));
	if (!t)
		return ERR_NOMEM;
	(void)pthread_mutex_init(&t->lock, NULL);
	if (index_of_tickets < 0 || SSL_CTX_set_ex_data(ctx, index_of_tickets, t) != 1) {
		tickets_free(NULL, t, NULL, 0, 0, NULL);
		return ERR_FATAL;
	}
	(void)SSL_CTX_set_timeout(ctx, TLS_TICKET_LIFETIME_S);
	/* one is enough: each resumption gives the next */
	return SSL_CTX_set_num_tickets(ctx, 1) == 1 && SSL_CTX_set_tlsext_ticket_key_evp_cb(ctx, on_ticket) == 1
		   ? 0
		   : ERR_FATAL;
}

void tls_tickets_disable(SSL_CTX *ctx)
{
	(void)SSL_CTX_set_options(ctx, SSL_OP_NO_TICKET);
	(void)SSL_CTX_set_num_tickets(ctx, 0);
}
