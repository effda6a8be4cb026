/* SPDX-License-Identifier: MIT */
/* The memory store: what can be read, what is trimmed, and a reader beside the writer. */
#include "history/history_memory.h"

#include <setjmp.h>
#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "../support/history_read.h"

/* What a page holds at most, and how many events a read looks at. */
#define PAGE_EVENTS 512
#define SCAN_EVENTS 2048
/* What a claim comes with at most. */
#define CLAIM_TRIMS 256
#define CLAIM_KEYS 8192

static struct history *unlimited(void)
{
    struct history_limits limits = {FOR_EVER, LOTS, LOTS, INT64_MAX / 2, SIZE_MAX};
    struct history *history = history_memory_new(&limits);

    assert_non_null(history);
    return history;
}

static void begins_empty_with_an_epoch_of_its_own(void **state)
{
    struct history *history = unlimited(), *other = unlimited();

    (void)state;
    assert_int_equal(strlen(history_epoch(history)), SSE_EPOCH_BYTES);
    assert_string_not_equal(history_epoch(history), history_epoch(other));
    assert_string_equal(history_durability_text(history), "memory");
    assert_bounds(history, 0, 0);
    assert_int_equal(usage_of(history).bytes, 0);
    assert_int_equal(history_find_time(history, 0), 0);
    assert_page(read_where(history, .after = 0), ": 0");
    history_trim(history, FOR_EVER);
    history_free(history);
    history_free(other);
}

static void commits_in_order_and_seals(void **state)
{
    struct history *history = unlimited();
    struct message *events[3];

    (void)state;
    for (size_t i = 0; i < 3; i++)
        events[i] = make_message(.data = "x");
    assert_int_equal(history_append(history, events, 2, 1000), 0);
    assert_int_equal(history_append(history, events + 2, 1, 2000), 0);
    for (size_t i = 0; i < 3; i++) {
        char frame[128];

        snprintf(frame, sizeof(frame), "data: x\nid: %s-%016zu\n\n", history_epoch(history), i + 1);
        assert_int_equal(events[i]->position, i + 1);
        assert_int_equal(events[i]->published_ms, i < 2 ? 1000 : 2000);
        assert_int_equal(events[i]->frame_n, strlen(frame));
        assert_memory_equal(events[i]->frame, frame, strlen(frame));
        assert_int_equal(events[i]->refs, 2);
    }
    assert_bounds(history, 0, 3);
    assert_int_equal(usage_of(history).bytes,
                     events[0]->bytes + events[1]->bytes + events[2]->bytes);
    history_free(history);
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(events[i]->refs, 1);
        message_unref(events[i]);
    }
}

static void a_page_is_bounded_by_events(void **state)
{
    struct history *history = unlimited();
    uint64_t after = 0;

    (void)state;
    add_many(history, PAGE_EVENTS + 3, NULL);
    for (int i = 0; i < 2; i++) {
        struct history_page *page = read_where(history, .after = after);

        assert_int_equal(page->events_n, i == 0 ? PAGE_EVENTS : 3);
        assert_int_equal(page->events[0]->position, after + 1);
        assert_int_equal(page->upto, i == 0 ? PAGE_EVENTS : PAGE_EVENTS + 3);
        after = page->upto;
        history_page_free(page);
    }
    history_free(history);
}

static void an_empty_page_still_makes_progress(void **state)
{
    struct history *history = unlimited();

    (void)state;
    add_many(history, SCAN_EVENTS + 10, "b");
    add_at(history, make_message(.topics = "a"), 1);
    assert_page(read_where(history, .patterns = "a"), ": 2048");
    assert_page(read_where(history, .patterns = "a", .after = SCAN_EVENTS), "2059 : 2059");
    history_free(history);
}

/* The lock is held for the time of a read, so a filter that is slow to compare gets short pages. */
static void a_slow_filter_gets_short_pages(void **state)
{
    enum { EVENTS = 2000, PATTERNS = 64 };
    struct history *history = unlimited();
    struct message_name patterns[PATTERNS];
    char texts[PATTERNS][64], topic[64] = "a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/y";
    struct history_query query = {.upto = UINT64_MAX, .bytes_max = LOTS};
    size_t pages_n = 0;

    (void)state;
    for (size_t i = 0; i < PATTERNS; i++) {
        snprintf(texts[i], sizeof(texts[i]), "*/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/%zu", i);
        patterns[i] = (struct message_name){.bytes = texts[i], .bytes_n = strlen(texts[i])};
    }
    struct filter *filter = filter_new(patterns, PATTERNS, NULL);
    query.filter = filter;
    for (size_t i = 0; i < EVENTS; i++) {
        struct message_name topics[16];
        struct message_draft draft = {.topics = topics, .topics_n = 16, .kind = MESSAGE_STORED};

        for (size_t j = 0; j < 16; j++)
            topics[j] = (struct message_name){.bytes = topic, .bytes_n = strlen(topic)};
        add_at(history, message_new(&draft), 1);
    }
    while (query.after < EVENTS) {
        struct history_page *page;

        assert_int_equal(history_read(history, &query, &page), 0);
        assert_int_equal(page->events_n, 0);
        assert_true(page->upto > query.after);
        query.after = page->upto;
        pages_n++;
        history_page_free(page);
    }
    assert_true(pages_n > 2);
    filter_unref(filter);
    history_free(history);
}

static void trims_to_so_many_events(void **state)
{
    struct history_limits limits = {FOR_EVER, 3, LOTS, INT64_MAX / 2, SIZE_MAX};
    struct history *history = history_memory_new(&limits);

    (void)state;
    add_many(history, 3, NULL);
    assert_bounds(history, 0, 3);
    add_many(history, 1, NULL);
    assert_bounds(history, 1, 4);
    assert_stale(history, 0);
    assert_page(read_where(history, .after = 1), "2 3 4 : 4");
    history_free(history);
}

static void trims_to_so_many_bytes(void **state)
{
    struct message *sample = make_message(.data = "data");
    struct history_limits limits = {FOR_EVER, LOTS, 3 * (size_t)sample->bytes, INT64_MAX / 2,
                                    SIZE_MAX};
    struct history *history = history_memory_new(&limits);

    (void)state;
    add_many(history, 3, NULL);
    assert_bounds(history, 0, 3);
    add_many(history, 1, NULL);
    assert_bounds(history, 1, 4);
    assert_int_equal(usage_of(history).bytes, 3 * (size_t)sample->bytes);
    assert_stale(history, 0);
    add_at(history, make_message(.data = "dataX"), 1000); /* one byte too many: two must go */
    assert_bounds(history, 3, 5);
    history_free(history);
    message_unref(sample);
}

static void trims_by_age_when_asked_and_with_an_append(void **state)
{
    struct history_limits limits = {100, LOTS, LOTS, INT64_MAX / 2, SIZE_MAX};
    struct history *history = history_memory_new(&limits);

    (void)state;
    add_at(history, make_message(.data = "1"), 1000);
    add_at(history, make_message(.data = "2"), 1050);
    history_trim(history, 1099);
    assert_bounds(history, 0, 2);
    history_trim(history, 1100);
    assert_bounds(history, 1, 2);
    assert_stale(history, 0);
    add_at(history, make_message(.data = "3"), 1150);
    assert_bounds(history, 2, 3);
    history_trim(history, 99999);
    assert_bounds(history, 3, 3);
    assert_stale(history, 2);
    assert_page(read_where(history, .after = 3), ": 3");
    add_at(history, make_message(.data = "4"), 99999);
    assert_bounds(history, 3, 4);
    assert_page(read_where(history, .after = 3), "4 : 4");
    history_free(history);
}

/* The slots double; afterwards the oldest goes around them. */
static void grows_without_losing_or_mixing_events(void **state)
{
    struct history_limits limits = {FOR_EVER, 1500, LOTS, INT64_MAX / 2, SIZE_MAX};
    struct history *history = history_memory_new(&limits);

    (void)state;
    for (uint64_t position = 1; position <= 5000; position++) {
        uint64_t trimmed = position > 1500 ? position - 1500 : 0;
        struct history_page *page;

        add_many(history, 1, NULL);
        if (position % 50 != 0 && (position < 1020 || position > 1030))
            continue;
        assert_bounds(history, trimmed, position);
        page = read_where(history, .after = position - (position < 500 ? position : 500));
        for (size_t i = 0; i < page->events_n; i++)
            assert_int_equal(page->events[i]->position, position - page->events_n + 1 + i);
        assert_int_equal(page->upto, position);
        history_page_free(page);
        page = read_where(history, .after = trimmed, .bytes_max = 1);
        assert_int_equal(page->events[0]->position, trimmed + 1);
        history_page_free(page);
    }
    history_free(history);
}

static void takes_a_batch_larger_than_its_slots_and_its_bound(void **state)
{
    enum { BATCH = 3000 };
    struct history_limits limits = {FOR_EVER, 10, LOTS, INT64_MAX / 2, SIZE_MAX};
    struct history *history = history_memory_new(&limits);
    struct message *events[BATCH];

    (void)state;
    for (size_t i = 0; i < BATCH; i++)
        events[i] = make_message(.data = "x");
    assert_int_equal(history_append(history, events, BATCH, 5), 0);
    assert_bounds(history, BATCH - 10, BATCH);
    for (size_t i = 0; i < BATCH; i++) {
        assert_int_equal(events[i]->position, i + 1);
        assert_int_equal(events[i]->refs, i < BATCH - 10 ? 1 : 2);
        message_unref(events[i]);
    }
    history_free(history);
}

/* ---- readers beside the writer: assert() on their threads, where cmocka has no way back ---- */

struct beside {
    struct history *history;
    _Atomic bool done;
};

static void check_order(const struct history_page *page, uint64_t after)
{
    for (size_t i = 0; i < page->events_n; i++)
        assert(page->events[i]->position == after + 1 + i);
    assert(page->upto == after + page->events_n);
}

/* Follow the writer; returns how many events were seen.  A stale place goes on from the bound. */
static void *follow(void *arg)
{
    struct beside *beside = arg;
    struct filter *filter = make_filter(NULL, NULL);
    uint64_t after = 0, seen = 0, newest = 0;

    for (bool last = false; !last;) {
        struct history_query query = {
            .after = after, .upto = UINT64_MAX, .filter = filter, .now_ms = 1, .bytes_max = LOTS};
        struct history_page *page;
        struct history_bounds bounds;

        last = beside->done;
        history_bounds(beside->history, &bounds);
        assert(bounds.trimmed <= bounds.newest && bounds.newest >= newest);
        newest = bounds.newest;
        int result = history_read(beside->history, &query, &page);
        if (result == -ESTALE) {
            history_bounds(beside->history, &bounds);
            assert(bounds.trimmed > after);
            after = bounds.trimmed;
            last = false;
            continue;
        }
        assert(result == 0);
        check_order(page, after);
        last = last && page->events_n == 0;
        after = page->upto;
        seen += page->events_n;
        history_page_free(page);
        history_find_time(beside->history, 5);
    }
    filter_unref(filter);
    return (void *)(uintptr_t)(after == newest ? seen : 0);
}

static void readers_see_every_event_in_order_beside_the_writer(void **state)
{
    enum { READERS = 3, EVENTS = 20000, BATCH = 20 };
    struct history_limits limits = {FOR_EVER, 5000, LOTS, INT64_MAX / 2, SIZE_MAX};
    struct beside beside = {.history = history_memory_new(&limits)};
    pthread_t readers[READERS];

    (void)state;
    for (size_t i = 0; i < READERS; i++)
        assert_int_equal(pthread_create(&readers[i], NULL, follow, &beside), 0);
    for (size_t i = 0; i < EVENTS / BATCH; i++) {
        struct message *events[BATCH];

        for (size_t n = 0; n < BATCH; n++)
            events[n] = make_message(.topics = "a", .data = "beside");
        assert_int_equal(history_append(beside.history, events, BATCH, 10), 0);
        history_trim(beside.history, 10);
        for (size_t n = 0; n < BATCH; n++)
            message_unref(events[n]);
    }
    beside.done = true;
    for (size_t i = 0; i < READERS; i++) {
        void *seen;

        pthread_join(readers[i], &seen);
        assert_true((uintptr_t)seen >= 5000 && (uintptr_t)seen <= EVENTS);
    }
    assert_bounds(beside.history, EVENTS - 5000, EVENTS);
    history_free(beside.history);
}

/* ---- a writer that may not wait ---- */

static void *try_claim(void *arg)
{
    bool claimed = history_claim(arg, 1);

    if (claimed)
        history_unclaim(arg);
    return (void *)(uintptr_t)claimed;
}

static bool others_can_claim(struct history *history)
{
    pthread_t thread;
    void *claimed;

    assert_int_equal(pthread_create(&thread, NULL, try_claim, history), 0);
    pthread_join(thread, &claimed);
    return claimed != NULL;
}

static void who_claims_it_appends_and_nobody_else_comes_between(void **state)
{
    struct history *history = unlimited();

    (void)state;
    assert_true(history_claim(history, 1));
    assert_false(others_can_claim(history));
    add_many(history, 1, "a");
    assert_false(others_can_claim(history));
    history_unclaim(history);
    assert_true(others_can_claim(history));
    assert_page(read_where(history, .patterns = "a"), "1 : 1");
    history_free(history);
}

static void no_claim_has_to_make_room(void **state)
{
    struct history *history = unlimited();

    (void)state;
    add_many(history, 1000, "a");
    assert_true(history_claim(history, 24));
    history_unclaim(history);
    assert_false(history_claim(history, 25));
    assert_true(others_can_claim(history));
    history_free(history);
}

/* What is over goes in portions, and the rest with the next trim. */
static void a_claim_drops_so_many_events(void **state)
{
    struct history_limits limits = {1000, LOTS, LOTS, INT64_MAX / 2, SIZE_MAX};
    struct history *history = history_memory_new(&limits);

    (void)state;
    add_many(history, 600, "a");
    assert_true(history_claim(history, 1));
    add_at(history, make_message(.topics = "a"), 5000);
    history_unclaim(history);
    assert_bounds(history, CLAIM_TRIMS, 601);
    history_trim(history, 5000);
    assert_bounds(history, 600, 601);
    history_free(history);
}

static void no_claim_beside_many_keys(void **state)
{
    struct history *history = unlimited();

    (void)state;
    for (size_t i = 0; i <= CLAIM_KEYS; i++) {
        char key[32];

        snprintf(key, sizeof(key), "%zu", i);
        add_at(history, make_message(.topics = "a", .key = key), 1000);
    }
    assert_false(history_claim(history, 1)); /* of 16,384 slots half are free */
    history_free(history);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(begins_empty_with_an_epoch_of_its_own),
        cmocka_unit_test(commits_in_order_and_seals),
        cmocka_unit_test(a_page_is_bounded_by_events),
        cmocka_unit_test(an_empty_page_still_makes_progress),
        cmocka_unit_test(a_slow_filter_gets_short_pages),
        cmocka_unit_test(trims_to_so_many_events),
        cmocka_unit_test(trims_to_so_many_bytes),
        cmocka_unit_test(trims_by_age_when_asked_and_with_an_append),
        cmocka_unit_test(grows_without_losing_or_mixing_events),
        cmocka_unit_test(takes_a_batch_larger_than_its_slots_and_its_bound),
        cmocka_unit_test(readers_see_every_event_in_order_beside_the_writer),
        cmocka_unit_test(who_claims_it_appends_and_nobody_else_comes_between),
        cmocka_unit_test(no_claim_has_to_make_room),
        cmocka_unit_test(a_claim_drops_so_many_events),
        cmocka_unit_test(no_claim_beside_many_keys),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
