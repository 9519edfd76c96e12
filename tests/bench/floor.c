/* What the bytes of a recording cost at least: each primitive that ingest cannot do without, alone, in one pass over
 * the same number of bytes, with buffers that are used again. Prints CPU seconds (user and system) of each for one GiB.
 */
#include <errno.h>
#include <fcntl.h>
#include <isa-l/crc.h>
#include <netinet/in.h>
#include <openssl/evp.h>
#include <openssl/rand.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define GIB	      (1024.0 * 1024 * 1024)
#define RECORD_BYTES  16384 /* of TLS */
#define RECEIVE_BYTES 65536
#define SLOT_BYTES    65504 /* what a slot of the sealed format holds */
#define WRITE_BYTES   (1 << 20)
#define ALIGNMENT     4096

struct floor {
	uint64_t bytes;
	const char *file;
	uint8_t *data, *out; /* WRITE_BYTES each */
};

static void die(const char *what)
{
	(void)fprintf(stderr, "floor: %s: %s\n", what, strerror(errno));
	exit(1);
}

static double cpu_seconds(void)
{
	struct rusage u;
	(void)getrusage(RUSAGE_SELF, &u);
	return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) +
	       (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}

static void feed(int fd, const struct floor *f)
{
	for (uint64_t left = f->bytes; left > 0;) {
		size_t n = left < WRITE_BYTES ? left : WRITE_BYTES;
		ssize_t put = send(fd, f->data, n, MSG_NOSIGNAL);
		if (put <= 0)
			_exit(1);
		left -= (uint64_t)put;
	}
	_exit(0);
}

static void receive(struct floor *f)
{
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t n = sizeof(a);
	int size = 256 * 1024, listener = socket(AF_INET, SOCK_STREAM, 0);
	if (listener < 0 || setsockopt(listener, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size)) < 0 ||
	    bind(listener, (struct sockaddr *)&a, n) < 0 || listen(listener, 1) < 0 ||
	    getsockname(listener, (struct sockaddr *)&a, &n) < 0)
		die("listen");
	pid_t child = fork();
	if (child == 0) {
		int fd = socket(AF_INET, SOCK_STREAM, 0);
		if (fd < 0 || connect(fd, (struct sockaddr *)&a, n) < 0)
			_exit(1);
		feed(fd, f);
	}
	int fd = accept(listener, NULL, NULL);
	uint64_t got = 0;
	for (ssize_t r; fd >= 0 && (r = recv(fd, f->out, RECEIVE_BYTES, 0)) > 0;)
		got += (uint64_t)r;
	if (child < 0 || got != f->bytes || waitpid(child, NULL, 0) < 0)
		die("receive");
	(void)close(fd);
	(void)close(listener);
}

/* AES-256-GCM in pieces, by a context that is used again. */
static void cipher(struct floor *f, bool seal, size_t piece)
{
	static const uint8_t key[32] = {1};
	uint8_t nonce[12] = {0}, ad[13] = {0}, tag[16];
	EVP_CIPHER *gcm = EVP_CIPHER_fetch(NULL, "AES-256-GCM", NULL);
	EVP_CIPHER_CTX *c = EVP_CIPHER_CTX_new();
	int n;
	if (!gcm || !c || EVP_CipherInit_ex(c, gcm, NULL, key, nonce, seal) != 1)
		die("AES-256-GCM");
	for (uint64_t at = 0; at < f->bytes; at += piece) {
		memcpy(nonce, &at, sizeof(at));
		size_t from = at % (WRITE_BYTES - piece) & ~(uint64_t)15;
		if (EVP_CipherInit_ex(c, NULL, NULL, NULL, nonce, seal) != 1 ||
		    EVP_CipherUpdate(c, NULL, &n, ad, sizeof(ad)) != 1 ||
		    EVP_CipherUpdate(c, f->out, &n, f->data + from, (int)piece) != 1)
			die("AES-256-GCM");
		/* what is opened was never sealed: the tag is computed and found wrong, at the same cost */
		if (seal) {
			(void)EVP_EncryptFinal_ex(c, tag, &n);
			(void)EVP_CIPHER_CTX_ctrl(c, EVP_CTRL_AEAD_GET_TAG, sizeof(tag), tag);
		} else {
			(void)EVP_CIPHER_CTX_ctrl(c, EVP_CTRL_AEAD_SET_TAG, sizeof(tag), tag);
			(void)EVP_DecryptFinal_ex(c, tag, &n);
		}
	}
	EVP_CIPHER_CTX_free(c);
	EVP_CIPHER_free(gcm);
}

static void decrypt(struct floor *f)
{
	cipher(f, false, RECORD_BYTES);
}

static void seal(struct floor *f)
{
	cipher(f, true, SLOT_BYTES);
}

static void crc(struct floor *f)
{
	uint32_t sum = 0;
	for (uint64_t at = 0; at < f->bytes; at += RECORD_BYTES)
		sum = crc32_gzip_refl(sum, f->data + at % WRITE_BYTES, RECORD_BYTES);
	*(volatile uint32_t *)f->out = sum;
}

static void sha256(struct floor *f)
{
	uint8_t digest[32];
	unsigned n;
	EVP_MD_CTX *c = EVP_MD_CTX_new();
	if (!c || EVP_DigestInit_ex(c, EVP_sha256(), NULL) != 1)
		die("SHA-256");
	for (uint64_t at = 0; at < f->bytes; at += SLOT_BYTES)
		(void)EVP_DigestUpdate(c, f->data + (at % (WRITE_BYTES - SLOT_BYTES) & ~(uint64_t)15), SLOT_BYTES);
	(void)EVP_DigestFinal_ex(c, digest, &n);
	EVP_MD_CTX_free(c);
}

static void write_direct(struct floor *f)
{
	int fd = open(f->file, O_WRONLY | O_CREAT | O_TRUNC | O_DIRECT | O_CLOEXEC, 0600);
	if (fd < 0)
		fd = open(f->file, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (fd < 0)
		die(f->file);
	uint64_t done = 0;
	for (; done + WRITE_BYTES <= f->bytes; done += WRITE_BYTES)
		if (write(fd, f->data, WRITE_BYTES) != WRITE_BYTES || (done % (64 << 20) == 0 && fdatasync(fd) < 0))
			die("write");
	if (fdatasync(fd) < 0 || close(fd) < 0 || unlink(f->file) < 0)
		die("write");
}

int main(int argc, char **argv)
{
	static const struct {
		const char *name;
		void (*run)(struct floor *f);
	} primitives[] = {{"receive", receive}, {"decrypt", decrypt}, {"crc32", crc},
			  {"sha256", sha256},	{"seal", seal},	      {"write", write_direct}};
	struct floor f = {.bytes = argc == 3 ? strtoull(argv[1], NULL, 10) : 0, .file = argc == 3 ? argv[2] : NULL};
	f.data = aligned_alloc(ALIGNMENT, WRITE_BYTES);
	f.out = aligned_alloc(ALIGNMENT, WRITE_BYTES);
	if (f.bytes < WRITE_BYTES || !f.data || !f.out || RAND_bytes(f.data, WRITE_BYTES) != 1) {
		(void)fputs("usage: bench-floor BYTES FILE\n", stderr);
		return 2;
	}
	memset(f.out, 1, WRITE_BYTES);
	double sum = 0;
	for (size_t i = 0; i < sizeof(primitives) / sizeof(primitives[0]); i++) {
		double before = cpu_seconds();
		primitives[i].run(&f);
		double took = (cpu_seconds() - before) * GIB / (double)f.bytes;
		(void)printf("%s\"%s\":%.3f", i == 0 ? "{" : ",", primitives[i].name, took);
		sum += took;
	}
	(void)printf(",\"sum\":%.3f}\n", sum);
	return 0;
}
