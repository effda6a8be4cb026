/* SPDX-License-Identifier: MIT */
/* Addresses as text, sockaddr and key, and the networks of an operator. */
#include "base/address.h"

#include <setjmp.h>
#include <netinet/in.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#define ROWS(table) (sizeof(table) / sizeof((table)[0]))

static struct peer peer_of(const char *text)
{
    struct peer peer;

    if (!address_parse(text, strlen(text), &peer))
        fail_msg("%s", text);
    return peer;
}

static void reads_plain_addresses(void **state)
{
    static const struct {
        const char *text;
        const char *is;
    } cases[] = {
        {"192.0.2.1", "192.0.2.1"},
        {"0.0.0.0", "0.0.0.0"},
        {"2001:db8::1", "2001:db8::1"},
        {"2001:DB8:0:0:0:0:0:1", "2001:db8::1"},
        {"::", "::"},
        {"::ffff:192.0.2.1", "192.0.2.1"},
    };

    (void)state;
    for (size_t i = 0; i < ROWS(cases); i++) {
        struct peer peer = peer_of(cases[i].text);
        char text[PEER_TEXT_BYTES];

        assert_string_equal(peer_text(&peer, text), cases[i].is);
    }
}

static void refuses_all_else(void **state)
{
    static const char *const cases[] = {
        "",
        "192.0.2",
        "192.0.2.256",
        "192.0.2.1.1",
        " 192.0.2.1",
        "192.0.2.1 ",
        "192.0.02.1",
        "0x7f.0.0.1",
        "3221225985",
        "192.0.2.1:1",
        "[::1]",
        "fe80::1%eth0",
        ":::",
        "1::2::3",
        "unknown",
        "localhost",
        "192.0.2.1\n",
        "::1\r\nx",
        "1111:2222:3333:4444:5555:6666:7777:8888:9999:aaaa:bbbb:cccc:dddd:eeee:ffff",
    };
    struct peer peer;

    (void)state;
    for (size_t i = 0; i < ROWS(cases); i++)
        if (address_parse(cases[i], strlen(cases[i]), &peer))
            fail_msg("%s", cases[i]);
    assert_false(address_parse("192.0.2.1\0002", 11, &peer));
}

static void goes_to_the_kernel_and_back(void **state)
{
    struct peer peers[] = {
        peer_of("192.0.2.1"), peer_of("2001:db8::1"), {.family = PEER_UNKNOWN}, {.family = 0}};

    (void)state;
    peers[0].port = 4711;
    peers[1].port = 80;
    for (size_t i = 0; i < ROWS(peers); i++) {
        struct sockaddr_storage address;
        struct peer back;

        assert_true(address_to_sockaddr(&peers[i], &address) >= sizeof(sa_family_t));
        peer_from_sockaddr((struct sockaddr *)&address, &back);
        assert_memory_equal(&back, &peers[i], sizeof(back));
    }
}

static bool same_key(const char *one, const char *other)
{
    uint8_t one_key[ADDRESS_KEY_BYTES], other_key[ADDRESS_KEY_BYTES];
    struct peer a = peer_of(one), b = peer_of(other);
    size_t one_n, other_n;

    b.port = 1; /* which is nobody's business */
    one_n = address_key(&a, one_key);
    other_n = address_key(&b, other_key);
    return one_n == other_n && memcmp(one_key, other_key, one_n) == 0;
}

static void counts_ipv6_by_its_first_half(void **state)
{
    (void)state;
    assert_true(same_key("192.0.2.1", "192.0.2.1"));
    assert_true(same_key("192.0.2.1", "::ffff:192.0.2.1"));
    assert_false(same_key("192.0.2.1", "192.0.2.2"));
    assert_true(same_key("2001:db8:0:1::1", "2001:db8:0:1:ffff::2"));
    assert_false(same_key("2001:db8:0:1::1", "2001:db8:0:2::1"));
    assert_false(same_key("c000:201::", "192.0.2.1"));
}

static void finds_out_who_is_in_a_network(void **state)
{
    static const struct {
        const char *network;
        const char *address;
        bool is_in;
    } cases[] = {
        {"192.0.2.1", "192.0.2.1", true},
        {"192.0.2.1", "192.0.2.0", false},
        {"192.0.2.1/32", "192.0.2.1", true},
        {"10.0.0.0/8", "10.255.255.255", true},
        {"10.0.0.0/8", "11.0.0.0", false},
        {"10.1.2.3/8", "10.9.9.9", true},
        {"10.0.0.0/12", "10.15.255.255", true},
        {"10.0.0.0/12", "10.16.0.0", false},
        {"192.0.2.2/31", "192.0.2.3", true},
        {"192.0.2.2/31", "192.0.2.4", false},
        {"0.0.0.0/0", "203.0.113.7", true},
        {"0.0.0.0/0", "2001:db8::1", false},
        {"::/0", "2001:db8::1", true},
        {"::/0", "203.0.113.7", false},
        {"2001:db8::/32", "2001:db8:ffff::1", true},
        {"2001:db8::/32", "2001:db9::1", false},
        {"2001:db8::/33", "2001:db8:7fff::1", true},
        {"2001:db8::/33", "2001:db8:8000::1", false},
        {"::1", "::1", true},
        {"::1/128", "::2", false},
        {"::ffff:10.0.0.0/8", "10.1.1.1", true},
        {"unix", "192.0.2.1", false},
    };

    (void)state;
    for (size_t i = 0; i < ROWS(cases); i++) {
        struct address_network network;
        struct peer peer = peer_of(cases[i].address);

        assert_true(address_parse_network(cases[i].network, &network));
        if (address_in_network(&peer, &network) != cases[i].is_in)
            fail_msg("%s in %s", cases[i].address, cases[i].network);
    }
}

static void unix_sockets_are_a_network_of_their_own(void **state)
{
    struct peer nobody = {.family = PEER_UNKNOWN}, local = {.family = 0};
    struct address_network network;

    (void)state;
    assert_true(address_parse_network("unix", &network));
    assert_true(address_in_network(&local, &network));
    assert_false(address_in_network(&nobody, &network));
    assert_true(address_parse_network("0.0.0.0/0", &network));
    assert_false(address_in_network(&local, &network));
    assert_false(address_in_network(&nobody, &network));
}

static void refuses_what_is_no_network(void **state)
{
    static const char *const cases[] = {
        "",
        "10.0.0.0/",
        "10.0.0.0/33",
        "10.0.0.0/-1",
        "10.0.0.0/8 ",
        "10.0.0.0/+8",
        "10.0.0.0/8/8",
        "::/129",
        "::/0128",
        "unix/8",
        "unix:",
        "localhost",
        "10.0.0/8",
        "10.0.0.0:80",
        "[::1]",
        "*",
        "/8",
        "::ffff:0:0/96",
    };

    (void)state;
    for (size_t i = 0; i < ROWS(cases); i++)
        if (address_is_network(cases[i]))
            fail_msg("%s", cases[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_plain_addresses),
        cmocka_unit_test(refuses_all_else),
        cmocka_unit_test(goes_to_the_kernel_and_back),
        cmocka_unit_test(counts_ipv6_by_its_first_half),
        cmocka_unit_test(finds_out_who_is_in_a_network),
        cmocka_unit_test(unix_sockets_are_a_network_of_their_own),
        cmocka_unit_test(refuses_what_is_no_network),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
