#include "net/address.h"

#include "base/macros.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <sys/un.h>
/* after the headers it needs */
#include <cmocka.h>

static enum address_scope scope(const char *text)
{
	struct sockaddr_in in = {.sin_family = AF_INET};
	struct sockaddr_in6 in6 = {.sin6_family = AF_INET6};
	if (inet_pton(AF_INET, text, &in.sin_addr) == 1)
		return address_scope_of((struct sockaddr *)&in, sizeof in);
	assert_int_equal(inet_pton(AF_INET6, text, &in6.sin6_addr), 1);
	return address_scope_of((struct sockaddr *)&in6, sizeof in6);
}

static void test_scopes(void **state _unused_)
{
	static const struct {
		const char *text;
		enum address_scope scope;
	} cases[] = {
	    {"8.8.8.8", ADDRESS_GLOBAL},
	    {"127.0.0.1", ADDRESS_LOOPBACK},
	    {"127.255.255.254", ADDRESS_LOOPBACK},
	    {"128.0.0.0", ADDRESS_GLOBAL},
	    {"10.0.0.1", ADDRESS_PRIVATE},
	    {"11.0.0.1", ADDRESS_GLOBAL},
	    {"172.15.255.255", ADDRESS_GLOBAL},
	    {"172.16.0.0", ADDRESS_PRIVATE},
	    {"172.31.255.255", ADDRESS_PRIVATE},
	    {"172.32.0.0", ADDRESS_GLOBAL},
	    {"192.168.1.1", ADDRESS_PRIVATE},
	    {"100.64.0.1", ADDRESS_PRIVATE},
	    {"100.128.0.1", ADDRESS_GLOBAL},
	    {"169.254.169.254", ADDRESS_FORBIDDEN},
	    {"0.0.0.0", ADDRESS_FORBIDDEN},
	    {"224.0.0.1", ADDRESS_FORBIDDEN},
	    {"255.255.255.255", ADDRESS_FORBIDDEN},
	    {"223.255.255.255", ADDRESS_GLOBAL},
	    {"::1", ADDRESS_LOOPBACK},
	    {"::", ADDRESS_FORBIDDEN},
	    {"::2", ADDRESS_FORBIDDEN},
	    {"2a00:1450::1", ADDRESS_GLOBAL},
	    {"fc00::1", ADDRESS_PRIVATE},
	    {"fdff::1", ADDRESS_PRIVATE},
	    {"fe80::1", ADDRESS_FORBIDDEN},
	    {"fec0::1", ADDRESS_FORBIDDEN},
	    {"ff02::1", ADDRESS_FORBIDDEN},
	    {"::ffff:127.0.0.1", ADDRESS_LOOPBACK},
	    {"::ffff:169.254.169.254", ADDRESS_FORBIDDEN},
	    {"::ffff:8.8.8.8", ADDRESS_GLOBAL},
	    {"64:ff9b::10.0.0.1", ADDRESS_PRIVATE},
	    {"2002:7f00:1::", ADDRESS_LOOPBACK},
	    {"2002:808:808::", ADDRESS_GLOBAL},
	};
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
		if (scope(cases[i].text) != cases[i].scope)
			fail_msg("%s is %s", cases[i].text, address_scope_to_string(scope(cases[i].text)));
}

static void test_other_families_are_forbidden(void **state _unused_)
{
	struct sockaddr_un un = {.sun_family = AF_UNIX, .sun_path = "/run/x"};
	struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(0x08080808)};
	assert_int_equal(address_scope_of((struct sockaddr *)&un, sizeof un), ADDRESS_FORBIDDEN);
	/* cut short */
	assert_int_equal(address_scope_of((struct sockaddr *)&in, 4), ADDRESS_FORBIDDEN);
}

static uint64_t network(const char *text)
{
	struct sockaddr_in in = {.sin_family = AF_INET};
	struct sockaddr_in6 in6 = {.sin6_family = AF_INET6};
	if (inet_pton(AF_INET, text, &in.sin_addr) == 1)
		return address_network((struct sockaddr *)&in);
	assert_int_equal(inet_pton(AF_INET6, text, &in6.sin6_addr), 1);
	return address_network((struct sockaddr *)&in6);
}

static void test_networks(void **state _unused_)
{
	assert_true(network("192.0.2.1") == network("::ffff:192.0.2.1"));
	assert_true(network("192.0.2.1") != network("192.0.2.2"));
	assert_true(network("2001:db8:1:2::1") == network("2001:db8:1:2:ffff:ffff:ffff:ffff"));
	assert_true(network("2001:db8:1:2::1") != network("2001:db8:1:3::1"));
	assert_true(network("::1") != network("0.0.0.1"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_scopes),
	    cmocka_unit_test(test_other_families_are_forbidden),
	    cmocka_unit_test(test_networks),
	};
	return cmocka_run_group_tests_name("address", tests, NULL, NULL);
}
