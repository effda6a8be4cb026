/* SPDX-License-Identifier: MIT */
/* Counts by key, exact at the limit, also when threads race for the last place. */
#include "conn/keyed_count.h"

#include <setjmp.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

static void n_come_in_and_no_more(void **state)
{
    struct keyed_count *counts = keyed_count_new();
    struct keyed_count_entry *places[3];

    (void)state;
    for (int i = 0; i < 3; i++)
        assert_non_null(places[i] = keyed_count_enter(counts, "a", 1, 3));
    assert_null(keyed_count_enter(counts, "a", 1, 3));
    assert_int_equal(keyed_count_of(counts, "a", 1), 3);
    assert_non_null(keyed_count_enter(counts, "b", 1, 3));
    keyed_count_leave(counts, places[0]);
    assert_non_null(keyed_count_enter(counts, "a", 1, 3));
    assert_null(keyed_count_enter(counts, "a", 1, 3));
    keyed_count_leave_key(counts, "a", 1);
    assert_int_equal(keyed_count_of(counts, "a", 1), 2);
    keyed_count_free(counts);
}

static void a_key_without_a_count_takes_no_memory(void **state)
{
    struct keyed_count *counts = keyed_count_new();

    (void)state;
    assert_null(keyed_count_enter(counts, "a", 1, 0));
    assert_int_equal(keyed_count_keys(counts), 0);
    for (uint32_t i = 0; i < 10000; i++)
        assert_non_null(keyed_count_enter(counts, &i, sizeof(i), SIZE_MAX));
    assert_int_equal(keyed_count_keys(counts), 10000);
    for (uint32_t i = 0; i < 10000; i++)
        keyed_count_leave_key(counts, &i, sizeof(i));
    assert_int_equal(keyed_count_keys(counts), 0);
    keyed_count_free(counts);
}

static void keys_are_bytes(void **state)
{
    struct keyed_count *counts = keyed_count_new();

    (void)state;
    assert_non_null(keyed_count_enter(counts, "a\0b", 3, 1));
    assert_non_null(keyed_count_enter(counts, "a\0c", 3, 1));
    assert_non_null(keyed_count_enter(counts, "a", 1, 1));
    assert_non_null(keyed_count_enter(counts, "", 0, 1));
    assert_null(keyed_count_enter(counts, "a\0b", 3, 1));
    assert_int_equal(keyed_count_keys(counts), 4);
    keyed_count_free(counts);
}

#define THREADS 4
#define TURNS 20000
#define MOST 3

struct race {
    struct keyed_count *counts;
    _Atomic int inside;
    _Atomic int highest;
};

static void *run(void *arg)
{
    struct race *race = arg;

    for (int i = 0; i < TURNS; i++) {
        struct keyed_count_entry *place = keyed_count_enter(race->counts, "key", 3, MOST);

        if (place == NULL)
            continue;
        int inside = atomic_fetch_add(&race->inside, 1) + 1;
        if (inside > race->highest)
            race->highest = inside;
        atomic_fetch_sub(&race->inside, 1);
        if (i % 2 == 0)
            keyed_count_leave(race->counts, place);
        else
            keyed_count_leave_key(race->counts, "key", 3);
    }
    return NULL;
}

static void threads_share_the_limit(void **state)
{
    struct race race = {.counts = keyed_count_new()};
    pthread_t threads[THREADS];

    (void)state;
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, run, &race), 0);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    assert_true(race.highest <= MOST);
    assert_int_equal(keyed_count_keys(race.counts), 0);
    keyed_count_free(race.counts);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(n_come_in_and_no_more),
        cmocka_unit_test(a_key_without_a_count_takes_no_memory),
        cmocka_unit_test(keys_are_bytes),
        cmocka_unit_test(threads_share_the_limit),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
