/* SPDX-License-Identifier: MIT */
/* When memory is given back. */
#include "config.h"
#include "trim.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <cmocka.h>

/* So many quarters of a second with so many; how often it was due. */
static unsigned quarters(struct trim *trim, int64_t *now_ms, unsigned n, size_t count)
{
    unsigned due = 0;

    while (n-- > 0)
        due += trim_is_due(trim, count, *now_ms += 250);
    return due;
}

static void a_crowd_that_left_is_noticed_once(void **state)
{
    struct trim trim = {0};
    int64_t now_ms = 1000000;

    (void)state;
    assert_int_equal(quarters(&trim, &now_ms, 40, 11000), 0);
    assert_int_equal(quarters(&trim, &now_ms, 40, 1000), 1);
    assert_int_equal(quarters(&trim, &now_ms, 400, 1000), 0);
    /* the next crowd is another matter */
    assert_int_equal(quarters(&trim, &now_ms, 40, 5000), 0);
    assert_int_equal(quarters(&trim, &now_ms, 40, 0), 1);
}

static void not_while_it_is_leaving(void **state)
{
    struct trim trim = {0};
    int64_t now_ms = 0;

    (void)state;
    quarters(&trim, &now_ms, 40, 11000);
    for (size_t count = 11000; count > 1000; count -= 1000)
        assert_int_equal(quarters(&trim, &now_ms, 4, count), 0);
    assert_int_equal(quarters(&trim, &now_ms, 8, 1000), 1);
}

static void few_are_no_crowd(void **state)
{
    struct trim trim = {0};
    int64_t now_ms = 0;

    (void)state;
    quarters(&trim, &now_ms, 40, 1023);
    assert_int_equal(quarters(&trim, &now_ms, 40, 0), 0);
    quarters(&trim, &now_ms, 40, 1024);
    assert_int_equal(quarters(&trim, &now_ms, 40, 0), 1);
}

static void a_small_part_of_all_is_no_crowd(void **state)
{
    struct trim trim = {0};
    int64_t now_ms = 0;

    (void)state;
    quarters(&trim, &now_ms, 40, 15000);
    assert_int_equal(quarters(&trim, &now_ms, 40, 12000), 0);
    assert_int_equal(quarters(&trim, &now_ms, 40, 11250), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_crowd_that_left_is_noticed_once),
        cmocka_unit_test(not_while_it_is_leaving),
        cmocka_unit_test(few_are_no_crowd),
        cmocka_unit_test(a_small_part_of_all_is_no_crowd),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
