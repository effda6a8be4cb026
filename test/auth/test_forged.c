/* SPDX-License-Identifier: MIT */
/* Tokens that are no good: known for a minute, and of one address not too many looked at. */
#include "auth/forged.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

static const struct peer one = {.family = AF_INET, .address = {192, 0, 2, 1}};
static const struct peer other = {.family = AF_INET, .address = {192, 0, 2, 2}};
static const struct peer neighbour = {.family = AF_INET6,
                                      .address = {0x20, 1, 0xd, 0xb8, [15] = 9}};
static const struct peer same_net = {.family = AF_INET6, .address = {0x20, 1, 0xd, 0xb8, [15] = 7}};

static const unsigned char *digest_of(int number)
{
    static unsigned char digest[TOKEN_CACHE_DIGEST_BYTES];
    char text[16];

    token_cache_digest(digest, text, (size_t)snprintf(text, sizeof(text), "%d", number));
    return digest;
}

/* Show a forged token at ten a second. */
static bool show(struct forged *forged, int number, const struct peer *client, int64_t now_ms)
{
    if (!forged_may_look(forged, digest_of(number), client, 10, now_ms))
        return false;
    forged_note(forged, digest_of(number), client, 10, JWT_SIGNATURE, now_ms);
    return true;
}

static void knows_a_token_for_a_minute(void **state)
{
    struct forged *forged = forged_new();

    (void)state;
    assert_int_equal(forged_find(forged, digest_of(1), 1000), JWT_OK);
    forged_note(forged, digest_of(1), &one, 10, JWT_EXPIRED, 1000);
    assert_int_equal(forged_find(forged, digest_of(1), 60999), JWT_EXPIRED);
    assert_int_equal(forged_find(forged, digest_of(2), 1000), JWT_OK);
    assert_int_equal(forged_find(forged, digest_of(1), 61000), JWT_OK);
    forged_note(forged, digest_of(1), &one, 10, JWT_SIGNATURE, 70000);
    forged_forget_tokens(forged);
    assert_int_equal(forged_find(forged, digest_of(1), 70000), JWT_OK);
    forged_free(forged);
}

static void looks_at_so_many_of_an_address(void **state)
{
    struct forged *forged = forged_new();
    unsigned looked = 0;

    (void)state;
    for (int i = 0; i < 10000; i++)
        looked += show(forged, i, &one, 1000 + i);
    assert_in_range(looked, 99, 102);
    assert_false(show(forged, 10000, &one, 10999));
    assert_true(show(forged, 10001, &other, 10999));
    /* a network of IPv6 is one address */
    assert_true(show(forged, 10002, &neighbour, 10999));
    assert_false(show(forged, 10003, &same_net, 10999));
    forged_free(forged);
}

/* Good tokens, and those that are only too old, use nothing up. */
static void only_forged_ones_count(void **state)
{
    struct forged *forged = forged_new();

    (void)state;
    for (int i = 0; i < 1000; i++) {
        assert_true(forged_may_look(forged, digest_of(i), &one, 10, 1000));
        if (i % 2 == 0)
            forged_note(forged, digest_of(i), &one, 10, JWT_EXPIRED, 1000);
    }
    forged_free(forged);
}

/* A good one beside a flood is put off once. */
static void what_comes_again_is_looked_at(void **state)
{
    struct forged *forged = forged_new();
    int number = 0;

    (void)state;
    while (show(forged, number++, &one, 1000))
        ;
    assert_false(forged_may_look(forged, digest_of(-1), &one, 10, 1000));
    /* not at once */
    assert_false(forged_may_look(forged, digest_of(-1), &one, 10, 1050));
    for (int64_t now_ms = 1000; now_ms < 2000; now_ms++)
        show(forged, number++, &one, now_ms);
    assert_true(forged_may_look(forged, digest_of(-1), &one, 10, 1999));
    forged_free(forged);
}

/* Whoever sends each forged one twice has twice as many looked at and no more. */
static void two_rounds_are_bounded_too(void **state)
{
    struct forged *forged = forged_new();
    unsigned looked = 0;

    (void)state;
    for (int round = 0; round < 10; round++)
        for (int i = 0; i < 1000; i++) {
            int64_t now_ms = 1000 + round * 1000 + i;

            looked += show(forged, round / 2 * 1000 + i, &one, now_ms);
        }
    assert_in_range(looked, 100, 205);
    forged_free(forged);
}

static void no_limit_is_none(void **state)
{
    struct forged *forged = forged_new();

    (void)state;
    for (int i = 0; i < 1000; i++) {
        assert_true(forged_may_look(forged, digest_of(i), &one, 0, 1000));
        forged_note(forged, digest_of(i), &one, 0, JWT_SIGNATURE, 1000);
    }
    forged_free(forged);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(knows_a_token_for_a_minute),
        cmocka_unit_test(looks_at_so_many_of_an_address),
        cmocka_unit_test(only_forged_ones_count),
        cmocka_unit_test(what_comes_again_is_looked_at),
        cmocka_unit_test(two_rounds_are_bounded_too),
        cmocka_unit_test(no_limit_is_none),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
