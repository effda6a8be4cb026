/* SPDX-License-Identifier: MIT */
/* The table of counters and gauges, and sums over blocks. */
#include "base/stats.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

static void every_row_has_a_name_of_its_own(void **state)
{
    (void)state;
    for (int id = 0; id < STATS_COUNT; id++) {
        const char *name = stats_name(id);
        assert_true(strlen(name) > 0);
        assert_int_equal(strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789_"), strlen(name));
        for (int other = 0; other < id; other++)
            assert_string_not_equal(stats_name(other), name);
    }
}

static void names_are_those_of_the_rows(void **state)
{
    (void)state;
    assert_string_equal(stats_name(STATS_CONNECTIONS_ACCEPTED), "connections_accepted");
    assert_string_equal(stats_name(STATS_CELLS), "cells");
}

static void a_block_adds_and_sets_one_number(void **state)
{
    struct stats block = {0};

    (void)state;
    stats_add(&block, STATS_REQUESTS, 5);
    stats_add(&block, STATS_REQUESTS, 2);
    stats_set(&block, STATS_RING_BYTES, 4096);
    stats_add(&block, STATS_RING_BYTES, -96);
    for (int id = 0; id < STATS_COUNT; id++) {
        int64_t expected = id == STATS_REQUESTS ? 7 : id == STATS_RING_BYTES ? 4000 : 0;
        assert_int_equal(stats_get(&block, id), expected);
    }
}

static void sums_every_number_and_leaves_the_source(void **state)
{
    struct stats sum = {0};
    struct stats from = {0};

    (void)state;
    for (int id = 0; id < STATS_COUNT; id++) {
        stats_set(&sum, id, id);
        stats_set(&from, id, 1000 + id * INT64_C(10000000000));
    }
    stats_sum(&sum, &from);
    for (int id = 0; id < STATS_COUNT; id++) {
        assert_int_equal(stats_get(&sum, id), 1000 + id * INT64_C(10000000001));
        assert_int_equal(stats_get(&from, id), 1000 + id * INT64_C(10000000000));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_row_has_a_name_of_its_own),
        cmocka_unit_test(names_are_those_of_the_rows),
        cmocka_unit_test(a_block_adds_and_sets_one_number),
        cmocka_unit_test(sums_every_number_and_leaves_the_source),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
