/* SPDX-License-Identifier: MIT */
/* What counts as standing still, and what as too slow, to the millisecond. */
#include "config.h"
#include "base/min_rate.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#define BEGUN_MS 7000

static struct min_rate begun(int64_t bytes)
{
    struct min_rate rate;

    min_rate_begin(&rate, BEGUN_MS, bytes);
    return rate;
}

static void test_still_since_the_last_change(void **state)
{
    struct min_rate rate = begun(10);

    (void)state;
    assert_int_equal(min_rate_still_ms(&rate, BEGUN_MS + 300), 300);
    min_rate_note(&rate, BEGUN_MS + 400, 10);
    assert_int_equal(min_rate_still_ms(&rate, BEGUN_MS + 400), 400);
    min_rate_note(&rate, BEGUN_MS + 500, 11);
    assert_int_equal(min_rate_still_ms(&rate, BEGUN_MS + 700), 200);
    min_rate_moved(&rate, BEGUN_MS + 750);
    assert_int_equal(min_rate_still_ms(&rate, BEGUN_MS + 790), 40);
    /* what waits unread on a unix socket is counted backwards, and may come and go */
    min_rate_note(&rate, BEGUN_MS + 800, -50);
    assert_int_equal(min_rate_still_ms(&rate, BEGUN_MS + 800), 0);
}

static void test_nobody_is_slow_within_the_grace(void **state)
{
    struct min_rate rate = begun(0);

    (void)state;
    assert_false(min_rate_is_slow(&rate, BEGUN_MS, 1000));
    assert_false(min_rate_is_slow(&rate, BEGUN_MS + MIN_RATE_GRACE_MS, 1000));
    assert_true(min_rate_is_slow(&rate, BEGUN_MS + MIN_RATE_GRACE_MS + 1, 1000));
}

static void test_slow_is_below_the_rate_on_the_whole(void **state)
{
    struct min_rate rate = begun(500);
    int64_t now_ms = BEGUN_MS + MIN_RATE_GRACE_MS + 2000;

    (void)state;
    min_rate_note(&rate, BEGUN_MS + 1, 500 + 1999);
    assert_true(min_rate_is_slow(&rate, now_ms, 1000));
    min_rate_note(&rate, BEGUN_MS + 2, 500 + 2000);
    assert_false(min_rate_is_slow(&rate, now_ms, 1000));
    assert_true(min_rate_is_slow(&rate, now_ms + 1, 1000));
}

static void test_no_rate_is_no_bound(void **state)
{
    struct min_rate rate = begun(0);

    (void)state;
    assert_false(min_rate_is_slow(&rate, INT64_MAX / 2, 0));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_still_since_the_last_change),
        cmocka_unit_test(test_nobody_is_slow_within_the_grace),
        cmocka_unit_test(test_slow_is_below_the_rate_on_the_whole),
        cmocka_unit_test(test_no_rate_is_no_bound),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
