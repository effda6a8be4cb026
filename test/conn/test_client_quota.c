/* SPDX-License-Identifier: MIT */
/* Who counts against which limit, and that counts come back to what they were. */
#include "conn/client_quota.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/address.h"

static struct client_quota *build(void)
{
    char *items[] = {(char[]){"10.0.0.0/8"}, (char[]){"unix"}};
    struct conf conf = {.server.trusted_proxies = {.items = items, .items_n = 2}};
    struct client_quota *quota = client_quota_new(&conf);

    assert_non_null(quota);
    return quota;
}

static struct peer peer_of(const char *text)
{
    struct peer peer = {.family = PEER_UNKNOWN};

    if (strcmp(text, "unix") == 0)
        peer.family = 0;
    else if (strcmp(text, "unknown") != 0)
        assert_true(address_parse(text, strlen(text), &peer));
    return peer;
}

static bool connects(struct client_quota *quota, const char *address, uint64_t most)
{
    struct peer peer = peer_of(address);

    return client_quota_add_connection(quota, &peer, most);
}

static void leaves(struct client_quota *quota, const char *address)
{
    struct peer peer = peer_of(address);

    client_quota_drop_connection(quota, &peer);
}

static void an_address_has_so_many_connections(void **state)
{
    struct client_quota *quota = build();

    (void)state;
    assert_true(connects(quota, "192.0.2.1", 2));
    assert_true(connects(quota, "192.0.2.1", 2));
    assert_false(connects(quota, "192.0.2.1", 2));
    assert_true(connects(quota, "192.0.2.2", 2));
    leaves(quota, "192.0.2.1");
    assert_true(connects(quota, "192.0.2.1", 2));
    assert_false(connects(quota, "192.0.2.1", 2));
    assert_true(connects(quota, "2001:db8::1", 2));
    assert_true(connects(quota, "2001:db8::2", 2));
    assert_false(connects(quota, "2001:db8::3", 2));
    assert_true(connects(quota, "2001:db8:0:1::1", 2));
    assert_true(connects(quota, "unknown", 1));
    assert_false(connects(quota, "unknown", 1));
    client_quota_free(quota);
}

static void some_are_never_counted(void **state)
{
    static const char *const cases[] = {"127.0.0.1", "127.9.9.9", "::1", "unix", "10.1.2.3"};
    struct client_quota *quota = build();

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        for (int j = 0; j < 3; j++)
            assert_true(connects(quota, cases[i], 1));
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        leaves(quota, cases[i]);
    client_quota_free(quota);
}

static void a_limit_may_change_at_any_time(void **state)
{
    struct client_quota *quota = build();

    (void)state;
    for (int i = 0; i < 5; i++)
        assert_true(connects(quota, "192.0.2.1", 0)); /* no limit, and counted all the same */
    assert_false(connects(quota, "192.0.2.1", 5));
    assert_true(connects(quota, "192.0.2.1", 6));
    for (int i = 0; i < 6; i++)
        leaves(quota, "192.0.2.1");
    assert_true(connects(quota, "192.0.2.1", 1));
    client_quota_free(quota);
}

static enum client_quota_verdict sit(struct client_quota *quota, const char *address,
                                     const char *user, struct client_quota_entry *ret_entry)
{
    struct client_quota_limits limits = {.streams_per_address = 2, .streams_per_user = 3};
    struct peer peer = peer_of(address);

    return client_quota_enter(quota, &peer, user, user != NULL ? strlen(user) : 0, &limits,
                              ret_entry);
}

static void a_stream_counts_for_its_address_and_its_user(void **state)
{
    struct client_quota *quota = build();
    struct client_quota_entry entries[8];

    (void)state;
    assert_int_equal(sit(quota, "192.0.2.1", "ann", &entries[0]), CLIENT_QUOTA_GRANTED);
    assert_int_equal(sit(quota, "192.0.2.1", NULL, &entries[1]), CLIENT_QUOTA_GRANTED);
    assert_int_equal(sit(quota, "192.0.2.1", "bob", &entries[2]), CLIENT_QUOTA_ADDRESS_FULL);
    assert_int_equal(sit(quota, "127.0.0.1", "ann", &entries[2]), CLIENT_QUOTA_GRANTED);
    assert_int_equal(sit(quota, "192.0.2.2", "ann", &entries[3]), CLIENT_QUOTA_GRANTED);
    assert_int_equal(sit(quota, "192.0.2.3", "ann", &entries[4]), CLIENT_QUOTA_USER_FULL);
    assert_int_equal(sit(quota, "192.0.2.3", "an", &entries[4]), CLIENT_QUOTA_GRANTED);
    assert_int_equal(sit(quota, "192.0.2.3", NULL, &entries[5]), CLIENT_QUOTA_GRANTED);
    assert_int_equal(sit(quota, "192.0.2.3", NULL, &entries[6]), CLIENT_QUOTA_ADDRESS_FULL);
    for (int i = 0; i < 6; i++) {
        client_quota_leave(quota, &entries[i]);
        client_quota_leave(quota, &entries[i]); /* it has none by now */
    }
    for (int i = 0; i < 2; i++)
        assert_int_equal(sit(quota, "192.0.2.1", "ann", &entries[i]), CLIENT_QUOTA_GRANTED);
    assert_int_equal(sit(quota, "192.0.2.1", NULL, &entries[2]), CLIENT_QUOTA_ADDRESS_FULL);
    client_quota_free(quota);
}

/* A refusal for the user's sake must give back the place of the address. */
static void a_refused_stream_counts_for_nobody(void **state)
{
    struct client_quota *quota = build();
    struct client_quota_entry entries[4];

    (void)state;
    for (int i = 0; i < 3; i++)
        assert_int_equal(sit(quota, "unix", "ann", &entries[i]), CLIENT_QUOTA_GRANTED);
    for (int i = 0; i < 9; i++)
        assert_int_equal(sit(quota, "192.0.2.1", "ann", &entries[3]), CLIENT_QUOTA_USER_FULL);
    for (int i = 0; i < 2; i++)
        assert_int_equal(sit(quota, "192.0.2.1", "bob", &entries[3]), CLIENT_QUOTA_GRANTED);
    client_quota_free(quota);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_address_has_so_many_connections),
        cmocka_unit_test(some_are_never_counted),
        cmocka_unit_test(a_limit_may_change_at_any_time),
        cmocka_unit_test(a_stream_counts_for_its_address_and_its_user),
        cmocka_unit_test(a_refused_stream_counts_for_nobody),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
