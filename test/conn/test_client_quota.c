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
    struct client_quota *admission = client_quota_new(&conf);

    assert_non_null(admission);
    return admission;
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

static bool connects(struct client_quota *admission, const char *address, uint64_t most)
{
    struct peer peer = peer_of(address);

    return client_quota_add_connection(admission, &peer, most);
}

static void leaves(struct client_quota *admission, const char *address)
{
    struct peer peer = peer_of(address);

    client_quota_drop_connection(admission, &peer);
}

static void an_address_has_so_many_connections(void **state)
{
    struct client_quota *admission = build();

    (void)state;
    assert_true(connects(admission, "192.0.2.1", 2));
    assert_true(connects(admission, "192.0.2.1", 2));
    assert_false(connects(admission, "192.0.2.1", 2));
    assert_true(connects(admission, "192.0.2.2", 2));
    leaves(admission, "192.0.2.1");
    assert_true(connects(admission, "192.0.2.1", 2));
    assert_false(connects(admission, "192.0.2.1", 2));
    assert_true(connects(admission, "2001:db8::1", 2));
    assert_true(connects(admission, "2001:db8::2", 2));
    assert_false(connects(admission, "2001:db8::3", 2));
    assert_true(connects(admission, "2001:db8:0:1::1", 2));
    assert_true(connects(admission, "unknown", 1));
    assert_false(connects(admission, "unknown", 1));
    client_quota_free(admission);
}

static void some_are_never_counted(void **state)
{
    static const char *const cases[] = {"127.0.0.1", "127.9.9.9", "::1", "unix", "10.1.2.3"};
    struct client_quota *admission = build();

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        for (int j = 0; j < 3; j++)
            assert_true(connects(admission, cases[i], 1));
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        leaves(admission, cases[i]);
    client_quota_free(admission);
}

static void a_limit_may_change_at_any_time(void **state)
{
    struct client_quota *admission = build();

    (void)state;
    for (int i = 0; i < 5; i++)
        assert_true(connects(admission, "192.0.2.1", 0)); /* no limit, and counted all the same */
    assert_false(connects(admission, "192.0.2.1", 5));
    assert_true(connects(admission, "192.0.2.1", 6));
    for (int i = 0; i < 6; i++)
        leaves(admission, "192.0.2.1");
    assert_true(connects(admission, "192.0.2.1", 1));
    client_quota_free(admission);
}

static enum client_quota_verdict sit(struct client_quota *admission, const char *address,
                                     const char *user, struct client_quota_entry *ret_seat)
{
    struct client_quota_limits limits = {.streams_per_address = 2, .streams_per_user = 3};
    struct peer peer = peer_of(address);

    return client_quota_enter(admission, &peer, user, user != NULL ? strlen(user) : 0, &limits,
                              ret_seat);
}

static void a_stream_counts_for_its_address_and_its_user(void **state)
{
    struct client_quota *admission = build();
    struct client_quota_entry seats[8];

    (void)state;
    assert_int_equal(sit(admission, "192.0.2.1", "ann", &seats[0]), CLIENT_QUOTA_GRANTED);
    assert_int_equal(sit(admission, "192.0.2.1", NULL, &seats[1]), CLIENT_QUOTA_GRANTED);
    assert_int_equal(sit(admission, "192.0.2.1", "bob", &seats[2]), CLIENT_QUOTA_ADDRESS_FULL);
    assert_int_equal(sit(admission, "127.0.0.1", "ann", &seats[2]), CLIENT_QUOTA_GRANTED);
    assert_int_equal(sit(admission, "192.0.2.2", "ann", &seats[3]), CLIENT_QUOTA_GRANTED);
    assert_int_equal(sit(admission, "192.0.2.3", "ann", &seats[4]), CLIENT_QUOTA_USER_FULL);
    assert_int_equal(sit(admission, "192.0.2.3", "an", &seats[4]), CLIENT_QUOTA_GRANTED);
    assert_int_equal(sit(admission, "192.0.2.3", NULL, &seats[5]), CLIENT_QUOTA_GRANTED);
    assert_int_equal(sit(admission, "192.0.2.3", NULL, &seats[6]), CLIENT_QUOTA_ADDRESS_FULL);
    for (int i = 0; i < 6; i++) {
        client_quota_leave(admission, &seats[i]);
        client_quota_leave(admission, &seats[i]); /* it has none by now */
    }
    for (int i = 0; i < 2; i++)
        assert_int_equal(sit(admission, "192.0.2.1", "ann", &seats[i]), CLIENT_QUOTA_GRANTED);
    assert_int_equal(sit(admission, "192.0.2.1", NULL, &seats[2]), CLIENT_QUOTA_ADDRESS_FULL);
    client_quota_free(admission);
}

/* A refusal for the user's sake must give back the place of the address. */
static void a_refused_stream_counts_for_nobody(void **state)
{
    struct client_quota *admission = build();
    struct client_quota_entry seats[4];

    (void)state;
    for (int i = 0; i < 3; i++)
        assert_int_equal(sit(admission, "unix", "ann", &seats[i]), CLIENT_QUOTA_GRANTED);
    for (int i = 0; i < 9; i++)
        assert_int_equal(sit(admission, "192.0.2.1", "ann", &seats[3]), CLIENT_QUOTA_USER_FULL);
    for (int i = 0; i < 2; i++)
        assert_int_equal(sit(admission, "192.0.2.1", "bob", &seats[3]), CLIENT_QUOTA_GRANTED);
    client_quota_free(admission);
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
