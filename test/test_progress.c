/* SPDX-License-Identifier: MIT */
/* What counts as standing still, and what as too slow, to the millisecond. */
#include "config.h"
#include "progress.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#define BEGUN_MS 7000

static struct progress begun(int64_t bytes)
{
    struct progress progress;

    progress_begin(&progress, BEGUN_MS, bytes);
    return progress;
}

static void test_still_since_the_last_change(void **state)
{
    struct progress progress = begun(10);

    (void)state;
    assert_int_equal(progress_still_ms(&progress, BEGUN_MS + 300), 300);
    progress_note(&progress, BEGUN_MS + 400, 10);
    assert_int_equal(progress_still_ms(&progress, BEGUN_MS + 400), 400);
    progress_note(&progress, BEGUN_MS + 500, 11);
    assert_int_equal(progress_still_ms(&progress, BEGUN_MS + 700), 200);
    /* what waits unread on a unix socket is counted backwards, and may come and go */
    progress_note(&progress, BEGUN_MS + 800, -50);
    assert_int_equal(progress_still_ms(&progress, BEGUN_MS + 800), 0);
}

static void test_nobody_is_slow_within_the_grace(void **state)
{
    struct progress progress = begun(0);

    (void)state;
    assert_false(progress_is_slow(&progress, BEGUN_MS, 1000));
    assert_false(progress_is_slow(&progress, BEGUN_MS + PROGRESS_GRACE_MS, 1000));
    assert_true(progress_is_slow(&progress, BEGUN_MS + PROGRESS_GRACE_MS + 1, 1000));
}

static void test_slow_is_below_the_rate_on_the_whole(void **state)
{
    struct progress progress = begun(500);
    int64_t now_ms = BEGUN_MS + PROGRESS_GRACE_MS + 2000;

    (void)state;
    progress_note(&progress, BEGUN_MS + 1, 500 + 1999);
    assert_true(progress_is_slow(&progress, now_ms, 1000));
    progress_note(&progress, BEGUN_MS + 2, 500 + 2000);
    assert_false(progress_is_slow(&progress, now_ms, 1000));
    assert_true(progress_is_slow(&progress, now_ms + 1, 1000));
}

static void test_no_rate_is_no_bound(void **state)
{
    struct progress progress = begun(0);

    (void)state;
    assert_false(progress_is_slow(&progress, INT64_MAX / 2, 0));
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
