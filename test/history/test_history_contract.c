/* SPDX-License-Identifier: MIT */
/*
 * What every store promises (history.h): the same tests over each.  A new store is one more row of
 * `stores`.  What it does besides is in the program of its own name; idempotency keys are in
 * test_history_keys.c.
 */
#include "config.h"
#include "history/history.h"

#include "each_store.h"

/* A store may go over its limits until it is trimmed. */
static void trim_all(struct history *history, int64_t now_ms)
{
    while (history_trim(history, now_ms))
        ;
}

/* ---- appending ---- */

static void begins_empty_with_an_epoch(void **state)
{
    const struct store *store = *state;
    struct history *history = open_plain(state);

    assert_int_equal(strlen(history_epoch(history)), SSE_EPOCH_BYTES);
    assert_string_equal(history_durability_text(history), store->durability);
    assert_int_equal(history_trouble(history), HISTORY_FINE);
    assert_bounds(history, 0, 0);
    assert_int_equal(usage_of(history).bytes, 0);
    assert_int_equal(usage_of(history).keys_n, 0);
    assert_int_equal(history_find_time(history, 0), 0);
    assert_page(read_where(history, .after = 0), ": 0");
    assert_false(history_trim(history, FOR_EVER));
    history_settle(history);
    history_free(history);
}

static void commits_in_order_and_seals(void **state)
{
    struct history *history = open_plain(state);
    struct message *events[3];

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
    }
    assert_bounds(history, 0, 3);
    assert_true(usage_of(history).bytes > 0);
    history_free(history);
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(events[i]->refs, 1);
        message_unref(events[i]);
    }
}

/* A store that looks for room on a disk refuses, and one without a disk takes them all. */
static void appends_all_or_none(void **state)
{
    struct history *history = open_plain(state);
    struct message *events[] = {make_message(.topics = "a", .key = "k"),
                                make_message(.users = "u")};
    uint64_t position;

    add_many(history, 1, "a");
    history_set_reserve(history, UINT64_MAX / 4);
    int result = history_append(history, events, 2, 1000);
    assert_true(result == 0 || result == -ENOSPC);
    if (result != 0) {
        assert_bounds(history, 0, 1);
        assert_int_equal(usage_of(history).keys_n, 0);
        assert_int_equal(events[0]->position, 0);
        assert_int_equal(events[0]->published_ms, 0);
        assert_int_equal(events[1]->position, 0);
        assert_page(read_where(history, .user = "u"), "1 : 1");
        assert_int_equal(history_find_key(history, events[0], 1000, &position), HISTORY_KEY_NEW);
        history_set_reserve(history, 0);
        assert_int_equal(history_append(history, events, 2, 1000), 0);
    }
    assert_int_equal(events[1]->position, 3);
    assert_int_equal(history_find_key(history, events[0], 1000, &position), HISTORY_KEY_SAME);
    assert_int_equal(position, 2);
    assert_page(read_where(history, .user = "u"), "1 2 3 : 3");
    history_free(history);
    message_unref(events[0]);
    message_unref(events[1]);
}

static void gives_back_what_it_was_given(void **state)
{
    struct history *history = open_plain(state);
    struct message *message = add_full_event(history);
    struct history_page *page = read_where(history, .user = "bob", .patterns = "\xc3\xa9 a/*");
    assert_int_equal(page->events_n, 1);
    const struct message *again = page->events[0];
    assert_is_full_event(again, message);
    history_page_free(page);
    history_free(history);
    message_unref(message);
}

/* ---- reading ---- */

static void reads_what_follows_a_position(void **state)
{
    struct history *history = open_plain(state);

    add_many(history, 4, NULL);
    assert_page(read_where(history, .after = 0), "1 2 3 4 : 4");
    assert_page(read_where(history, .after = 2), "3 4 : 4");
    assert_page(read_where(history, .after = 4), ": 4");
    assert_page(read_where(history, .after = 9), ": 9");
    assert_page(read_where(history, .after = 0, .upto = 3), "1 2 3 : 3");
    assert_page(read_where(history, .after = 3, .upto = 3), ": 3");
    assert_page(read_where(history, .after = 4, .upto = 3), ": 4");
    assert_page(read_where(history, .after = 0, .upto = 99), "1 2 3 4 : 4");
    history_free(history);
}

static void leaves_out_what_the_filter_does_not_want(void **state)
{
    struct history *history = open_plain(state);

    add_at(history, make_message(.topics = "a"), 1);
    add_at(history, make_message(.topics = "b"), 1);
    add_at(history, make_message(.users = "ada"), 1);
    add_at(history, make_message(.topics = "a/b", .users = "ada"), 1);
    add_at(history, make_message(.data = "all"), 1);
    add_at(history, make_message(.topics = "b a/c/d a/b"), 1);
    assert_page(read_where(history, .patterns = "a"), "1 5 : 6");
    assert_page(read_where(history, .patterns = "a", .user = "ada"), "1 3 5 : 6");
    assert_page(read_where(history, .patterns = "a/*", .user = "ada"), "3 4 5 6 : 6");
    assert_page(read_where(history, .patterns = "a/**"), "5 6 : 6");
    assert_page(read_where(history, .patterns = "*/b", .user = "ada"), "3 4 5 6 : 6");
    assert_page(read_where(history, .user = "bob"), "1 2 5 6 : 6");
    assert_page(read_where(history, .user = "ada"), "1 2 3 4 5 6 : 6");
    assert_page(read_where(history, .patterns = "a", .after = 5), ": 6");
    assert_page(read_where(history, .patterns = "a b", .upto = 5), "1 2 5 : 5");
    history_free(history);
}

static void leaves_out_what_has_outlived_its_ttl(void **state)
{
    struct history *history = open_plain(state);

    add_at(history, make_message(.ttl_ms = 100), 1000);
    add_at(history, make_message(.ttl_ms = 0), 1000);
    add_at(history, make_message(.ttl_ms = 101), 1000);
    assert_page(read_where(history, .now_ms = 1099), "1 2 3 : 3");
    assert_page(read_where(history, .now_ms = 1100), "2 3 : 3");
    assert_page(read_where(history, .now_ms = 1101), "2 : 3");
    history_free(history);
}

static void a_page_is_bounded_by_bytes_of_frames(void **state)
{
    struct history *history = open_plain(state);
    struct history_page *page;
    size_t each;

    add_many(history, 5, NULL);
    page = read_where(history, .after = 4);
    each = page->bytes;
    history_page_free(page);
    assert_page(read_where(history, .bytes_max = 2 * each), "1 2 : 2");
    assert_page(read_where(history, .bytes_max = 3 * each - 1), "1 2 : 2");
    assert_page(read_where(history, .after = 2, .bytes_max = 3 * each), "3 4 5 : 5");
    assert_page(read_where(history, .bytes_max = 1), "1 : 1"); /* at least one */
    history_free(history);
}

/* What does not fit is not passed over, and what nobody wanted before it is. */
static void a_full_page_ends_before_the_next_wanted_event(void **state)
{
    struct history *history = open_plain(state);

    add_at(history, make_message(.topics = "a"), 1);
    add_at(history, make_message(.topics = "b"), 1);
    add_at(history, make_message(.topics = "b"), 1);
    add_at(history, make_message(.topics = "a"), 1);
    struct history_page *page = read_where(history, .patterns = "a", .bytes_max = 1);
    uint64_t upto = page->upto;

    assert_in_range(upto, 1, 3);
    assert_int_equal(page->events_n, 1);
    history_page_free(page);
    assert_page(read_where(history, .patterns = "a", .bytes_max = 1, .after = upto), "4 : 4");
    history_free(history);
}

/* However few a read looks at, every event comes, in order and once. */
static void pages_lead_to_the_end(void **state)
{
    enum { EVENTS = 5000 };
    struct history *history = open_plain(state);
    static const char *const patterns[] = {NULL, "a", "a/**", "last", "*"};
    static const size_t expected[] = {EVENTS + 1, EVENTS, 0, 1, EVENTS + 1};

    add_many(history, EVENTS, "a");
    add_at(history, make_message(.topics = "last"), 1000);
    for (size_t i = 0; i < sizeof(patterns) / sizeof(patterns[0]); i++) {
        uint64_t after = 0, last = 0;
        size_t events_n = 0;

        while (after < EVENTS + 1) {
            struct history_page *page =
                read_where(history, .patterns = patterns[i], .after = after);

            assert_in_range(page->upto, after + 1, EVENTS + 1);
            assert_false(page->damaged);
            for (size_t j = 0; j < page->events_n; j++) {
                assert_in_range(page->events[j]->position, last + 1, page->upto);
                last = page->events[j]->position;
            }
            events_n += page->events_n;
            after = page->upto;
            history_page_free(page);
        }
        assert_int_equal(events_n, expected[i]);
    }
    history_free(history);
}

/* ---- forgetting ---- */

static void trims_to_so_many_events(void **state)
{
    struct history_limits limits = {FOR_EVER, 3, LOTS, FOR_EVER, LOTS};
    struct history *history = open_limited(state, &limits);

    add_many(history, 3, "a b");
    trim_all(history, 1000);
    assert_bounds(history, 0, 3);
    add_many(history, 1, "a b");
    trim_all(history, 1000);
    assert_bounds(history, 1, 4);
    assert_stale(history, 0);
    assert_page(read_where(history, .after = 1), "2 3 4 : 4");
    assert_page(read_where(history, .after = 1, .patterns = "b"), "2 3 4 : 4");
    add_many(history, 7, "a");
    trim_all(history, 1000);
    assert_bounds(history, 8, 11);
    history_free(history);
}

static void trims_to_so_many_bytes(void **state)
{
    struct history *history = open_plain(state);

    add_many(history, 3, NULL);
    struct history_limits limits = {FOR_EVER, LOTS, usage_of(history).bytes, FOR_EVER, LOTS};
    history_free(history);
    remove_files(state);
    history = open_limited(state, &limits);
    add_many(history, 3, NULL);
    trim_all(history, 1000);
    assert_bounds(history, 0, 3);
    add_many(history, 1, NULL);
    trim_all(history, 1000);
    assert_bounds(history, 1, 4);
    assert_int_equal(usage_of(history).bytes, limits.bytes_max);
    add_at(history, make_message(.data = "dataX"), 1000); /* one byte too many: two must go */
    trim_all(history, 1000);
    assert_bounds(history, 3, 5);
    history_free(history);
}

static void trims_by_age_and_positions_go_on(void **state)
{
    struct history_limits limits = {100, LOTS, LOTS, FOR_EVER, LOTS};
    struct history *history = open_limited(state, &limits);

    add_at(history, make_message(.topics = "a"), 1000);
    add_at(history, make_message(.users = "ada"), 1050);
    trim_all(history, 1099);
    assert_bounds(history, 0, 2);
    trim_all(history, 1100);
    assert_bounds(history, 1, 2);
    assert_stale(history, 0);
    trim_all(history, 1150);
    assert_bounds(history, 2, 2);
    assert_stale(history, 1);
    assert_int_equal(usage_of(history).bytes, 0);
    assert_page(read_where(history, .after = 2), ": 2");
    assert_int_equal(history_find_time(history, 0), 2);
    add_at(history, make_message(.topics = "a"), 99999);
    assert_bounds(history, 2, 3);
    assert_page(read_where(history, .after = 2), "3 : 3");
    history_free(history);
}

static void a_page_outlives_what_was_trimmed(void **state)
{
    struct history_limits limits = {FOR_EVER, 1, LOTS, FOR_EVER, LOTS};
    struct history *history = open_limited(state, &limits);
    struct history_page *page;

    add_at(history, make_message(.data = "first"), 1);
    page = read_where(history, .after = 0);
    add_many(history, 10, NULL);
    trim_all(history, 1);
    assert_bounds(history, 10, 11);
    history_free(history);
    assert_int_equal(page->events[0]->refs, 1);
    assert_memory_equal(page->events[0]->frame, "data: first\n", 12);
    assert_page(page, "1 : 1");
}

/* ---- times ---- */

static void finds_a_time(void **state)
{
    static const struct {
        int64_t since_ms;
        uint64_t position;
    } cases[] = {{0, 1},    {1000, 1}, {1001, 1}, {2000, 1}, {2001, 3},
                 {3000, 3}, {3001, 4}, {4000, 4}, {4001, 5}, {INT64_MAX, 5}};
    struct history_limits limits = {FOR_EVER, 4, LOTS, FOR_EVER, LOTS};
    struct history *history = open_limited(state, &limits);

    add_at(history, make_message(.data = "1"), 1000); /* trimmed below */
    add_at(history, make_message(.data = "2"), 2000);
    add_at(history, make_message(.data = "3"), 2000);
    add_at(history, make_message(.data = "4"), 3000);
    add_at(history, make_message(.data = "5"), 4000);
    trim_all(history, 4000);
    assert_bounds(history, 1, 5);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        assert_int_equal(history_find_time(history, cases[i].since_ms), cases[i].position);
    history_free(history);
}

static void finds_times_though_the_clock_was_set_back(void **state)
{
    static const int64_t times[] = {1000, 1000, 2000, 5000, 3000, 3500, 5000, 6000};
    static const struct {
        int64_t since_ms;
        uint64_t after;
    } cases[] = {{0, 0},    {1000, 0}, {1001, 2}, {2000, 2}, {2001, 3},
                 {3200, 3}, {5000, 3}, {5001, 7}, {6000, 7}, {6001, 8}};
    struct history *history = open_plain(state);

    for (size_t i = 0; i < sizeof(times) / sizeof(times[0]); i++)
        add_at(history, make_message(.data = "x"), times[i]);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        assert_int_equal(history_find_time(history, cases[i].since_ms), cases[i].after);
    history_free(history);
}

/* Where the latest so many begin: what a reader from there on gets first. */
static uint64_t first_of_last(struct history *history, size_t n, const char *patterns,
                              const char *user)
{
    struct filter *filter = make_filter(patterns, user);
    struct history_search search = {
        .filter = filter, .now_ms = NOW, .before = UINT64_MAX, .left_n = n};
    int result;

    while ((result = history_search(history, &search)) == 1)
        assert_true(search.left_n > 0);
    assert_int_equal(result, 0);
    filter_unref(filter);
    return search.before;
}

#define MIXED 3000

/* Events of every kind, most of which few want. */
static void add_mixed(struct history *history)
{
    static const char *const topics[] = {"b", "b", "c/d", "b c/d", "a b", "x/y/z", NULL, "x/q"};
    unsigned seed = 11;

    for (size_t i = 0; i < MIXED; i++) {
        size_t which = (size_t)rand_r(&seed) % (i % 50 == 0 ? 8 : 4);
        const char *users = i % 3 != 0 ? NULL : i % 2 == 0 ? "ada" : "bob eve";

        add_at(history,
               make_message(.topics = topics[which], .users = users, .ttl_ms = i % 7 == 0 ? 5 : 0),
               i < MIXED / 2 ? NOW - 10 : NOW);
    }
}

/* Where the latest `n` of what a reader gets from the oldest on begin. */
static uint64_t first_by_reading(struct history *history, size_t n, const char *patterns,
                                 const char *user)
{
    static uint64_t positions[MIXED];
    struct history_bounds bounds;
    size_t positions_n = 0;

    history_bounds(history, &bounds);
    for (uint64_t after = bounds.trimmed; after < bounds.newest;) {
        struct history_page *page = NULL;
        struct ask ask = {.patterns = patterns, .user = user, .after = after, .now_ms = NOW};

        assert_int_equal(try_read(history, &ask, &page), 0);
        for (size_t i = 0; i < page->events_n; i++)
            positions[positions_n++] = page->events[i]->position;
        after = page->upto;
        history_page_free(page);
    }
    return n <= positions_n ? positions[positions_n - n] : bounds.trimmed + 1;
}

static void finds_the_latest(void **state)
{
    static const struct {
        const char *patterns, *user;
    } filters[] = {
        {NULL, NULL},   {"a", NULL},     {"b", NULL},     {"x/y/z", NULL}, {"x/*/z", NULL},
        {"x/**", NULL}, {"a c/d", NULL}, {"none", NULL},  {"**", NULL},    {"*/z c/*", NULL},
        {"a", "ada"},   {"x/q", "eve"},  {"none", "bob"}, {NULL, "ada"},   {"b c/d", "bob"},
    };
    static const size_t counts[] = {1, 2, 10, 255, 256, 257, 1000};
    struct history_limits limits = {FOR_EVER, MIXED - 100, LOTS, FOR_EVER, LOTS};
    struct history *history = open_limited(state, &limits);

    assert_int_equal(first_of_last(history, 3, "a", NULL), 1);
    add_mixed(history);
    trim_all(history, NOW);
    assert_bounds(history, 100, MIXED);
    for (size_t i = 0; i < sizeof(filters) / sizeof(filters[0]); i++)
        for (size_t j = 0; j < sizeof(counts) / sizeof(counts[0]); j++) {
            const char *patterns = filters[i].patterns, *user = filters[i].user;

            assert_int_equal(first_of_last(history, counts[j], patterns, user),
                             first_by_reading(history, counts[j], patterns, user));
        }
    history_free(history);
}

/* A clock that was a day ahead for an event, then an hour behind, then right. */
static void a_clock_that_jumps_loses_nothing(void **state)
{
    static const int64_t times[] = {NOW - 2 * HOUR, NOW + DAY, NOW - HOUR, NOW, NOW};
    static const struct {
        int64_t since_ms;
        uint64_t after;
    } cases[] = {{NOW - 3 * HOUR, 0}, {NOW - HOUR, 1}, {NOW + 1, 1}, {NOW + DAY + 1, 5}};
    struct history_limits limits = {7 * DAY, LOTS, LOTS, FOR_EVER, LOTS};
    struct history *history = open_limited(state, &limits);

    for (size_t i = 0; i < sizeof(times) / sizeof(times[0]); i++) {
        add_at(history, make_message(.data = "x", .ttl_ms = i == 2 ? HOUR : 0), times[i]);
        history_trim(history, times[i]);
        assert_bounds(history, 0, i + 1);
    }
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        assert_int_equal(history_find_time(history, cases[i].since_ms), cases[i].after);
    assert_page(read_where(history, .now_ms = NOW - 1), "1 2 3 4 5 : 5");
    assert_page(read_where(history, .now_ms = NOW), "1 2 4 5 : 5");

    /* age counts from what the clock was; the event from ahead keeps those behind it */
    history_trim(history, NOW + 7 * DAY);
    assert_bounds(history, 1, 5);
    history_trim(history, NOW - HOUR);
    assert_bounds(history, 1, 5);
    history_trim(history, NOW + 8 * DAY);
    assert_bounds(history, 5, 5);
    add_at(history, make_message(.data = "x"), NOW);
    assert_bounds(history, 5, 6);
    history_free(history);
}

static const struct CMUnitTest contract[] = {
    cmocka_unit_test_teardown(begins_empty_with_an_epoch, remove_files),
    cmocka_unit_test_teardown(commits_in_order_and_seals, remove_files),
    cmocka_unit_test_teardown(appends_all_or_none, remove_files),
    cmocka_unit_test_teardown(gives_back_what_it_was_given, remove_files),
    cmocka_unit_test_teardown(reads_what_follows_a_position, remove_files),
    cmocka_unit_test_teardown(leaves_out_what_the_filter_does_not_want, remove_files),
    cmocka_unit_test_teardown(leaves_out_what_has_outlived_its_ttl, remove_files),
    cmocka_unit_test_teardown(a_page_is_bounded_by_bytes_of_frames, remove_files),
    cmocka_unit_test_teardown(a_full_page_ends_before_the_next_wanted_event, remove_files),
    cmocka_unit_test_teardown(pages_lead_to_the_end, remove_files),
    cmocka_unit_test_teardown(trims_to_so_many_events, remove_files),
    cmocka_unit_test_teardown(trims_to_so_many_bytes, remove_files),
    cmocka_unit_test_teardown(trims_by_age_and_positions_go_on, remove_files),
    cmocka_unit_test_teardown(a_page_outlives_what_was_trimmed, remove_files),
    cmocka_unit_test_teardown(finds_a_time, remove_files),
    cmocka_unit_test_teardown(finds_times_though_the_clock_was_set_back, remove_files),
    cmocka_unit_test_teardown(finds_the_latest, remove_files),
    cmocka_unit_test_teardown(a_clock_that_jumps_loses_nothing, remove_files),
};

#define STORES (sizeof(stores) / sizeof(stores[0]))

int main(void)
{
    return run_over_each_store(contract, sizeof(contract) / sizeof(contract[0]));
}
