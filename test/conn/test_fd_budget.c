/* SPDX-License-Identifier: MIT */
/* The parts of the descriptors, for any limit, also one that leaves hardly any. */
#include "conn/fd_budget.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <cmocka.h>

static void the_parts_are_in_order_for_any_limit(void **state)
{
    (void)state;
    for (size_t limit = 1; limit < 70000; limit += 1 + limit / 50) {
        for (size_t used = 0; used <= limit; used += 1 + limit / 7) {
            struct fd_budget parts;

            fd_budget_part(limit, used, 4, &parts);
            assert_true((int)used <= parts.crowded_from);
            assert_true(parts.crowded_from <= parts.tight_from);
            assert_true(parts.tight_from <= parts.clients_end);
            assert_true(parts.clients_end <= parts.cells_end);
            assert_true(parts.cells_end <= parts.limit);
            assert_int_equal(parts.limit, limit);
            assert_true(parts.streams_max >= 1);
            assert_true(parts.streams_max <= (size_t)parts.clients_end - used ||
                        parts.streams_max == 1);
        }
    }
}

static void each_part_is_large_enough_for_its_use(void **state)
{
    static const size_t limits[] = {160, 256, 1024, 20000, 1000000};
    static const size_t tenths[] = {3, 5, 7, 8, 8}; /* for streams, at the least */

    (void)state;
    for (size_t i = 0; i < sizeof(limits) / sizeof(limits[0]); i++) {
        struct fd_budget parts;
        int room;

        fd_budget_part(limits[i], 30, 2, &parts);
        room = parts.clients_end - 30;
        assert_int_equal(parts.limit - parts.cells_end, 16);
        /* two for each daemon of 32 streams, and for one more of each of six kinds */
        assert_true(parts.cells_end - parts.clients_end >= 2 * (room / 32 + 2 * 6));
        /* all streams that may be, and still room before anybody is pushed out */
        assert_true(30 + (int)parts.streams_max < parts.crowded_from);
        assert_true(parts.streams_max >= limits[i] * tenths[i] / 10);
    }
}

static void the_limit_is_known_and_what_is_used(void **state)
{
    size_t limit = fd_budget_raise();

    (void)state;
    assert_true(limit >= 64);
    assert_true(fd_budget_used(limit) >= 3 && fd_budget_used(limit) < limit);
}

/* One of each more costs what it needs, and what is used already is beside it. */
static void what_is_needed_grows_with_workers_and_listeners(void **state)
{
    size_t least = fd_budget_needed(0, 1, 1);

    (void)state;
    assert_int_equal(fd_budget_needed(10, 1, 1), least + 10);
    assert_int_equal(fd_budget_needed(0, 1, 2), least + 1);
    assert_true(fd_budget_needed(0, 2, 1) > least + 1);
}

/* At the start nobody else opens anything, so the table is made and all is closed again. */
static void the_table_is_made_and_nothing_stays_open(void **state)
{
    size_t limit = fd_budget_raise();
    size_t used = fd_budget_used(limit);

    (void)state;
    fd_budget_make_table(limit);
    assert_int_equal(fd_budget_used(limit), used);
    fd_budget_make_table(used); /* where no number is left */
    assert_int_equal(fd_budget_used(limit), used);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_parts_are_in_order_for_any_limit),
        cmocka_unit_test(each_part_is_large_enough_for_its_use),
        cmocka_unit_test(the_limit_is_known_and_what_is_used),
        cmocka_unit_test(what_is_needed_grows_with_workers_and_listeners),
        cmocka_unit_test(the_table_is_made_and_nothing_stays_open),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
