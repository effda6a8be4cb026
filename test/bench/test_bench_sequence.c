/* SPDX-License-Identifier: MIT */
/* Tests of the row of numbers: in order, lost, late, repeated. */
#include "config.h"
#include "bench/bench_sequence.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define NUMBERS 500

static const struct bench_sequence nothing;

static void test_in_order_costs_no_memory(void **state)
{
    (void)state;
    struct bench_sequence sequence = {0};
    for (uint32_t i = 0; i < NUMBERS; i++)
        assert_int_equal(bench_sequence_take(&sequence, i), BENCH_ARRIVAL_IN_ORDER);
    assert_null(sequence.holes);
    assert_int_equal(bench_sequence_missing(&sequence, &nothing, NUMBERS), 0);
    assert_int_equal(bench_sequence_missing(&sequence, &nothing, NUMBERS + 3), 3);
}

static void test_arrivals(void **state)
{
    (void)state;
    static const struct {
        const char *numbers;    /* one digit each */
        const char *placements; /* i in order, l late, a again */
        uint64_t missing;       /* of ten */
    } cases[] = {
        {"", "", 10},
        {"0123456789", "iiiiiiiiii", 0},
        {"0001", "iaai", 8},
        {"13579", "iiiii", 5},
        {"1357902468", "iiiiilllll", 0},
        {"9012345678", "illlllllll", 0},
        {"9876543210", "illlllllll", 0},
        {"9543", "illl", 6},
        {"95345", "illla", 6},
        {"0213", "iili", 6},
        {"02131", "iilia", 6},
        {"9049", "illa", 7},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct bench_sequence sequence = {0};
        for (size_t k = 0; cases[i].numbers[k]; k++) {
            uint32_t number = (uint32_t)(cases[i].numbers[k] - '0');
            enum bench_arrival arrival = bench_sequence_take(&sequence, number);
            assert_int_equal("ila"[arrival], cases[i].placements[k]);
            assert_true(bench_sequence_has(&sequence, number));
            assert_false(bench_sequence_has(&sequence, bench_sequence_first_missing(&sequence)));
        }
        assert_int_equal(bench_sequence_missing(&sequence, &nothing, 10), cases[i].missing);
        bench_sequence_done(&sequence);
    }
}

/* Against a plain table of what came, with numbers in any order. */
static void test_agrees_with_a_table(void **state)
{
    (void)state;
    for (unsigned seed = 1; seed <= 50; seed++) {
        struct bench_sequence sequence = {0};
        unsigned char came[NUMBERS] = {0};
        uint64_t missing = 0;
        srandom(seed);
        for (int i = 0; i < NUMBERS; i++) {
            uint32_t number = (uint32_t)random() % NUMBERS;
            enum bench_arrival arrival = bench_sequence_take(&sequence, number);
            assert_int_equal(arrival == BENCH_ARRIVAL_AGAIN, came[number]);
            came[number] = 1;
        }
        for (uint32_t i = 0; i < NUMBERS; i++) {
            assert_int_equal(bench_sequence_has(&sequence, i), came[i]);
            missing += !came[i];
        }
        assert_int_equal(bench_sequence_missing(&sequence, &nothing, NUMBERS), missing);
        uint32_t first = bench_sequence_first_missing(&sequence);
        assert_true(first == NUMBERS || !came[first]);
        assert_null(memchr(came, 0, first));
        bench_sequence_done(&sequence);
    }
}

static void test_excused_numbers_are_not_missing(void **state)
{
    (void)state;
    struct bench_sequence sequence = {0}, excused = {0};
    bench_sequence_take(&sequence, 2);
    bench_sequence_take(&sequence, 5);
    /* Missing of 0-7: 0 1 3 4 6 7. */
    bench_sequence_take(&excused, 7);
    bench_sequence_take(&excused, 2);
    bench_sequence_take(&excused, 3);
    assert_int_equal(bench_sequence_missing(&sequence, &nothing, 8), 6);
    assert_int_equal(bench_sequence_missing(&sequence, &excused, 8), 4);
    assert_int_equal(bench_sequence_missing(&sequence, &excused, 4), 2);
    bench_sequence_done(&sequence);
    bench_sequence_done(&excused);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_in_order_costs_no_memory),
        cmocka_unit_test(test_arrivals),
        cmocka_unit_test(test_agrees_with_a_table),
        cmocka_unit_test(test_excused_numbers_are_not_missing),
    };
    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
