#include "base/uuid.h"

#include "base/clock.h"
#include "base/hex.h"

#include <string.h>
#include <sys/random.h>

static void fill_random(void *p, size_t n)
{
	uint8_t *at = p;
	while (n > 0) {
		ssize_t r = getrandom(at, n, 0);
		if (r < 0)
			abort();
		at += r;
		n -= (size_t)r;
	}
}

struct uuid uuid_v7(void)
{
	struct uuid u;
	fill_random(u.b, sizeof(u.b));
	uint64_t ms = (uint64_t)(clock_wall_us() / 1000);
	for (int i = 0; i < 6; i++)
		u.b[i] = (uint8_t)(ms >> (40 - 8 * i));
	u.b[6] = (uint8_t)(0x70 | (u.b[6] & 0x0f));
	u.b[8] = (uint8_t)(0x80 | (u.b[8] & 0x3f));
	return u;
}

struct uuid uuid_v4(void)
{
	struct uuid u;
	fill_random(u.b, sizeof(u.b));
	u.b[6] = (uint8_t)(0x40 | (u.b[6] & 0x0f));
	u.b[8] = (uint8_t)(0x80 | (u.b[8] & 0x3f));
	return u;
}

void uuid_format(const struct uuid *u, char ret[UUID_TEXT_BYTES])
{
	char hex[2 * UUID_BYTES + 1];
	hex_encode(u->b, UUID_BYTES, hex);
	(void)snprintf(ret, UUID_TEXT_BYTES, "%.8s-%.4s-%.4s-%.4s-%.12s", hex, hex + 8, hex + 12, hex + 16, hex + 20);
}

bool uuid_parse(const char *text, struct uuid *ret)
{
	if (!text || strnlen(text, UUID_TEXT_BYTES) != UUID_TEXT_BYTES - 1)
		return false;
	char hex[2 * UUID_BYTES + 1];
	size_t n = 0;
	for (size_t i = 0; i < UUID_TEXT_BYTES - 1; i++) {
		bool dash = i == 8 || i == 13 || i == 18 || i == 23;
		if (dash != (text[i] == '-'))
			return false;
		if (!dash)
			hex[n++] = text[i];
	}
	hex[n] = '\0';
	struct uuid u;
	if (!hex_decode(hex, u.b, sizeof(u.b)))
		return false;
	*ret = u;
	return true;
}

bool uuid_equal(const struct uuid *a, const struct uuid *b)
{
	return memcmp(a->b, b->b, UUID_BYTES) == 0;
}

bool uuid_is_zero(const struct uuid *u)
{
	static const struct uuid zero;
	return uuid_equal(u, &zero);
}
