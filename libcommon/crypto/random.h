/* Randomness from the kernel. */
#ifndef RUSHES_CRYPTO_RANDOM_H
#define RUSHES_CRYPTO_RANDOM_H

#include "base/macros.h"

/* Fills `ret` from getrandom(2); aborts when the kernel refuses: no caller may go on with guessable bytes. Any thread;
 * a seccomp filter must allow getrandom. */
void random_bytes(void *ret, size_t n);

#endif
