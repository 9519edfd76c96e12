#include "crypto/random.h"

#include <errno.h>
#include <sys/random.h>

void random_bytes(void *ret, size_t n)
{
	uint8_t *p = ret;
	while (n > 0) {
		ssize_t got = getrandom(p, n, 0);
		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			abort();
		p += got;
		n -= (size_t)got;
	}
}
