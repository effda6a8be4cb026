/* SPDX-License-Identifier: MIT */
/* Who the client is behind proxies.  Trusted here: 10.0.0.0/8, 2001:db8:a::/48, unix sockets. */
#include "wire/forwarded.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#define ROWS(table) (sizeof(table) / sizeof((table)[0]))

static bool trusts(void *arg, const struct peer *peer)
{
    static const char *const trusted[] = {"10.0.0.0/8", "2001:db8:a::/48", "unix"};
    struct address_network network;

    (void)arg;
    for (size_t i = 0; i < ROWS(trusted); i++) {
        assert_true(address_parse_network(trusted[i], &network));
        if (address_in_network(peer, &network))
            return true;
    }
    return false;
}

/* `lines` are parted by '|'. */
static void assert_client(enum forwarded_form form, const char *peer, const char *lines,
                          const char *client)
{
    struct forwarded forwarded;
    char text[PEER_TEXT_BYTES];
    struct peer from = {0};

    assert_true(strcmp(peer, "unix") == 0 || address_parse(peer, strlen(peer), &from));
    forwarded_begin(&forwarded, &from, trusts, NULL);
    for (const char *line = lines; line != NULL;) {
        size_t line_n = strcspn(line, "|");

        forwarded_add(&forwarded, form, line, line_n);
        line = line[line_n] == '|' ? line + line_n + 1 : NULL;
    }
    if (strcmp(peer_text(forwarded_client(&forwarded), text), client) != 0)
        fail_msg("%s from %s: %s, expected %s", lines, peer, text, client);
}

struct row {
    const char *peer;
    const char *lines;
    const char *client;
};

static void reads_x_forwarded_for(void **state)
{
    static const struct row rows[] = {
        /* nobody is believed but the trusted */
        {"192.0.2.1", "", "192.0.2.1"},
        {"192.0.2.1", "198.51.100.1", "192.0.2.1"},
        {"192.0.2.1", "10.0.0.1", "192.0.2.1"},
        {"10.0.0.1", "", "10.0.0.1"},
        {"10.0.0.1", "198.51.100.1", "198.51.100.1"},
        {"unix", "198.51.100.1", "198.51.100.1"},
        {"2001:db8:a::1", "198.51.100.1", "198.51.100.1"},
        /* from right to left, up to the first who is not */
        {"10.0.0.1", "203.0.113.9, 198.51.100.1", "198.51.100.1"},
        {"10.0.0.1", "203.0.113.9, 198.51.100.1, 10.0.0.2", "198.51.100.1"},
        {"10.0.0.1", "10.0.0.9, 198.51.100.1, 10.0.0.3, 10.0.0.2", "198.51.100.1"},
        {"10.0.0.1", "10.0.0.3, 10.0.0.2", "10.0.0.3"},
        {"10.0.0.1", "203.0.113.9|198.51.100.1", "198.51.100.1"},
        {"10.0.0.1", "203.0.113.9, 198.51.100.1|10.0.0.2", "198.51.100.1"},
        {"10.0.0.1", "203.0.113.9||198.51.100.1|", "198.51.100.1"},
        /* forms of an address */
        {"10.0.0.1", "198.51.100.1:4711", "198.51.100.1:4711"},
        {"10.0.0.1", "2001:db8::1", "2001:db8::1"},
        {"10.0.0.1", "[2001:db8::1]", "2001:db8::1"},
        {"10.0.0.1", "[2001:db8::1]:4711", "[2001:db8::1]:4711"},
        {"10.0.0.1", "::ffff:198.51.100.1", "198.51.100.1"},
        {"10.0.0.1", "\t198.51.100.1 ,,  , ", "198.51.100.1"},
        {"10.0.0.1", "198.51.100.1:65535", "198.51.100.1:65535"},
        /* nobody knows */
        {"10.0.0.1", "unknown", "unknown"},
        {"10.0.0.1", "198.51.100.1, unknown", "unknown"},
        {"10.0.0.1", "198.51.100.1, unknown, 10.0.0.2", "unknown"},
        {"10.0.0.1", "unknown, 198.51.100.1", "198.51.100.1"},
        {"10.0.0.1", "198.51.100.1:65536", "unknown"},
        {"10.0.0.1", "198.51.100.1:", "unknown"},
        {"10.0.0.1", "198.51.100.1:x", "unknown"},
        {"10.0.0.1", "[198.51.100.1]", "unknown"},
        {"10.0.0.1", "[2001:db8::1", "unknown"},
        {"10.0.0.1", "[2001:db8::1]4711", "unknown"},
        {"10.0.0.1", "[]", "unknown"},
        {"10.0.0.1", "198.51.100.1 10.0.0.2", "unknown"},
        {"10.0.0.1", "for=198.51.100.1", "unknown"},
        {"10.0.0.1", "a\nb", "unknown"},
    };

    (void)state;
    for (size_t i = 0; i < ROWS(rows); i++)
        assert_client(FORWARDED_X_FORWARDED_FOR, rows[i].peer, rows[i].lines, rows[i].client);
}

static void reads_forwarded(void **state)
{
    static const struct row rows[] = {
        {"192.0.2.1", "for=198.51.100.1", "192.0.2.1"},
        {"10.0.0.1", "for=198.51.100.1", "198.51.100.1"},
        {"10.0.0.1", "For=\"198.51.100.1:4711\"", "198.51.100.1:4711"},
        {"10.0.0.1", "for=\"[2001:db8::1]\"", "2001:db8::1"},
        {"10.0.0.1", "for=\"[2001:db8::1]:4711\";proto=https", "[2001:db8::1]:4711"},
        {"10.0.0.1", "for=\"[2001:db8::1]:_port\"", "2001:db8::1"},
        {"10.0.0.1", "by=203.0.113.9;for=198.51.100.1;host=\"a,b;for=1.2.3.4\"", "198.51.100.1"},
        {"10.0.0.1", "proto=http ; for=198.51.100.1 ; by=203.0.113.9", "198.51.100.1"},
        {"10.0.0.1", "for=203.0.113.9, for=198.51.100.1;by=10.0.0.2, for=10.0.0.2", "198.51.100.1"},
        {"10.0.0.1", "for=203.0.113.9|for=198.51.100.1", "198.51.100.1"},
        {"10.0.0.1", "for=\"198.51\\.100.1\"", "198.51.100.1"},
        {"10.0.0.1", "for=198.51.100.1;ext=\"\\\",for=1.2.3.4\"", "198.51.100.1"},
        /* nobody knows */
        {"10.0.0.1", "for=unknown", "unknown"},
        {"10.0.0.1", "for=_hidden", "unknown"},
        {"10.0.0.1", "for=203.0.113.9, proto=https", "unknown"},
        {"10.0.0.1", "for=203.0.113.9;for=198.51.100.1", "unknown"},
        {"10.0.0.1", "for =198.51.100.1", "unknown"},
        {"10.0.0.1", "for=\"198.51.100.1", "unknown"},
        {"10.0.0.1", "for=\"", "unknown"},
        {"10.0.0.1", "for=\"198.51.100.1\"x", "unknown"},
        {"10.0.0.1", "for=198.51.100.1\"", "unknown"},
        {"10.0.0.1", "for=\"198.51.100.1\\", "unknown"},
        /* half a quote of the client's hides what its proxy says, and gains it nothing */
        {"10.0.0.1", "for=\"a, for=198.51.100.1", "unknown"},
        {"10.0.0.1", "for=10.0.0.9;x=\", for=198.51.100.1", "unknown"},
        {"10.0.0.1", "198.51.100.1", "unknown"},
    };

    (void)state;
    for (size_t i = 0; i < ROWS(rows); i++)
        assert_client(FORWARDED_RFC_7239, rows[i].peer, rows[i].lines, rows[i].client);
}

static void a_long_value_is_no_address(void **state)
{
    char line[300] = "for=\"";

    (void)state;
    memset(line + 5, '1', 200);
    line[205] = '"';
    assert_client(FORWARDED_RFC_7239, "10.0.0.1", line, "unknown");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_x_forwarded_for),
        cmocka_unit_test(reads_forwarded),
        cmocka_unit_test(a_long_value_is_no_address),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
