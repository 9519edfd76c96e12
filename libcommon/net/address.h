/* What kind of network an address belongs to. An endpoint that a customer names must not lead into our own network, and
 * a name may resolve differently each time: so the address is judged at the moment of the connection. */
#ifndef RUSHES_NET_ADDRESS_H
#define RUSHES_NET_ADDRESS_H

#include <stdint.h>
#include <sys/socket.h>

enum address_scope {
	ADDRESS_GLOBAL,
	ADDRESS_LOOPBACK,  /* 127.0.0.0/8, ::1 */
	ADDRESS_PRIVATE,   /* RFC 1918, RFC 6598, RFC 4193 and the like */
	ADDRESS_FORBIDDEN, /* link-local (metadata services live there), multicast, unspecified, reserved, other
			      families */
	ADDRESS_SCOPE_MAX
};

const char *address_scope_to_string(enum address_scope s);

/* IPv4 inside IPv6 (mapped, NAT64, 6to4) is judged as the IPv4 address. IANA's special-purpose registries. */
enum address_scope address_scope_of(const struct sockaddr *address, socklen_t n);

/* Whom an address belongs to, for limits: one number for each IPv4 address (also mapped into IPv6), one for each /64 of
 * IPv6, of which a single customer has all the addresses. 0 for other families. */
uint64_t address_network(const struct sockaddr *address);

#endif
