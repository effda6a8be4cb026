/* SPDX-License-Identifier: MIT */
/* So many a second: over seconds exactly, at once a tenth of it. */
#include "base/token_bucket.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <cmocka.h>

#define START_MS 1000000

static int take_all(struct token_bucket *bucket, uint64_t rate, int64_t now_ms)
{
    int taken = 0;

    while (token_bucket_take(bucket, rate, now_ms))
        taken++;
    return taken;
}

static void gives_a_tenth_at_once(void **state)
{
    struct token_bucket bucket = {0}, slow = {0};

    (void)state;
    assert_int_equal(take_all(&bucket, 1000, START_MS), 100);
    assert_int_equal(take_all(&slow, 3, START_MS), 1);
}

static void gives_at_once_what_a_deep_one_holds(void **state)
{
    struct token_bucket bucket = {0};
    int taken = 0;

    (void)state;
    while (token_bucket_take_deep(&bucket, 50, 2000, START_MS))
        taken++;
    assert_int_equal(taken, 100);
    assert_false(token_bucket_take_deep(&bucket, 50, 2000, START_MS + 19));
    assert_true(token_bucket_take_deep(&bucket, 50, 2000, START_MS + 20));
    assert_true(token_bucket_take_deep(&bucket, 0, 2000, START_MS + 20));
}

static void gives_the_rate_over_time(void **state)
{
    static const uint64_t rates[] = {1, 3, 7, 50, 1000, 20000};

    (void)state;
    for (size_t i = 0; i < sizeof(rates) / sizeof(rates[0]); i++) {
        struct token_bucket bucket = {0};
        int at_once = take_all(&bucket, rates[i], START_MS), taken = 0;

        for (int64_t ms = 1; ms <= 10000; ms++)
            taken += take_all(&bucket, rates[i], START_MS + ms);
        assert_true(at_once >= 1 && taken >= (int)rates[i] * 10 - 1);
        assert_true(taken <= (int)rates[i] * 10 + 1);
    }
}

static void tells_how_long_to_wait(void **state)
{
    struct token_bucket bucket = {0};
    int64_t now_ms = START_MS;

    (void)state;
    assert_int_equal(token_bucket_wait_ms(&bucket, 8, now_ms), 0);
    for (int i = 0; i < 20; i++) {
        assert_true(token_bucket_take(&bucket, 8, now_ms));
        assert_false(token_bucket_take(&bucket, 8, now_ms));
        assert_in_range(token_bucket_wait_ms(&bucket, 8, now_ms), 124, 126);
        now_ms += token_bucket_wait_ms(&bucket, 8, now_ms);
    }
}

static void a_rate_of_none_is_no_limit(void **state)
{
    struct token_bucket bucket = {0};

    (void)state;
    for (int i = 0; i < 100000; i++)
        assert_true(token_bucket_take(&bucket, 0, START_MS));
    assert_int_equal(token_bucket_wait_ms(&bucket, 0, START_MS), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gives_a_tenth_at_once),
        cmocka_unit_test(gives_at_once_what_a_deep_one_holds),
        cmocka_unit_test(gives_the_rate_over_time),
        cmocka_unit_test(tells_how_long_to_wait),
        cmocka_unit_test(a_rate_of_none_is_no_limit),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
