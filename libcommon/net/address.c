#include "net/address.h"

#include "base/bytes.h"
#include "base/macros.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <string.h>

struct range4 {
	uint32_t network;
	unsigned bits;
	enum address_scope scope;
};

struct range6 {
	uint8_t network[16];
	unsigned bits;
	enum address_scope scope;
};

static const struct range4 ranges4[] = {
    {0x00000000, 8, ADDRESS_FORBIDDEN},					      /* this network */
    {0x0a000000, 8, ADDRESS_PRIVATE},					      /* RFC 1918 */
    {0x64400000, 10, ADDRESS_PRIVATE},					      /* carrier-grade NAT */
    {0x7f000000, 8, ADDRESS_LOOPBACK},	 {0xa9fe0000, 16, ADDRESS_FORBIDDEN}, /* link-local */
    {0xac100000, 12, ADDRESS_PRIVATE},					      /* RFC 1918 */
    {0xc0000000, 24, ADDRESS_FORBIDDEN},				      /* protocol assignments */
    {0xc0a80000, 16, ADDRESS_PRIVATE},					      /* RFC 1918 */
    {0xc6120000, 15, ADDRESS_PRIVATE},					      /* benchmarks */
    {0xe0000000, 3, ADDRESS_FORBIDDEN},					      /* multicast, reserved, broadcast */
};

static const struct range6 ranges6[] = {
    {{[15] = 1}, 128, ADDRESS_LOOPBACK},
    {{0}, 96, ADDRESS_FORBIDDEN},	      /* unspecified, IPv4-compatible */
    {{0xfc}, 7, ADDRESS_PRIVATE},	      /* unique local */
    {{0xfe, 0x80}, 9, ADDRESS_FORBIDDEN},     /* link-local, site-local */
    {{0xff}, 8, ADDRESS_FORBIDDEN},	      /* multicast */
    {{0x01}, 64, ADDRESS_FORBIDDEN},	      /* discard only */
    {{0x20, 0x01, 0}, 32, ADDRESS_FORBIDDEN}, /* Teredo */
};

/* Where an IPv4 address hides inside an IPv6 one. */
static const struct {
	uint8_t network[16];
	unsigned bits;
	unsigned at;
} embedded[] = {
    {{[10] = 0xff, [11] = 0xff}, 96, 12},	    /* mapped */
    {{0x00, 0x64, 0xff, 0x9b}, 96, 12},		    /* NAT64 */
    {{0x00, 0x64, 0xff, 0x9b, 0x00, 0x01}, 48, 12}, /* local NAT64 with /96 */
    {{0x20, 0x02}, 16, 2},			    /* 6to4 */
};

static const char *const names[ADDRESS_SCOPE_MAX] = {"global", "loopback", "private", "forbidden"};

const char *address_scope_to_string(enum address_scope s)
{
	return s < ADDRESS_SCOPE_MAX ? names[s] : "unknown";
}

static bool has_prefix(const uint8_t address[16], const uint8_t network[16], unsigned bits)
{
	unsigned whole = bits / 8, rest = bits % 8;
	if (memcmp(address, network, whole) != 0)
		return false;
	return rest == 0 || ((address[whole] ^ network[whole]) >> (8 - rest)) == 0;
}

static enum address_scope scope4(uint32_t address)
{
	for (size_t i = 0; i < ARRAY_SIZE(ranges4); i++)
		if (((address ^ ranges4[i].network) >> (32 - ranges4[i].bits)) == 0)
			return ranges4[i].scope;
	return ADDRESS_GLOBAL;
}

static enum address_scope scope6(const uint8_t address[16])
{
	for (size_t i = 0; i < ARRAY_SIZE(embedded); i++)
		if (has_prefix(address, embedded[i].network, embedded[i].bits)) {
			uint32_t inner = 0;
			memcpy(&inner, address + embedded[i].at, sizeof inner);
			return scope4(ntohl(inner));
		}
	for (size_t i = 0; i < ARRAY_SIZE(ranges6); i++)
		if (has_prefix(address, ranges6[i].network, ranges6[i].bits))
			return ranges6[i].scope;
	return ADDRESS_GLOBAL;
}

enum address_scope address_scope_of(const struct sockaddr *address, socklen_t n)
{
	if (address->sa_family == AF_INET && n >= (socklen_t)sizeof(struct sockaddr_in)) {
		struct sockaddr_in in;
		memcpy(&in, address, sizeof in);
		return scope4(ntohl(in.sin_addr.s_addr));
	}
	if (address->sa_family == AF_INET6 && n >= (socklen_t)sizeof(struct sockaddr_in6)) {
		struct sockaddr_in6 in6;
		memcpy(&in6, address, sizeof in6);
		return scope6(in6.sin6_addr.s6_addr);
	}
	return ADDRESS_FORBIDDEN;
}

/* IPv4 takes the place of ::/64, in which nobody has an address. */
#define NETWORK_OF_IPV4 UINT64_C(0xffff00000000)

uint64_t address_network(const struct sockaddr *address)
{
	if (address->sa_family == AF_INET) {
		struct sockaddr_in in;
		memcpy(&in, address, sizeof in);
		return NETWORK_OF_IPV4 | ntohl(in.sin_addr.s_addr);
	}
	if (address->sa_family != AF_INET6)
		return 0;
	struct sockaddr_in6 in6;
	memcpy(&in6, address, sizeof in6);
	if (IN6_IS_ADDR_V4MAPPED(&in6.sin6_addr)) {
		return NETWORK_OF_IPV4 | bytes_get32(in6.sin6_addr.s6_addr + 12);
	}
	return bytes_get64(in6.sin6_addr.s6_addr);
}
