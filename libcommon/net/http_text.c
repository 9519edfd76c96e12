#include "net/http_parse.h"

#include "base/hex.h"

#include <string.h>

bool http_decode(const char *text, size_t n, bool plus, char *ret)
{
	size_t out = 0;
	for (size_t i = 0; i < n; i++) {
		char c = text[i];
		if (c == '%') {
			char digits[3];
			if (n - i < 3)
				return false;
			memcpy(digits, text + i + 1, 2);
			digits[2] = '\0';
			if (!hex_decode(digits, &c, 1))
				return false;
			i += 2;
		} else if (c == '+' && plus) {
			c = ' ';
		}
		if ((unsigned char)c < 0x20 || c == 0x7f)
			return false;
		ret[out++] = c;
	}
	ret[out] = '\0';
	return http_utf8_valid(ret, out);
}

/* Length of the sequence that the first byte opens, 0 when it opens none. */
static unsigned sequence_length(unsigned char c)
{
	if (c < 0x80)
		return 1;
	if (c >= 0xc2 && c <= 0xdf)
		return 2;
	if (c >= 0xe0 && c <= 0xef)
		return 3;
	return c >= 0xf0 && c <= 0xf4 ? 4 : 0;
}

bool http_utf8_valid(const char *text, size_t n)
{
	const unsigned char *p = (const unsigned char *)text;
	for (size_t i = 0; i < n;) {
		unsigned length = sequence_length(p[i]);
		if (length == 0 || length > n - i)
			return false;
		for (unsigned k = 1; k < length; k++)
			if ((p[i + k] & 0xc0) != 0x80)
				return false;
		/* overlong forms, surrogates and what lies above U+10FFFF, seen by the second byte (RFC 3629, section
		 * 4) */
		if ((p[i] == 0xe0 && p[i + 1] < 0xa0) || (p[i] == 0xed && p[i + 1] > 0x9f) ||
		    (p[i] == 0xf0 && p[i + 1] < 0x90) || (p[i] == 0xf4 && p[i + 1] > 0x8f))
			return false;
		i += length;
	}
	return true;
}
