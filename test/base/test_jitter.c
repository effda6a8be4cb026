/* SPDX-License-Identifier: MIT */
#include "config.h"
#include "base/jitter.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#define PARTS 16
#define DRAWS 16000

/* Each sixteenth gets its share, give or take a fifth. */
static void test_numbers_are_spread_evenly(void **state)
{
    struct jitter jitter;
    unsigned counts[PARTS] = {0};

    (void)state;
    jitter_begin(&jitter);
    for (int i = 0; i < DRAWS; i++)
        counts[jitter_below(&jitter, PARTS)]++;
    for (size_t i = 0; i < PARTS; i++)
        assert_in_range(counts[i], DRAWS / PARTS * 4 / 5, DRAWS / PARTS * 6 / 5);
}

static void test_no_number_reaches_the_end(void **state)
{
    struct jitter jitter;

    (void)state;
    jitter_begin(&jitter);
    for (int i = 0; i < DRAWS; i++)
        assert_true(jitter_below(&jitter, 3) < 3);
    assert_int_equal(jitter_below(&jitter, 1), 0);
    assert_true(jitter_below(&jitter, UINT32_MAX) < UINT32_MAX);
}

static void test_two_generators_differ(void **state)
{
    struct jitter a, b;
    int same = 0;

    (void)state;
    jitter_begin(&a);
    jitter_begin(&b);
    for (int i = 0; i < 100; i++)
        same += jitter_below(&a, 1000000) == jitter_below(&b, 1000000);
    assert_true(same < 5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_numbers_are_spread_evenly),
        cmocka_unit_test(test_no_number_reaches_the_end),
        cmocka_unit_test(test_two_generators_differ),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
