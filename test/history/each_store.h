/* SPDX-License-Identifier: MIT */
/* The same tests over every store.  A new store is one more row of `stores`. */
#ifndef BUGLE_TEST_EACH_STORE_H
#define BUGLE_TEST_EACH_STORE_H

#include "../support/history_read.h"
#include "../support/scratch.h"
#include "history/history_memory.h"

static struct scratch scratch;

struct store {
    const char *name;
    const char *durability;
    struct history *(*open)(const struct history_limits *limits);
};

static struct history *open_on_disk(const struct history_limits *limits)
{
    return scratch_open(scratch.path, limits);
}

static const struct store stores[] = {
    {"memory", "memory", history_memory_new},
    {"sqlite", "disk", open_on_disk},
};

static struct history *open_limited(void **state, const struct history_limits *limits)
{
    const struct store *store = *state;
    struct history *history = store->open(limits);

    assert_non_null(history);
    return history;
}

static struct history *open_plain(void **state)
{
    static const struct history_limits limits = {FOR_EVER, LOTS, LOTS, FOR_EVER, LOTS};

    return open_limited(state, &limits);
}

static int remove_files(void **state)
{
    (void)state;
    scratch_empty(&scratch);
    return 0;
}

/* Run these tests over each store, which is their initial state.  Returns how many have failed. */
static int run_over_each_store(const struct CMUnitTest *contract, size_t contract_n)
{
    enum { STORES = sizeof(stores) / sizeof(stores[0]) };
    char(*names)[128] = calloc(STORES * contract_n, sizeof(*names));
    struct CMUnitTest *tests = calloc(STORES * contract_n, sizeof(*tests));

    for (size_t i = 0; i < STORES * contract_n; i++) {
        const struct store *store = &stores[i / contract_n];

        tests[i] = contract[i % contract_n];
        snprintf(names[i], sizeof(names[i]), "%s: %s", store->name, tests[i].name);
        tests[i].name = names[i];
        tests[i].initial_state = (void *)(uintptr_t)store;
    }
    scratch_make(&scratch);
    cmocka_set_message_output(CM_OUTPUT_TAP);
    int failed = _cmocka_run_group_tests("each store", tests, STORES * contract_n, NULL, NULL);
    scratch_remove(&scratch);
    free(tests);
    free(names);
    return failed;
}

#endif
