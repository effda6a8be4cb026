/* SPDX-License-Identifier: MIT */
/* Tests of the latency histogram: exact where it promises to be, close elsewhere. */
#include "config.h"
#include "bench/bench_latency.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static int setup(void **state)
{
    *state = calloc(1, sizeof(struct bench_latency));
    return *state ? 0 : -1;
}

static int teardown(void **state)
{
    free(*state);
    return 0;
}

static void test_nothing_recorded_is_zero(void **state)
{
    struct bench_latency *latency = *state;
    assert_int_equal(bench_latency_percentile(latency, 0), 0);
    assert_int_equal(bench_latency_percentile(latency, 50), 0);
    assert_int_equal(bench_latency_percentile(latency, 100), 0);
}

static void test_small_values_are_exact(void **state)
{
    struct bench_latency *latency = *state;
    for (uint64_t ns = 1; ns <= 100; ns++)
        bench_latency_record(latency, ns);
    assert_int_equal(latency->count, 100);
    assert_int_equal(bench_latency_percentile(latency, 0), 1);
    assert_int_equal(bench_latency_percentile(latency, 1), 1);
    assert_int_equal(bench_latency_percentile(latency, 50), 50);
    assert_int_equal(bench_latency_percentile(latency, 99), 99);
    assert_int_equal(bench_latency_percentile(latency, 100), 100);
}

static void test_one_value_is_every_percentile(void **state)
{
    static const uint64_t values[] = {
        0, 63, 64, 127, 128, 1000000, 59999999999, UINT64_C(1) << 40, UINT64_MAX / 2, UINT64_MAX,
    };
    struct bench_latency *latency = *state;
    for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
        memset(latency, 0, sizeof(*latency));
        bench_latency_record(latency, values[i]);
        assert_true(bench_latency_percentile(latency, 0.1) == values[i]);
        assert_true(bench_latency_percentile(latency, 99.9) == values[i]);
        assert_true(latency->max_ns == values[i]);
    }
}

/* Every value, from any size, comes back not smaller and at most one 64th larger. */
static void test_error_is_bounded(void **state)
{
    struct bench_latency *latency = *state;
    for (uint64_t ns = 1; ns < UINT64_C(1) << 62; ns += ns / 7 + 1) {
        memset(latency, 0, sizeof(*latency));
        bench_latency_record(latency, ns);
        bench_latency_record(latency, UINT64_MAX);
        uint64_t found = bench_latency_percentile(latency, 50);
        assert_true(found >= ns);
        assert_true(found - ns <= ns / BENCH_LATENCY_STEPS);
    }
}

static void test_rare_large_values_show_only_at_the_end(void **state)
{
    struct bench_latency *latency = *state;
    for (int i = 0; i < 9990; i++)
        bench_latency_record(latency, 40);
    for (int i = 0; i < 10; i++)
        bench_latency_record(latency, 5000000);
    assert_int_equal(bench_latency_percentile(latency, 99.9), 40);
    assert_int_equal(bench_latency_percentile(latency, 99.95), 5000000);
    assert_int_equal(latency->max_ns, 5000000);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_nothing_recorded_is_zero),
        TEST(test_small_values_are_exact),
        TEST(test_one_value_is_every_percentile),
        TEST(test_error_is_bounded),
        TEST(test_rare_large_values_show_only_at_the_end),
    };
    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
