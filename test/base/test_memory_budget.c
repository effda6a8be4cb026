/* SPDX-License-Identifier: MIT */
/* The account of memory: what counts, when it says no. */
#include "base/memory_budget.h"

#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "event/message.h"

#define LIMIT ((size_t)1000 * 1024 * 1024)
#define PERCENT (LIMIT / 100)

static struct memory_budget *new_memory(size_t shared_bytes)
{
    struct memory_budget *memory = memory_budget_new(LIMIT, shared_bytes);

    assert_non_null(memory);
    return memory;
}

static struct message *new_message(void)
{
    static const char data[] = "data";
    struct message_draft draft = {.kind = MESSAGE_STORED};

    draft.fields.data = data;
    draft.fields.data_n = strlen(data);
    struct message *message = message_new(&draft);
    assert_non_null(message);
    return message;
}

static void levels_are_at_90_95_and_100_percent(void **state)
{
    struct memory_budget *memory = new_memory(0);

    (void)state;
    memory_budget_add(memory, MEMORY_BUDGET_CONNECTIONS, (int64_t)(90 * PERCENT - 1));
    assert_int_equal(memory_budget_level(memory), MEMORY_BUDGET_FINE);
    memory_budget_add(memory, MEMORY_BUDGET_CONNECTIONS, 1);
    assert_int_equal(memory_budget_level(memory), MEMORY_BUDGET_NEAR);
    memory_budget_add(memory, MEMORY_BUDGET_CONNECTIONS, (int64_t)(5 * PERCENT));
    assert_int_equal(memory_budget_level(memory), MEMORY_BUDGET_SCARCE);
    memory_budget_add(memory, MEMORY_BUDGET_CONNECTIONS, (int64_t)(LIMIT - 95 * PERCENT));
    assert_int_equal(memory_budget_level(memory), MEMORY_BUDGET_FULL);
    memory_budget_add(memory, MEMORY_BUDGET_CONNECTIONS, -(int64_t)LIMIT);
    assert_int_equal(memory_budget_used(memory), 0);
    memory_budget_free(memory);
}

static void what_is_admitted_is_counted_and_what_is_not_is_not(void **state)
{
    struct memory_budget *memory = new_memory(0);

    (void)state;
    memory_budget_add(memory, MEMORY_BUDGET_CONNECTIONS, (int64_t)(95 * PERCENT - 100));
    assert_true(memory_budget_admit(memory, MEMORY_BUDGET_BODIES, 99, MEMORY_BUDGET_SCARCE));
    assert_false(memory_budget_admit(memory, MEMORY_BUDGET_BODIES, 1, MEMORY_BUDGET_SCARCE));
    assert_true(memory_budget_admit(memory, MEMORY_BUDGET_BODIES, 1, MEMORY_BUDGET_FULL));
    assert_int_equal(memory_budget_used(memory), 95 * PERCENT);
    assert_false(memory_budget_would_admit(memory, MEMORY_BUDGET_BODIES, 0, MEMORY_BUDGET_SCARCE));
    assert_true(memory_budget_would_admit(memory, MEMORY_BUDGET_BODIES, 1, MEMORY_BUDGET_FULL));
    assert_int_equal(memory_budget_used(memory), 95 * PERCENT);
    memory_budget_free(memory);
}

static void large_things_leave_three_quarters_to_others(void **state)
{
    struct memory_budget *memory = new_memory(0);

    (void)state;
    assert_int_equal(memory_budget_level_for(MEMORY_BUDGET_LARGE_BYTES), MEMORY_BUDGET_FULL);
    assert_int_equal(memory_budget_level_for(MEMORY_BUDGET_LARGE_BYTES + 1), MEMORY_BUDGET_SCARCE);
    assert_true(memory_budget_admit(memory, MEMORY_BUDGET_BODIES, LIMIT / 4, MEMORY_BUDGET_SCARCE));
    assert_false(memory_budget_admit(memory, MEMORY_BUDGET_BODIES, 1, MEMORY_BUDGET_SCARCE));
    assert_true(memory_budget_admit(memory, MEMORY_BUDGET_BODIES, 1, MEMORY_BUDGET_FULL));
    assert_true(memory_budget_admit(memory, MEMORY_BUDGET_ANSWERS, 1, MEMORY_BUDGET_SCARCE));
    memory_budget_free(memory);
}

static void room_for_rings_and_store_is_set_aside(void **state)
{
    struct memory_budget *memory = new_memory(40 * PERCENT);

    (void)state;
    assert_int_equal(memory_budget_used(memory), 40 * PERCENT);
    memory_budget_add(memory, MEMORY_BUDGET_EVENTS, (int64_t)(30 * PERCENT));
    assert_int_equal(memory_budget_used(memory), 40 * PERCENT);
    memory_budget_add(memory, MEMORY_BUDGET_EVENTS, (int64_t)(20 * PERCENT));
    assert_int_equal(memory_budget_used(memory), 50 * PERCENT);
    memory_budget_add(memory, MEMORY_BUDGET_BODIES, (int64_t)PERCENT);
    assert_int_equal(memory_budget_used(memory), 51 * PERCENT);
    memory_budget_free(memory);
}

static void an_event_counts_once_until_the_last_lets_go(void **state)
{
    struct memory_budget *memory = new_memory(0);
    struct message *message = new_message();
    size_t bytes = message->bytes;

    (void)state;
    message_charge(message, memory_budget_counter(NULL, MEMORY_BUDGET_EVENTS));
    assert_int_equal(memory_budget_used(memory), 0);
    message_charge(message, memory_budget_counter(memory, MEMORY_BUDGET_EVENTS));
    message_charge(message, memory_budget_counter(memory, MEMORY_BUDGET_EVENTS));
    message_ref(message);
    assert_int_equal(memory_budget_used(memory), bytes);
    message_unref(message);
    assert_int_equal(memory_budget_used(memory), bytes);
    message_unref(message);
    assert_int_equal(memory_budget_used(memory), 0);
    memory_budget_free(memory);
}

static void excess_is_what_is_not_promised_yet(void **state)
{
    struct memory_budget *memory = new_memory(0);
    size_t aim = 95 * PERCENT - LIMIT / 64;

    (void)state;
    memory_budget_add(memory, MEMORY_BUDGET_EVENTS, (int64_t)(95 * PERCENT - 1));
    assert_int_equal(memory_budget_excess(memory), 0);
    memory_budget_add(memory, MEMORY_BUDGET_EVENTS, 1);
    assert_int_equal(memory_budget_excess(memory), 95 * PERCENT - aim);
    memory_budget_promise(memory, 1000);
    assert_int_equal(memory_budget_excess(memory), 95 * PERCENT - aim - 1000);
    memory_budget_promise(memory, (int64_t)LIMIT);
    assert_int_equal(memory_budget_excess(memory), 0);
    memory_budget_promise(memory, -(int64_t)LIMIT - 1000);
    assert_int_equal(memory_budget_excess(memory), 95 * PERCENT - aim);
    memory_budget_free(memory);
}

static void what_is_refused_is_made_room_for(void **state)
{
    struct memory_budget *memory = new_memory(0);
    size_t aim = 95 * PERCENT - LIMIT / 64;

    (void)state;
    memory_budget_add(memory, MEMORY_BUDGET_EVENTS, (int64_t)(94 * PERCENT));
    assert_false(
        memory_budget_admit(memory, MEMORY_BUDGET_BODIES, 2 * PERCENT, MEMORY_BUDGET_SCARCE));
    assert_int_equal(memory_budget_excess(memory), 96 * PERCENT - aim);
    assert_false(memory_budget_would_admit(memory, MEMORY_BUDGET_BODIES, 20 * PERCENT,
                                           MEMORY_BUDGET_SCARCE));
    assert_int_equal(memory_budget_excess(memory), 94 * PERCENT + LIMIT / 16 - aim);
    memory_budget_free(memory);
}

static void rations_shrink_but_never_to_nothing(void **state)
{
    struct memory_budget *memory = new_memory(0);

    (void)state;
    assert_int_equal(memory_budget_ration(memory, 256), 256);
    memory_budget_add(memory, MEMORY_BUDGET_EVENTS, (int64_t)(90 * PERCENT));
    assert_int_equal(memory_budget_ration(memory, 256), 64);
    memory_budget_add(memory, MEMORY_BUDGET_EVENTS, (int64_t)(5 * PERCENT));
    assert_int_equal(memory_budget_ration(memory, 256), 16);
    memory_budget_add(memory, MEMORY_BUDGET_EVENTS, (int64_t)(5 * PERCENT));
    assert_int_equal(memory_budget_ration(memory, 256), 4);
    assert_int_equal(memory_budget_ration(memory, 3), 1);
    memory_budget_free(memory);
}

/* What nobody counted shows in what is resident. */
static void a_tick_finds_what_nobody_counted(void **state)
{
    size_t bytes = 64 << 20;
    struct memory_budget *memory = new_memory(0);
    struct stats *stats = calloc(1, sizeof(*stats));

    (void)state;
    assert_non_null(stats);
    memory_budget_tick(memory, stats);
    size_t before = memory_budget_used(memory);
    assert_true(before > 0);
    assert_int_equal(stats_get(stats, STATS_MEMORY_USED), before);
    assert_int_equal(stats_get(stats, STATS_MEMORY_LIMIT), LIMIT);
    char *held = malloc(bytes);
    assert_non_null(held);
    memset(held, 1, bytes);
    memory_budget_tick(memory, stats);
    assert_true(memory_budget_used(memory) >= before + bytes / 10 * 9);
    assert_true(stats_get(stats, STATS_MEMORY_RESIDENT) >= (int64_t)bytes);
    /* and once it is counted it does not count twice */
    memory_budget_add(memory, MEMORY_BUDGET_BODIES, (int64_t)bytes);
    memory_budget_tick(memory, stats);
#ifndef __SANITIZE_THREAD__ /* whose shadow of the bytes is resident too */
    assert_true(memory_budget_used(memory) <= before + bytes / 10 * 13);
#endif
    assert_int_not_equal(held[bytes / 2], 0);
    free(held);
    free(stats);
    memory_budget_free(memory);
}

#define CROWD (INT64_C(20) << 20)

/* malloc() is asked to give back once the last of many has gone, and not for a few, nor while they
 * are still going, nor twice. */
/* Pages and trees are counted before they are taken, and a tick may fall between. */
static void a_reservation_does_not_hide_what_is_resident(void **state)
{
    static const enum memory_budget_part parts[] = {MEMORY_BUDGET_PAGES, MEMORY_BUDGET_PARSING};
    struct stats *stats = calloc(1, sizeof(*stats));

    (void)state;
    for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
        struct memory_budget *memory = new_memory(0);
        memory_budget_tick(memory, stats);
        size_t resident = memory_budget_used(memory);

        memory_budget_add(memory, parts[i], (int64_t)(50 * PERCENT));
        memory_budget_tick(memory, stats);
        assert_true(memory_budget_used(memory) >= 50 * PERCENT + resident / 2);
        memory_budget_add(memory, parts[i], -(int64_t)(50 * PERCENT));
        assert_true(memory_budget_used(memory) >= resident / 2);
        memory_budget_free(memory);
    }
    free(stats);
}

static void what_a_crowd_leaves_is_given_back_when_it_has_gone(void **state)
{
    struct memory_budget *memory = new_memory(0);
    struct stats *stats = calloc(1, sizeof(*stats));

    (void)state;
    assert_non_null(stats);
    memory_budget_add(memory, MEMORY_BUDGET_CONNECTIONS, CROWD);
    memory_budget_tick(memory, stats);
    memory_budget_add(memory, MEMORY_BUDGET_CONNECTIONS, -CROWD / 5);
    memory_budget_tick(memory, stats);
    memory_budget_tick(memory, stats);
    assert_int_equal(stats_get(stats, STATS_MEMORY_TRIMS), 0);
    memory_budget_add(memory, MEMORY_BUDGET_CONNECTIONS, -CROWD / 5);
    memory_budget_tick(memory, stats);
    assert_int_equal(stats_get(stats, STATS_MEMORY_TRIMS), 0);
    memory_budget_tick(memory, stats);
    assert_int_equal(stats_get(stats, STATS_MEMORY_TRIMS), 1);
    memory_budget_tick(memory, stats);
    assert_int_equal(stats_get(stats, STATS_MEMORY_TRIMS), 1);
    free(stats);
    memory_budget_free(memory);
}

static void without_an_account_everything_is_allowed(void **state)
{
    struct stats stats;

    (void)state;
    assert_true(memory_budget_admit(NULL, MEMORY_BUDGET_BODIES, SIZE_MAX / 2, MEMORY_BUDGET_NEAR));
    assert_true(
        memory_budget_would_admit(NULL, MEMORY_BUDGET_BODIES, SIZE_MAX / 2, MEMORY_BUDGET_NEAR));
    assert_int_equal(memory_budget_level(NULL), MEMORY_BUDGET_FINE);
    assert_int_equal(memory_budget_ration(NULL, 7), 7);
    assert_int_equal(memory_budget_excess(NULL), 0);
    assert_true(memory_budget_limit(NULL) == SIZE_MAX);
    memory_budget_add(NULL, MEMORY_BUDGET_BODIES, 1);
    memory_budget_promise(NULL, 1);
    memory_budget_tick(NULL, &stats);
    memory_budget_free(NULL);
}

struct taken {
    struct taken *next;
    char room[16000];
};

/* A sanitizer has an allocator of its own, and of clang's the compiler does not tell. */
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__) && !defined(__clang__)
#define ALLOCATOR_IS_KNOWN
/* Smaller pieces may still be there, larger ones not. */
static struct taken *take_all(void)
{
    struct taken *list = NULL, *one;

    while ((one = malloc(sizeof(*one))) != NULL) {
        one->next = list;
        list = one;
    }
    return list;
}

static void what_malloc_has_not_is_not_at_hand(void **state)
{
    struct rlimit before, none;

    (void)state;
    assert_true(memory_budget_is_at_hand(MEMORY_BUDGET_AT_HAND_MAX));
    getrlimit(RLIMIT_AS, &before);
    none = (struct rlimit){.rlim_cur = 1 << 20, .rlim_max = before.rlim_max};
    setrlimit(RLIMIT_AS, &none);
    struct taken *list = take_all();
    bool is_at_hand = memory_budget_is_at_hand(MEMORY_BUDGET_AT_HAND_MAX);
    setrlimit(RLIMIT_AS, &before);
    while (list != NULL) {
        struct taken *next = list->next;

        free(list);
        list = next;
    }
    assert_false(is_at_hand);
    assert_true(memory_budget_is_at_hand(MEMORY_BUDGET_AT_HAND_MAX));
}
#endif

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(levels_are_at_90_95_and_100_percent),
        cmocka_unit_test(what_is_admitted_is_counted_and_what_is_not_is_not),
        cmocka_unit_test(large_things_leave_three_quarters_to_others),
        cmocka_unit_test(room_for_rings_and_store_is_set_aside),
        cmocka_unit_test(an_event_counts_once_until_the_last_lets_go),
        cmocka_unit_test(excess_is_what_is_not_promised_yet),
        cmocka_unit_test(what_is_refused_is_made_room_for),
        cmocka_unit_test(rations_shrink_but_never_to_nothing),
        cmocka_unit_test(a_tick_finds_what_nobody_counted),
        cmocka_unit_test(a_reservation_does_not_hide_what_is_resident),
        cmocka_unit_test(what_a_crowd_leaves_is_given_back_when_it_has_gone),
        cmocka_unit_test(without_an_account_everything_is_allowed),
#ifdef ALLOCATOR_IS_KNOWN
        cmocka_unit_test(what_malloc_has_not_is_not_at_hand),
#endif
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
